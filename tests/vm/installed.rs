//! `cellboot build` on the platform whose images an installer makes, from the mirror to the manifest.
//! Mirror and installer are stand-ins; everything between them is the program itself.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cellboot::disk::export::{self, Format};
use cellboot::disk::grub::BootFiles;
use cellboot::disk::image::Disk;
use cellboot::disk::{derived_uuid, ext4};
use cellboot::inspect::report::Report;
use cellboot::inspect::{self, Image};
use cellboot::lab::machine::OVMF;
use firstboot::cmd::Cmd;
use firstboot::config::Role;
use firstboot::equipment;
use firstboot::files::{Ownership, replace};
use firstboot::platform::Platform;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{accelerator, directory, installer};

#[allow(dead_code, reason = "the tests of downloads use the rest of it")]
#[path = "../it/mirror/stand_in.rs"]
mod stand_in;

use stand_in::{Mirror, SIGS};

/// What an installation would have made, as far as an image is judged by it.
const TREE: [(&str, &str); 7] = [
    ("boot/vmlinuz-5.14.0-1.el9.x86_64", "kernel"),
    ("boot/initramfs-5.14.0-1.el9.x86_64.img", "initramfs"),
    (
        "boot/loader/entries/0-5.14.0-1.el9.x86_64.conf",
        "title CentOS Stream 9\nversion 5.14.0-1.el9.x86_64\n\
         linux /boot/vmlinuz-5.14.0-1.el9.x86_64\ninitrd /boot/initramfs-5.14.0-1.el9.x86_64.img\n",
    ),
    ("etc/machine-id", ""),
    ("etc/shadow", "root:!!:1::::::\n"),
    ("usr/lib/os-release", "PRETTY_NAME=\"CentOS Stream 9\"\n"),
    (
        "usr/share/cellboot/packages.tsv",
        "openstack-nova-compute\t1:27.5.1-1.el9s\tnoarch\topenstack-nova-27.5.1-1.el9s.src.rpm\n",
    ),
];

/// An empty directory, a mirror whose installer is the stand-in, and a site that names it.
fn workshop(name: &str) -> (PathBuf, Mirror, String) {
    let guest = installer::guest();
    let work = directory().join(name);
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).unwrap();
    let mirror = Mirror::plain();
    let read = |name: &str| fs::read(guest.join(name)).unwrap();
    let stage2 = compressed(&disk(&work));
    mirror.tree(&read("vmlinuz"), &read("initramfs"), &stage2);
    mirror.repositories();
    let site = site(&work, &mirror);
    (work, mirror, site)
}

/// What the stand-in leaves: the disk that it was given, with the overlay and the agent on it.
fn is_installed(image: &Image) {
    let report = Report::of(image).unwrap();
    let version = report.agent.unwrap().version;
    assert_eq!(version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    for path in [
        "/usr/share/cellboot/templates/etc/firewalld/zones/public.xml.j2",
        "/etc/libvirt/virtqemud.conf",
    ] {
        assert!(image.entry(path).unwrap().is_some(), "{path}");
    }
}

/// UEFI firmware boots it, the installer finds its kickstart, its second stage and the overlay on it.
#[test]
#[ignore = "needs QEMU, systemd-boot and a compiled agent: make test"]
fn a_medium_boots_its_installer() {
    let (work, _mirror, site) = workshop("medium");
    let medium = work.join("medium.img");
    Cmd::new(env!("CARGO_BIN_EXE_cellboot"))
        .args(["media", "--role", "compute", "--site", &site])
        .arg("--cache")
        .path(work.join("cache"))
        .arg("--output")
        .path(&medium)
        .directory(env!("CARGO_MANIFEST_DIR"))
        .run()
        .unwrap();
    let (target, variables, log) = (
        work.join("target.raw"),
        work.join("vars.fd"),
        work.join("log"),
    );
    fs::File::create(&target).unwrap().set_len(2 << 30).unwrap();
    fs::copy(OVMF[1], &variables).unwrap();
    let accelerator = accelerator();
    let drive =
        |options: &str, path: &Path| format!("{options},format=raw,file={}", path.display());
    Cmd::new("qemu-system-x86_64")
        .args([
            "-machine",
            "q35",
            "-m",
            "1024",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(accelerator.arguments().iter().copied())
        .args([
            "-drive".to_owned(),
            drive("if=pflash,readonly=on", Path::new(OVMF[0])),
        ])
        .args(["-drive".to_owned(), drive("if=pflash", &variables)])
        .args(["-drive".to_owned(), drive("if=virtio,readonly=on", &medium)])
        .args(["-drive".to_owned(), drive("if=virtio", &target)])
        .args(["-serial".to_owned(), format!("file:{}", log.display())])
        .deadline(Duration::from_secs(60) * accelerator.patience())
        .run()
        .unwrap();
    is_installed(&inspect::open(&target).unwrap());
}

#[test]
#[ignore = "needs QEMU and a compiled agent: make test"]
fn an_image_is_installed_judged_and_described() {
    let (work, mirror, site) = workshop("installed");
    let build = || {
        let output = Cmd::new(env!("CARGO_BIN_EXE_cellboot"))
            .args(["build", "--role", "compute", "--site", &site])
            .arg("--out")
            .path(work.join("out"))
            .arg("--cache")
            .path(work.join("cache"))
            .directory(env!("CARGO_MANIFEST_DIR"))
            .any_status()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
        text
    };
    println!("{}", build());

    let out = work.join("out/centos-stream-9");
    let image = inspect::open(&out.join("compute.qcow2")).unwrap();
    let report = Report::of(&image).unwrap();
    assert_eq!(report.system.as_deref(), Some("CentOS Stream 9"));
    assert_eq!(
        report.kernel.as_deref(),
        Some("/boot/vmlinuz-5.14.0-1.el9.x86_64")
    );
    let packages = &report.packages;
    assert_eq!(packages[0].name, "openstack-nova-compute");
    is_installed(&image);
    let bill = fs::read_to_string(out.join("compute.spdx.json")).unwrap();
    assert!(bill.contains("pkg:rpm/centos/openstack-nova-compute@27.5.1-1.el9s"));
    assert!(out.join("seeds/compute1.img").is_file());
    let verified = Cmd::new(env!("CARGO_BIN_EXE_cellboot"));
    verified.arg("verify").path(&out).run().unwrap();

    // Nothing is asked of the mirror when everything is there.
    mirror.requests();
    build();
    assert_eq!(mirror.requests(), [""; 0]);
}

/// The disk, raw.
fn disk(work: &Path) -> Vec<u8> {
    let tree = work.join("tree");
    let write = |path: &str, text: &str| {
        let path = tree.join(path.trim_start_matches('/'));
        replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
    };
    for (path, text) in TREE {
        write(path, text);
    }
    let platform = Platform::load("centos-stream-9").unwrap();
    let packages = equipment::of(&platform, Role::Compute).unwrap();
    for unit in packages.units.keys() {
        write(&format!("usr/lib/systemd/system/{unit}"), "");
    }
    for program in packages.programs {
        write(program.to_str().unwrap(), "");
    }
    let account = |user: &&str| format!("{user}:x:0:0::/:/sbin/nologin\n");
    let accounts: String = packages.users.keys().map(account).collect();
    write("etc/passwd", &accounts);
    let root = work.join("root.ext4");
    let uuid = derived_uuid(&["installed"]);
    let shape = ext4::Shape {
        uuid,
        label: "root".to_owned(),
        slack_bytes: 64 << 20,
    };
    ext4::make(&|cmd: Cmd| cmd, &tree, &root, &shape).unwrap();
    let mut boot_img = vec![0xeb; 512];
    boot_img[510..].copy_from_slice(&[0x55, 0xaa]);
    // Nothing here boots them.
    let boot = BootFiles {
        boot_img,
        core_img: vec![1; 3000],
        efi: vec![2; 100_000],
    };
    let disk = Disk::new(&root, uuid, &boot, 1).unwrap();
    let raw = work.join("disk.raw");
    export::write(&disk, Format::Raw, &raw).unwrap();
    fs::read(raw).unwrap()
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = GzEncoder::new(Vec::new(), Compression::fast());
    compressor.write_all(bytes).unwrap();
    compressor.finish().unwrap()
}

/// The site of these tests, with the stand-in for its mirror.
fn site(work: &Path, mirror: &Mirror) -> String {
    super::site();
    let text = fs::read_to_string(directory().join("site.toml")).unwrap();
    let open = "name = \"auto\"\n";
    assert!(text.contains(open), "{text}");
    let at = |path: &str| format!("http://{}{path}", mirror.address);
    let mirrors = format!("main = {:?}, sigs = {:?}", at("/9-stream"), at(SIGS));
    let pinned = format!("name = \"centos-stream-9\"\nmirrors = {{ {mirrors} }}\n");
    let path = work.join("site.toml");
    let text = text.replace(open, &pinned);
    replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
    path.to_string_lossy().into_owned()
}
