//! Short boots: every firmware and bus, and seeds and disks that are not as they should be.

use std::time::{Duration, Instant};

use cellboot::lab::machine::{self, Bus, Firmware};
use cellboot::lab::network::{self, Port};
use cellboot::lab::serial::{Event, Follow};
use cellboot::lab::switch::Switch;
use cellboot::lab::{self, start};
use cellboot::seed;
use cellboot::site::{SHARED_SEED, Shared};
use firstboot::cmd::Cmd;
use firstboot::config::{Identify, NameFrom, Role};
use firstboot::files::{Ownership, replace};
use firstboot::smoke::boot_sector;
use firstboot::wait::{self, Probe};

use super::{Watched, directory, fresh_disk, images, site};

/// What a node without a seed says; it is also how short boots tell that the agent runs.
const NO_SEED: &str = "for a seed: no volume labelled CIDATA gave this node its \
                       /etc/cellboot/node.toml; attach the node's seed and power on again, or type here the \
                       line of `firstboot token create`";
/// A disk that holds the image's content and is too small for a controller.
const SMALL_GIB: u32 = 5;
/// Processor time over wall time of a guest with nothing to do; what is left is its clock.
const IDLE: f64 = 0.15;

fn waits_for_a_seed(name: &str, role: Role, firmware: Firmware, bus: Bus) {
    let watched = Watched::on(fresh_disk(name, role), firmware, bus, None);
    assert_eq!(
        watched.first_word(),
        Event::Waiting(NO_SEED.to_owned()),
        "{name}"
    );
}

type Boot = (&'static str, Role, Firmware, Bus);

/// Virtio-blk has tests below and the controller's own, SATA that of a written disk, under BIOS and
/// UEFI both.
#[test]
#[ignore = "needs built images: make test"]
fn every_firmware_and_every_bus_boots() {
    boot_in_pairs(&[
        (
            "bios-virtio-scsi",
            Role::Controller,
            Firmware::Bios,
            Bus::VirtioScsi,
        ),
        ("uefi-nvme", Role::Compute, Firmware::Uefi, Bus::Nvme),
    ]);
}

mod soak {
    use super::*;

    #[test]
    #[ignore = "needs built images: make soak"]
    fn the_other_pairs_of_firmware_and_bus_boot() {
        boot_in_pairs(&[
            ("bios-nvme", Role::Controller, Firmware::Bios, Bus::Nvme),
            (
                "uefi-virtio-scsi",
                Role::Compute,
                Firmware::Uefi,
                Bus::VirtioScsi,
            ),
        ]);
    }
}

fn boot_in_pairs(boots: &[Boot]) {
    for pair in boots.chunks(2) {
        std::thread::scope(|scope| {
            for &(name, role, firmware, bus) in pair {
                scope.spawn(move || waits_for_a_seed(name, role, firmware, bus));
            }
        });
        let names: Vec<&str> = pair.iter().map(|boot| boot.0).collect();
        println!("the agent ran: {}", names.join(", "));
    }
}

#[test]
#[ignore = "needs built images: make test"]
fn a_node_without_a_seed_waits_without_using_the_processor() {
    let disk = fresh_disk("idle", Role::Controller);
    let watched = Watched::on(disk, Firmware::Bios, Bus::VirtioBlk, None);
    assert_eq!(watched.first_word(), Event::Waiting(NO_SEED.to_owned()));
    let process = watched.machine.process();
    let used = || {
        process
            .processor_time()
            .unwrap()
            .expect("the machine is on")
    };
    // The rest of the boot ends some time after the agent's words.
    let mut before = (Instant::now(), used());
    let share = wait::until("the guest to be idle", Duration::from_secs(300), || {
        let wall = before.0.elapsed();
        if wall < Duration::from_secs(10) {
            return Ok(Probe::NotYet("not measured yet".into()));
        }
        let now = used();
        let share = (now - before.1).as_secs_f64() / wall.as_secs_f64();
        before = (Instant::now(), now);
        Ok(if share < IDLE {
            Probe::Ready(share)
        } else {
            Probe::NotYet(format!("{:.0} % of a processor", share * 100.0))
        })
    });
    let percent = share.unwrap_or_else(|error| panic!("{error:#}")) * 100.0;
    println!("a node without a seed uses {percent:.1} % of a processor, QEMU included");
}

#[test]
#[ignore = "needs built images: make test"]
fn a_broken_seed_is_named() {
    let (site, keys) = site();
    let (platform, _) = images();
    let controller = site.controller().name.clone();
    let mut seed = seed::of(&site, &platform, &keys, &controller).unwrap();
    seed.user_data = seed.user_data.replace("schema = 1", "schema = 99");
    let path = directory().join("boots/broken.seed");
    replace(&path, &seed.image().unwrap(), Ownership::mode(0o600)).unwrap();
    let disk = fresh_disk("broken-seed", Role::Controller);
    let said = Watched::on(disk, Firmware::Bios, Bus::VirtioBlk, Some(path)).first_word();
    let Event::Failed { step, reason, hint } = said else {
        panic!("a node with a broken seed said {said:?}");
    };
    assert_eq!(step, "seed");
    assert!(
        reason.contains("schema 99, this image reads schema 1"),
        "{reason}"
    );
    assert!(!hint.is_empty());
}

#[test]
#[ignore = "needs built images: make test"]
fn a_disk_that_is_too_small_is_named() {
    let (site, keys) = site();
    let (platform, images) = images();
    let place = directory().join("boots");
    let controller = site.controller().name.clone();
    let seed = place.join("small.seed");
    cellboot::seed::write(&site, &platform, &keys, &controller, &seed).unwrap();
    let image = start::image(&images, Role::Controller).unwrap();
    let disk = place.join("small-disk.qcow2");
    let _ = std::fs::remove_file(&disk);
    machine::overlay(&image, &disk, Some(SMALL_GIB)).unwrap();
    let said = Watched::on(disk, Firmware::Bios, Bus::VirtioBlk, Some(seed)).first_word();
    let Event::Failed { step, reason, hint } = said else {
        panic!("a node with a small disk said {said:?}");
    };
    assert_eq!(step, "base/preflight");
    assert!(reason.contains("root file system"), "{reason}");
    assert!(hint.contains("disk"), "{hint}");
}

/// One seed for many computes: this one is named after its interface, and DHCP gives it an address.
#[test]
#[ignore = "needs built images: make test"]
fn a_compute_with_a_shared_seed_finds_out_who_it_is() {
    let (site, keys) = site();
    let (platform, _) = images();
    let mac = "52:54:00:b1:25:77";
    let mut site = site;
    site.shared = Some(Shared {
        count: 2,
        identify: Identify {
            name_prefix: "compute".into(),
            name_from: NameFrom::Mac,
        },
        interface: mac.into(),
        provider_interface: None,
    });
    let place = directory().join("boots");
    let disk = fresh_disk("shared-seed", Role::Compute);
    let seed = place.join("shared.seed");
    seed::write(&site, &platform, &keys, SHARED_SEED, &seed).unwrap();
    let network = site.management.network;
    let gate = network::gate(network, site.management.gateway, &[], Vec::new()).unwrap();
    let given = gate.spare[1];
    let switch = Switch::new(&place, "management");
    switch.start().unwrap();
    let port = Port {
        id: "management".into(),
        interface: mac.into(),
        fallback_mac: mac.into(),
        gate: Some(gate),
    };
    let watched = Watched::with(disk, Firmware::Uefi, Bus::VirtioBlk, Some(seed), vec![port]);
    let deadline = Duration::from_secs(120) * watched.machine.accelerator.patience();
    let (machine, begins) = (&watched.machine, watched.begins);
    let mut said = Vec::new();
    let tries_to_join = |event: &Event| match event {
        Event::Said(text) => text.contains("join/enrolled waits for the controller at "),
        _ => true,
    };
    let keep = |text: &str| said.push(text.to_owned());
    let last = lab::await_event(machine, begins, deadline, keep, tries_to_join).unwrap();
    assert!(matches!(last, Event::Said(_)), "{last:?}");
    let who = format!("this machine is compute-525400b12577 at {given}");
    assert!(said.contains(&who), "{said:?}");
    println!("{who}");
    drop(watched);
    switch.stop().unwrap();
}

/// The guest of `firstboot verify --smoke`, on the firmware that Nova gives its instances.
#[test]
#[ignore = "needs QEMU: make test"]
fn the_guest_of_the_smoke_test_speaks() {
    let place = directory().join("boots");
    let raw = place.join("smoke.raw");
    replace(&raw, &boot_sector::image(), Ownership::mode(0o600)).unwrap();
    let disk = place.join("smoke.qcow2");
    let convert = Cmd::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]);
    convert.path(&raw).path(&disk).run().unwrap();
    let watched = Watched::on(disk, Firmware::Bios, Bus::VirtioBlk, None);
    let mut follow = Follow::new(&watched.machine.log(), watched.begins);
    let spoken = wait::until("the guest to speak", Duration::from_secs(120), || {
        let lines = follow.lines()?;
        let said = |line: &String| line.trim() == "cellboot: this instance runs";
        Ok(match lines.iter().any(said) {
            true => Probe::Ready(()),
            false => Probe::NotYet(format!("it said {:?}", lines.last())),
        })
    });
    spoken.unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
#[ignore = "needs vde_switch: make test"]
fn a_switch_that_was_killed_is_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let switch = Switch::new(directory.path(), "management");
    let socket = directory.path().join("management.switch/ctl");
    let connect = || std::os::unix::net::UnixStream::connect(&socket);
    for _ in 0..2 {
        switch.start().unwrap();
        switch.start().unwrap();
        connect().unwrap();
        switch.stop().unwrap();
        assert!(connect().is_err(), "it goes on");
    }
}
