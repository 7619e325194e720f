//! What libvirt is handed, in a real libvirt: the domains are defined, and one is started.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cellboot::lab::accel::Accelerator;
use firstboot::cmd::Cmd;

use crate::{accelerator, directory, images, site};

#[test]
#[ignore = "needs root, libvirt and built images: make soak"]
fn a_domain_is_defined_and_starts() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let handed = directory().join("libvirt");
    let _ = fs::remove_dir_all(&handed);
    site();
    let out = images().1;
    Cmd::new(env!("CARGO_BIN_EXE_cellboot"))
        .args(["export", "--to", "libvirt", "--site"])
        .path(directory().join("site.toml"))
        .arg("--out")
        .path(out.parent().unwrap())
        .arg("--output")
        .path(&handed)
        .run()
        .unwrap();
    let accelerator = accelerator();
    let kind = match accelerator {
        Accelerator::Tcg => "tcg",
        Accelerator::Kvm => "kvm",
    };
    let said = Cmd::new("sh")
        .path(project.join("tests/vm/soak/libvirt.sh"))
        .path(&handed)
        .arg(kind)
        .through(
            "unshare",
            [
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--",
            ],
        )
        .deadline(Duration::from_secs(120) * accelerator.patience())
        .read()
        .unwrap();
    println!("{said}");
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    assert!(
        lines.contains(&"controller") && lines.contains(&"compute1"),
        "{said}"
    );
    // The seed came with it.
    assert!(lines.last().unwrap().contains("/71]"), "{said}");
}
