//! Seeds that come another way than on a volume of their own. The seed is a broken one: what the
//! agent says about it shows that it was read.

use std::fs;
use std::path::{Path, PathBuf};

use cellboot::lab::machine::{Bus, Firmware};
use cellboot::lab::network::Port;
use cellboot::lab::serial::Event;
use cellboot::lab::switch::Switch;
use cellboot::seed;
use firstboot::cmd::Cmd;
use firstboot::config::Role;
use firstboot::files::{Ownership, replace};
use firstboot::volume::Volume;

use super::{Watched, directory, fresh_disk, images, site};

const WRITTEN_GIB: u64 = 12;

fn place() -> PathBuf {
    let place = directory().join("boots");
    fs::create_dir_all(&place).unwrap();
    place
}

/// The controller's, of a schema that nobody reads.
fn broken() -> Volume {
    let (site, keys) = site();
    let (platform, _) = images();
    let mut seed = seed::of(&site, &platform, &keys, &site.controller().name).unwrap();
    seed.user_data = seed.user_data.replace("schema = 1", "schema = 99");
    seed
}

fn was_read(said: &Event) {
    let Event::Failed { step, reason, .. } = said else {
        panic!("a node with a broken seed said {said:?}");
    };
    assert_eq!(step, "seed");
    assert!(
        reason.contains("schema 99, this image reads schema 1"),
        "{reason}"
    );
}

#[test]
#[ignore = "needs built images: make test"]
fn a_disk_that_was_written_has_its_seed_with_it() {
    let (seed, raw) = (place().join("written.seed"), place().join("written.raw"));
    replace(&seed, &broken().image().unwrap(), Ownership::mode(0o600)).unwrap();
    let _ = fs::remove_file(&raw);
    fs::File::create(&raw)
        .unwrap()
        .set_len(WRITTEN_GIB << 30)
        .unwrap();
    let image = images().1.join("controller.qcow2");
    write(&image, &seed, &raw);
    for (name, firmware) in [
        ("written-bios", Firmware::Bios),
        ("written-uefi", Firmware::Uefi),
    ] {
        let disk = place().join(format!("{name}.qcow2"));
        let convert = Cmd::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]);
        convert.path(&raw).path(&disk).run().unwrap();
        was_read(&Watched::on(disk, firmware, Bus::Sata, None).first_word());
        println!("{name}: the seed was found on the disk");
    }
    fs::remove_file(raw).unwrap();
}

fn write(image: &Path, seed: &Path, device: &Path) {
    let command = Cmd::new(env!("CARGO_BIN_EXE_cellboot"))
        .arg("write")
        .path(image);
    let command = command.arg("--seed").path(seed).path(device).arg("--yes");
    command.run().unwrap();
}

#[test]
#[ignore = "needs built images: make test"]
fn a_config_drive_is_as_good_as_a_seed() {
    let (site, _) = site();
    let node = site.controller();
    let drive = place().join("config-drive.img");
    replace(
        &drive,
        &broken().config_drive().unwrap(),
        Ownership::mode(0o600),
    )
    .unwrap();
    let interfaces = [Some(&node.interface), node.provider_interface.as_ref()];
    let mut ports = Vec::new();
    let mut switches = Vec::new();
    for (id, interface) in ["config-a", "config-b"]
        .into_iter()
        .zip(interfaces.into_iter().flatten())
    {
        let switch = Switch::new(&place(), id);
        switch.start().unwrap();
        switches.push(switch);
        ports.push(Port {
            id: id.into(),
            interface: interface.clone(),
            fallback_mac: interface.clone(),
            gate: None,
        });
    }
    let disk = fresh_disk("config-drive", Role::Controller);
    let watched = Watched::with(disk, Firmware::Bios, Bus::VirtioBlk, Some(drive), ports);
    was_read(&watched.first_word());
    drop(watched);
    for switch in switches {
        switch.stop().unwrap();
    }
}
