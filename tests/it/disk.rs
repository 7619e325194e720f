//! A tree becomes a disk and is read back: file system, placed files, formats, what is refused.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cellboot::disk::derived_uuid;
use cellboot::disk::export::{self, Format};
use cellboot::disk::ext4::{self, Shape};
use cellboot::disk::grub::{self, BootFiles, Kernel};
use cellboot::disk::image::Disk;
use cellboot::disk::place::{Content, Placed, place};
use cellboot::disk::source::{RawFile, Source};
use cellboot::fault::Class;
use cellboot::inspect::report::Report;
use cellboot::inspect::{self, Image};
use cellboot::{equipped, identity, verify};
use firstboot::cmd::Cmd;
use firstboot::config::Role;
use firstboot::equipment;
use firstboot::files::{Ownership, replace};
use firstboot::platform::Platform;
use tempfile::TempDir;

/// A small system, what becomes of it, and the place for both.
pub(super) struct Workshop {
    directory: TempDir,
}

impl Workshop {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        let files: [(&str, &[u8], u32); 9] = [
            ("boot/vmlinuz-6.1", b"kernel", 0o644),
            ("boot/initrd.img-6.1", b"initramfs", 0o644),
            ("etc/machine-id", b"", 0o444),
            ("etc/shadow", b"root:*:1::::::\n", 0o640),
            ("etc/old", b"old", 0o600),
            ("etc/gone/deep/file", b"x", 0o644),
            ("usr/lib/os-release", b"PRETTY_NAME=\"A System\"\n", 0o644),
            ("usr/bin/tool", &[7; 200_000], 0o755),
            (
                "var/lib/dpkg/status",
                b"Package: a\nStatus: install ok installed\n\
                                      Architecture: all\nVersion: 2\n",
                0o644,
            ),
        ];
        for (path, content, mode) in files {
            replace(&tree.join(path), content, Ownership::mode(mode)).unwrap();
        }
        fs::create_dir(tree.join("usr/many")).unwrap();
        for number in 0..300 {
            let path = tree.join(format!("usr/many/a file with number {number}"));
            fs::File::create(path).unwrap();
        }
        symlink("usr/bin", tree.join("bin")).unwrap();
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The root file system with these files laid over it.
    pub(super) fn root(&self, files: &[Placed], remove: &[PathBuf]) -> PathBuf {
        let root = self.path("root.ext4");
        let shape = Shape {
            uuid: derived_uuid(&["test"]),
            label: "root".to_owned(),
            slack_bytes: 160 << 20,
        };
        ext4::make(&|cmd: Cmd| cmd, &self.path("tree"), &root, &shape).unwrap();
        let kernel = Kernel::of(&self.path("tree")).unwrap();
        let text = grub::configuration(shape.uuid, &kernel);
        let mut all = vec![file(grub::CONFIGURATION, text.as_bytes())];
        all.extend_from_slice(files);
        place(&root, &all, remove).unwrap();
        root
    }

    pub(super) fn disk(&self, root: &Path) -> Disk {
        Disk::new(root, derived_uuid(&["test"]), &boot_files(), 1).unwrap()
    }

    fn image(&self, files: &[Placed]) -> Image {
        let disk = self.disk(&self.root(files, &[]));
        export::write(&disk, Format::Qcow2, &self.path("image.qcow2")).unwrap();
        inspect::open(&self.path("image.qcow2")).unwrap()
    }
}

/// Stand-ins: nothing here boots them.
fn boot_files() -> BootFiles {
    let mut boot_img = vec![0xeb; 512];
    boot_img[510..].copy_from_slice(&[0x55, 0xaa]);
    BootFiles {
        boot_img,
        core_img: vec![1; 3000],
        efi: vec![2; 100_000],
    }
}

fn file(path: &str, content: &[u8]) -> Placed {
    Placed {
        path: path.into(),
        content: Content::File(content.to_vec()),
        mode: 0o644,
        uid: 0,
        gid: 0,
    }
}

#[test]
fn a_disk_holds_what_its_tree_held_and_boots_both_ways() {
    let workshop = Workshop::new();
    let image = workshop.image(&[]);
    let tree = workshop.path("tree");
    let mut compared = 0;
    image
        .walk("/", &mut |entry| {
            let source = tree.join(&entry.path[1..]);
            if entry.kind == inspect::Kind::File && entry.path != grub::CONFIGURATION {
                assert_eq!(
                    image.read(&entry.path)?,
                    fs::read(&source)?,
                    "{}",
                    entry.path
                );
                let mode = fs::metadata(&source)?.permissions().mode() & 0o7777;
                assert_eq!(entry.mode, mode, "{}", entry.path);
                compared += 1;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(compared, 309);
    assert_eq!(image.link("/bin").unwrap(), "usr/bin");
    let kinds: Vec<&str> = image.partitions().iter().map(|p| p.kind.as_str()).collect();
    assert_eq!(kinds, ["bios", "esp", "root"]);
    let report = Report::of(&image).unwrap();
    assert_eq!(report.faults(), Vec::<String>::new());
    assert_eq!(report.kernel.as_deref(), Some("/boot/vmlinuz-6.1"));
    assert_eq!(report.system.as_deref(), Some("A System"));
    assert_eq!(report.disk_bytes, 1 << 30);
    assert_eq!(report.packages[0].version, "2");
}

#[test]
fn a_disk_with_room_for_the_content_has_both_partition_tables() {
    let workshop = Workshop::new();
    let root = workshop.root(&[], &[]);
    let path = workshop.path("image");
    export::write(&workshop.disk(&root), Format::Raw, &path).unwrap();
    let image = inspect::open(&path).unwrap();
    let last = image.partitions().last().unwrap();
    let end = last.start_bytes + last.size_bytes + (1 << 20);
    assert!(end < 1 << 30, "the content fills the disk");
    let small = fs::OpenOptions::new().write(true).open(&path).unwrap();
    small.set_len(end).unwrap();
    let table = gpt::GptConfig::new().open(&path).unwrap();
    table.primary_header().unwrap();
    table.backup_header().unwrap();
    assert_eq!(table.partitions().len(), 3);
}

#[test]
fn files_are_placed_with_owners_and_replace_what_was_there() {
    let workshop = Workshop::new();
    let large = workshop.path("large");
    let content: Vec<u8> = (0..5_000_000_u32)
        .flat_map(u32::to_le_bytes)
        .step_by(4)
        .collect();
    replace(&large, &content, Ownership::mode(0o600)).unwrap();
    let placed = |path: &str, content, mode, uid, gid| Placed {
        path: path.into(),
        content,
        mode,
        uid,
        gid,
    };
    let files = [
        placed("/etc/old", Content::File(b"new".to_vec()), 0o640, 0, 112),
        placed(
            "/bin/added tool",
            Content::FromFile(large),
            0o4755,
            70_000,
            1,
        ),
        placed(
            "/opt/a/b/link",
            Content::Link("../c d".to_owned()),
            0,
            33,
            33,
        ),
        placed("/srv/state", Content::Directory, 0o1770, 5, 6),
        placed("/srv/state/file", Content::File(Vec::new()), 0o600, 5, 6),
        placed("/usr/many", Content::Directory, 0o700, 0, 0),
    ];
    let root = workshop.root(&files, &["/etc/gone".into(), "/nothing".into()]);
    export::write(&workshop.disk(&root), Format::Raw, &workshop.path("image")).unwrap();
    let image = inspect::open(&workshop.path("image")).unwrap();
    let owner = |path: &str| {
        let entry = image.entry(path).unwrap().unwrap();
        (entry.mode, entry.uid, entry.gid)
    };
    assert_eq!(image.read("/etc/old").unwrap(), b"new");
    assert_eq!(owner("/etc/old"), (0o640, 0, 112));
    assert_eq!(image.read("/usr/bin/added tool").unwrap(), content);
    assert_eq!(owner("/usr/bin/added tool"), (0o4755, 70_000, 1));
    assert_eq!(image.link("/opt/a/b/link").unwrap(), "../c d");
    assert_eq!(owner("/opt/a"), (0o755, 0, 0));
    assert_eq!(owner("/srv/state"), (0o1770, 5, 6));
    assert_eq!(owner("/srv/state/file"), (0o600, 5, 6));
    assert_eq!(owner("/usr/many"), (0o700, 0, 0));
    assert_eq!(image.list("/usr/many").unwrap().len(), 300);
    assert_eq!(image.entry("/etc/gone").unwrap(), None);
}

#[test]
fn what_cannot_be_placed_is_refused() {
    let workshop = Workshop::new();
    let root = workshop.root(&[], &[]);
    let refused = |file: Placed| place(&root, &[file], &[]).unwrap_err().to_string();
    assert_eq!(
        refused(file("/etc/a\"b", b"")),
        "the name \"/etc/a\\\"b\" cannot be laid into an image"
    );
    assert_eq!(
        refused(file("/usr", b"")),
        "/usr is to be a file and is a directory"
    );
    assert_eq!(refused(file("etc/x", b"")), "etc/x is no absolute path");
    assert_eq!(
        refused(file("/etc/../x", b"")),
        "/etc/../x is no absolute path"
    );
    ext4::check(&root).unwrap();
}

#[test]
fn a_disk_that_is_too_small_says_so() {
    let workshop = Workshop::new();
    let root = workshop.path("large.ext4");
    fs::File::create(&root).unwrap().set_len(1 << 30).unwrap();
    let made = Disk::new(&root, derived_uuid(&["test"]), &boot_files(), 1);
    assert_eq!(
        made.err().unwrap().to_string(),
        "the disk is 1 GiB, its content needs 1.1 GiB\n\
         hint: set a larger disk_size_gib under [image] in site.toml"
    );
}

#[test]
fn every_format_holds_the_same_disk_and_equal_disks_give_equal_files() {
    let workshop = Workshop::new();
    let raw = workshop.path("raw");
    let file = fs::File::create(&raw).unwrap();
    // Neither a whole number of clusters nor all data: noise, a hole, text.
    let mut noise = vec![0; 300_000];
    fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut noise)
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &noise, 100_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &b"text ".repeat(50_000), 40 << 20).unwrap();
    file.set_len((41 << 20) + 512).unwrap();
    let source = RawFile::open(&raw).unwrap();
    let outputs = ["a.qcow2", "b.qcow2"].map(|name| workshop.path(name));
    for output in &outputs {
        export::write(&source, Format::Qcow2, output).unwrap();
    }
    assert!(fs::read(&outputs[0]).unwrap() == fs::read(&outputs[1]).unwrap());
    let (format, qcow2) = inspect::open_source(&outputs[0]).unwrap();
    assert_eq!((format, qcow2.size()), (Format::Qcow2, source.size()));
    let expected = fs::read(&raw).unwrap();
    let mut read = vec![1; expected.len()];
    qcow2.read_at(0, &mut read).unwrap();
    assert!(read == expected);
    let stream = workshop.path("raw.zst");
    export::write(qcow2.as_ref(), Format::RawZst, &stream).unwrap();
    let unpacked = zstd::decode_all(fs::File::open(&stream).unwrap()).unwrap();
    assert!(unpacked == expected);
    // The last byte of a table is gone.
    let cut = workshop.path("cut.qcow2");
    let bytes = fs::read(&outputs[0]).unwrap();
    replace(&cut, &bytes[..65_536], Ownership::mode(0o600)).unwrap();
    let error = inspect::open_source(&cut).err().unwrap();
    assert_eq!(
        format!("{error:#}"),
        format!("opening {}: the file is cut short", cut.display())
    );
}

#[test]
fn a_disk_is_judged_before_its_file_exists() {
    let workshop = Workshop::new();
    let disk = Arc::new(workshop.disk(&workshop.root(&[], &[])));
    let path = workshop.path("not-yet.qcow2");
    let image = inspect::of(&path, Format::Qcow2, disk).unwrap();
    verify::refuse(&image).unwrap();
    assert!(!path.exists());
}

#[test]
fn what_a_role_needs_and_no_package_brought_is_named() {
    let platform = Platform::load("centos-stream-9").unwrap();
    let needed = equipment::of(&platform, Role::Compute).unwrap();
    let account = |user: &str| format!("{user}:x:1:1::/:/sbin/nologin\n");
    let everything = |without: &[&str]| {
        let mut files = Vec::new();
        let units = needed.units.keys();
        let units = units.map(|unit| format!("/usr/lib/systemd/system/{unit}"));
        let programs = needed.programs.iter();
        let programs = programs.map(|path| path.to_string_lossy().into_owned());
        for path in units.chain(programs) {
            if !without.iter().any(|gone| path.ends_with(gone)) {
                files.push(file(&path, b""));
            }
        }
        let users = needed.users.keys().filter(|user| !without.contains(user));
        let accounts: String = users.map(|user| account(user)).collect();
        files.push(file("/etc/passwd", accounts.as_bytes()));
        Workshop::new().image(&files)
    };
    equipped::judge(&everything(&[]), &platform, Role::Compute).unwrap();

    let lacking = everything(&["/virtsecretd.socket", "/qemu-kvm", "openvswitch"]);
    let error = equipped::judge(&lacking, &platform, Role::Compute).unwrap_err();
    assert_eq!(Class::of(&error), Class::Refused);
    assert_eq!(
        error.to_string(),
        format!(
            "{} lacks what a compute needs:\n  \
             the unit virtsecretd.socket of the service libvirt\n  \
             the user openvswitch of the service openvswitch\n  \
             the program /usr/libexec/qemu-kvm\n\
             hint: the packages of CentOS Stream 9 are others than this version of cellboot knows; \
             build from an older copy of them (mirrors of [platform]), or have the platform's \
             table corrected",
            lacking.path().display()
        )
    );
}

#[test]
fn a_clean_image_passes_and_each_secret_is_named() {
    let workshop = Workshop::new();
    let clean = workshop.image(&[]);
    assert_eq!(identity::findings(&clean).unwrap(), []);
    verify::refuse(&clean).unwrap();
    let begin = format!("-----BEGIN {}PRIVATE KEY-----", "EC ");
    let key = format!(
        "{begin}\n{}\n",
        "MHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY"
    );
    let planted = workshop.image(&[
        file("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        file("/etc/shadow", b"root:*:1::::::\nadmin:$y$j9T$abc:1::::::\n"),
        file("/etc/ssh/ssh_host_rsa_key.pub", b"ssh-rsa AAAA"),
        file("/etc/resolv.conf", b"nameserver 192.0.2.1\n"),
        file("/usr/share/doc/an innocent name", key.as_bytes()),
        file("/var/lib/rabbitmq/.erlang.cookie", b"COOKIE"),
        file("/var/lib/rabbitmq/mnesia/rabbit@host/x", b"x"),
        file("/var/log/dpkg.log", b"installed"),
        file("/var/log/empty", b""),
        file("/etc/keystone/fernet-keys/0", b"key"),
        file(
            "/var/lib/openstack-dashboard/secret-key/.secret_key_store",
            b"key",
        ),
        file("/root/.bash_history", b"ls"),
        file("/var/lib/cloud/data/instance-id", b"i-1"),
        file("/etc/cellboot/node.toml", b""),
    ]);
    let findings = identity::findings(&planted).unwrap();
    let paths: Vec<&str> = findings
        .iter()
        .map(|finding| finding.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "/etc/cellboot/node.toml",
            "/etc/keystone/fernet-keys/0",
            "/etc/machine-id",
            "/etc/resolv.conf",
            "/etc/shadow",
            "/etc/ssh/ssh_host_rsa_key.pub",
            "/root/.bash_history",
            "/usr/share/doc/an innocent name",
            "/var/lib/cloud/data/instance-id",
            "/var/lib/openstack-dashboard/secret-key/.secret_key_store",
            "/var/lib/rabbitmq/.erlang.cookie",
            "/var/lib/rabbitmq/mnesia/rabbit@host/x",
            "/var/log/dpkg.log",
        ]
    );
    let error = verify::refuse(&planted).unwrap_err();
    assert_eq!(Class::of(&error), Class::Refused);
    let text = error.to_string();
    assert!(
        text.contains("\n  /etc/shadow: password hash of admin (set during the build)\n"),
        "{text}"
    );
}
