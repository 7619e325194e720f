//! Built images in machines: what only a power-on can prove.
//!
//! Ignored by `cargo test`, because they need `make images` and take half an hour where the
//! processor is emulated; `make test` runs them, two at a time where each has one processor. Consoles
//! are kept in `target/vm/`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod boots;
mod carriers;
mod cell;
mod controller;
mod installed;
mod installer;
mod soak;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use cellboot::keys::Keys;
use cellboot::lab::accel::{Accelerator, Choice};
use cellboot::lab::machine::{self, Bus, Firmware, Machine};
use cellboot::lab::network::Port;
use cellboot::lab::serial::Event;
use cellboot::lab::{self, start};
use cellboot::report::Report;
use cellboot::site::Site;
use cellboot::site::starter::Starter;
use firstboot::config::Role;
use firstboot::files::{Ownership, replace};
use firstboot::platform::Platform;

/// Where everything of these tests is kept.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vm")
}

/// What was built.
fn images() -> (Platform, PathBuf) {
    let out = std::env::var_os("OUT").map_or_else(|| PathBuf::from("out"), PathBuf::from);
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join(out);
    start::built_images(&out, None).unwrap()
}

/// The processor of every machine here; found out once.
fn accelerator() -> Accelerator {
    static FOUND: OnceLock<Accelerator> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let report = Report::new(0);
        start::accelerator(&images().1, Choice::Auto, &report).unwrap()
    })
}

/// The site that `cellboot init` gives everybody, with its keys; the same for every test.
fn site() -> (Site, Keys) {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let path = MADE.get_or_init(|| {
        let path = directory().join("site.toml");
        if !path.exists() {
            let text = Starter {
                id: [0xce, 0x11],
                authorized_key_files: Vec::new(),
            }
            .text();
            replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
        }
        Keys::beside(&path).unwrap();
        path
    });
    (Site::load(path).unwrap(), Keys::beside(path).unwrap())
}

/// A machine that is watched for the agent's first words; off when dropped.
struct Watched {
    machine: Machine,
    begins: u64,
}

/// A new disk over the image of a role, in the directory of short boots.
fn fresh_disk(name: &str, role: Role) -> PathBuf {
    let disk = directory().join(format!("boots/{name}.qcow2"));
    std::fs::create_dir_all(directory().join("boots")).unwrap();
    let _ = std::fs::remove_file(&disk);
    let image = start::image(&images().1, role).unwrap();
    machine::overlay(&image, &disk, None).unwrap();
    disk
}

impl Watched {
    /// Turns on a machine that is named after its disk and has no network.
    fn on(disk: PathBuf, firmware: Firmware, bus: Bus, seed: Option<PathBuf>) -> Self {
        Self::with(disk, firmware, bus, seed, Vec::new())
    }

    /// The same with these interfaces, whose switches run in the directory of the disk.
    fn with(
        disk: PathBuf,
        firmware: Firmware,
        bus: Bus,
        seed: Option<PathBuf>,
        ports: Vec<Port>,
    ) -> Self {
        let machine = Machine {
            name: disk.file_stem().unwrap().to_string_lossy().into_owned(),
            directory: disk.parent().unwrap().to_owned(),
            accelerator: accelerator(),
            firmware,
            // two machines at a time on two processors
            processors: 1,
            memory_mib: 4096,
            disk,
            bus,
            seed,
            ports,
        };
        machine.process().cut_power().unwrap();
        for kind in ["log", "efivars"] {
            let _ = std::fs::remove_file(machine.disk.with_extension(kind));
        }
        let begins = machine.power_on().unwrap();
        Self { machine, begins }
    }

    /// The first thing that it says besides progress.
    fn first_word(&self) -> Event {
        let deadline = Duration::from_secs(120) * self.machine.accelerator.patience();
        let final_word = |event: &Event| !matches!(event, Event::Said(_));
        let said = lab::await_event(&self.machine, self.begins, deadline, |_| (), final_word);
        said.unwrap_or_else(|error| panic!("{error:#}"))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.machine.process().cut_power();
        let _ = std::fs::remove_file(&self.machine.disk);
    }
}
