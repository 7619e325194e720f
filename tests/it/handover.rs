//! What a place is handed: files, scripts and what these ask of the place's own programs. Proxmox's
//! is a stand-in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cellboot::cache::Inputs;
use cellboot::disk::export::{self, Format};
use cellboot::manifest::{Hashed, Image, Manifest};
use firstboot::cmd::{Cmd, Output};
use firstboot::config::Role;
use firstboot::files::{Ownership, read_if_exists, replace};
use tempfile::TempDir;

use super::disk::Workshop;
use super::{said, site};

const MACS: &str = r#"
site = { name = "cell" }
management = { network = "10.20.0.0/24" }
controller = { address = "10.20.0.11", interface = "52:54:00:ce:11:00", provider_interface = "52:54:00:ce:11:01" }
compute = [{ name = "c1", address = "10.20.0.21", interface = "52:54:00:ce:11:10", provider_interface = "52:54:00:ce:11:11" }]
provider = { network = "10.30.0.0/24", gateway = "10.30.0.1", allocation_start = "10.30.0.100", allocation_end = "10.30.0.200" }
"#;

/// A site with two built images, and a place for what is handed over.
struct Desk {
    directory: TempDir,
}

impl Desk {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        site(directory.path(), text);
        let out = directory.path().join("out/debian-12");
        fs::create_dir_all(&out).unwrap();
        let workshop = Workshop::new();
        let root = workshop.root(&[], &[]);
        let mut manifest = Manifest::new("debian-12", "zed");
        for role in Role::ALL {
            let path = out.join(format!("{role}.qcow2"));
            export::write(&workshop.disk(&root), Format::Qcow2, &path).unwrap();
            let disk = Hashed::of(&path).unwrap();
            manifest.images.insert(
                role,
                Image {
                    sbom: disk.clone(),
                    disk,
                    virtual_bytes: 1 << 30,
                    key: "k".to_owned(),
                    inputs: Inputs::default(),
                    packages: Vec::new(),
                },
            );
        }
        manifest.save(&out).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn export(&self, place: &str) -> Output {
        Cmd::new(env!("CARGO_BIN_EXE_cellboot"))
            .args(["export", "--to", place, "--site"])
            .path(self.path("site.toml"))
            .arg("--out")
            .path(self.path("out"))
            .arg("--output")
            .path(self.path(place))
            .any_status()
            .unwrap()
    }

    fn exported(&self, place: &str) -> Vec<String> {
        let (code, text) = said(&self.export(place));
        assert_eq!(code, Some(0), "{text}");
        let entries = fs::read_dir(self.path(place)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Runs the script of a place with these programs in the place of those of the place.
    fn run(&self, place: &str, programs: &[(&str, &str)], arguments: &[&str]) -> Output {
        let bin = self.path("bin");
        for (name, text) in programs {
            replace(&bin.join(name), text.as_bytes(), Ownership::mode(0o755)).unwrap();
        }
        let path = std::env::var("PATH").unwrap();
        Cmd::new("sh")
            .path(self.path(place).join("create.sh"))
            .args(arguments.iter().copied())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("STAND_IN", self.directory.path().to_string_lossy())
            .any_status()
            .unwrap()
    }

    fn asked(&self) -> String {
        read_if_exists(&self.path("asked"))
            .unwrap()
            .unwrap_or_default()
    }
}

const LOG: &str = "#!/bin/sh\necho \"${0##*/} $*\" >>\"$STAND_IN/asked\"\n";

fn qm() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handover/qm")).unwrap()
}

#[test]
fn proxmox_is_asked_for_what_its_qm_takes() {
    let desk = Desk::new(MACS);
    let names = desk.exported("proxmox");
    let expected = [
        "c1-seed.raw",
        "compute.qcow2",
        "controller-seed.raw",
        "controller.qcow2",
        "create.sh",
    ];
    assert_eq!(names, expected);
    let mode = |name: &str| {
        let metadata = fs::metadata(desk.path("proxmox").join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("c1-seed.raw"), mode("create.sh")), (0o600, 0o755));

    let programs = [("qm", qm()), ("pvesh", "#!/bin/sh\necho 100\n".to_owned())];
    let programs = programs
        .each_ref()
        .map(|(name, text)| (*name, text.as_str()));
    let output = desk.run("proxmox", &programs, &[]);
    assert!(output.status.success(), "{}", said(&output).1);
    let here = desk.path("proxmox").display().to_string();
    let asked = desk.asked();
    for line in [
        "qm create 100 --name controller --memory 8192 --cores 4 --cpu host --ostype l26 --scsihw \
         virtio-scsi-pci --serial0 socket --net0 virtio=52:54:00:CE:11:00,bridge=vmbr0 --net1 \
         virtio=52:54:00:CE:11:01,bridge=vmbr1"
            .to_owned(),
        format!("qm set 100 --scsi0 local-lvm:0,import-from={here}/controller.qcow2,discard=on"),
        format!("qm set 101 --scsi1 local-lvm:0,import-from={here}/c1-seed.raw"),
        "qm set 101 --boot order=scsi0".to_owned(),
        "qm disk resize 101 scsi0 80G".to_owned(),
    ] {
        assert!(asked.lines().any(|it| it == line), "{line}: {asked}");
    }
    // A machine that is there already is nobody's to change.
    let again = desk.run("proxmox", &programs, &["local-lvm", "101"]);
    assert_eq!(
        said(&again).1,
        "there is a machine 101 already, which controller would be: give another FIRST-ID\n"
    );
    assert_eq!(
        desk.asked()
            .lines()
            .filter(|it| it.starts_with("qm create"))
            .count(),
        2
    );
}

#[test]
fn libvirt_gets_a_domain_and_a_disk_for_each_node() {
    let desk = Desk::new(MACS);
    let names = desk.exported("libvirt");
    assert!(names.contains(&"c1.xml".to_owned()), "{names:?}");
    let virsh = "#!/bin/sh\necho \"virsh $*\" >>\"$STAND_IN/asked\"\n\
                 case \"$*\" in *domstate*) exit 1 ;; esac\n";
    let pool = desk.path("pool");
    fs::create_dir(&pool).unwrap();
    let pool = pool.display().to_string();
    let programs = [("virsh", virsh), ("qemu-img", LOG)];
    let output = desk.run("libvirt", &programs, &[&pool]);
    assert!(output.status.success(), "{}", said(&output).1);
    let asked = desk.asked();
    for line in [
        format!("virsh --connect qemu:///system define --validate {pool}/c1.xml"),
        format!(
            "qemu-img create -q -f qcow2 -F qcow2 -b {pool}/cell-compute.qcow2 {pool}/c1.qcow2 80G"
        ),
    ] {
        assert!(asked.lines().any(|it| it == line), "{line}: {asked}");
    }
    let domain = fs::read_to_string(Path::new(&pool).join("c1.xml")).unwrap();
    assert!(
        domain.contains(&format!("<source file='{pool}/c1-seed.img'/>")),
        "{domain}"
    );
    assert!(
        domain.contains("<mac address='52:54:00:ce:11:11'/>"),
        "{domain}"
    );
}

#[test]
fn another_cloud_gets_images_ports_and_servers() {
    let desk = Desk::new(MACS);
    desk.exported("openstack");
    let refused = desk.run("openstack", &[("openstack", LOG)], &[]);
    assert!(said(&refused).1.contains("the flavor of the servers"));
    let output = desk.run("openstack", &[("openstack", LOG)], &["m1.large"]);
    assert!(output.status.success(), "{}", said(&output).1);
    let here = desk.path("openstack").display().to_string();
    let asked = desk.asked();
    for line in [
        "openstack port create --network management --mac-address 52:54:00:ce:11:10 --fixed-ip \
         ip-address=10.20.0.21 --disable-port-security --no-security-group c1-0"
            .to_owned(),
        format!(
            "openstack server create --image cell-compute --flavor m1.large --config-drive true \
             --user-data {here}/c1.user-data --nic port-id=c1-0 --nic port-id=c1-1 --wait c1"
        ),
    ] {
        assert!(asked.lines().any(|it| it == line), "{line}: {asked}");
    }
}

#[test]
fn metal_gets_streams_with_their_maps() {
    let desk = Desk::new(MACS);
    let names = desk.exported("metal");
    let expected = [
        "c1-seed.img",
        "compute.bmap",
        "compute.raw.zst",
        "controller-seed.img",
        "controller.bmap",
        "controller.raw.zst",
    ];
    assert_eq!(names, expected);
    let map = fs::read_to_string(desk.path("metal/compute.bmap")).unwrap();
    assert!(map.contains("<ImageSize> 1073741824 </ImageSize>"), "{map}");
}

#[test]
fn a_node_whose_interface_has_no_address_fits_no_machine_that_is_not_made_yet() {
    let desk = Desk::new(&MACS.replace("\"52:54:00:ce:11:10\"", "\"ens3\""));
    let (code, text) = said(&desk.export("proxmox"));
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("c1: its interface \"ens3\" is a name that the kernel gives"),
        "{text}"
    );
    assert!(!desk.path("proxmox").exists(), "nothing is written");
}

#[test]
#[ignore = "needs shellcheck, libvirt's schemas and bmaptool: make test"]
fn the_places_own_programs_take_what_is_written() {
    let desk = Desk::new(MACS);
    for place in ["libvirt", "proxmox", "openstack"] {
        desk.exported(place);
        Cmd::new("shellcheck")
            .path(desk.path(place).join("create.sh"))
            .run()
            .unwrap();
    }
    for name in ["controller", "c1"] {
        // As the script makes it of the template.
        let domain = desk.path("libvirt").join(format!("{name}.xml"));
        let text = fs::read_to_string(&domain).unwrap();
        let text = text.replace("@DIRECTORY@", "/var/lib/libvirt/images");
        replace(&domain, text.as_bytes(), Ownership::mode(0o644)).unwrap();
        Cmd::new("virt-xml-validate")
            .path(&domain)
            .arg("domain")
            .run()
            .unwrap();
    }
    // bmaptool checks the map's own checksum and that of every block that it writes.
    desk.exported("metal");
    let metal = desk.path("metal");
    let raw = metal.join("compute.raw");
    Cmd::new("zstd")
        .args(["-q", "-d"])
        .path(metal.join("compute.raw.zst"))
        .arg("-o")
        .path(&raw)
        .run()
        .unwrap();
    let copied = desk.path("copied.raw");
    Cmd::new("bmaptool")
        .args(["copy", "--no-sig-verify", "--bmap"])
        .path(metal.join("compute.bmap"))
        .path(&raw)
        .path(&copied)
        .run()
        .unwrap();
    Cmd::new("cmp").path(&raw).path(&copied).run().unwrap();
    println!("shellcheck: 3 scripts; virt-xml-validate: 2 domains; bmaptool: 1 image");
}
