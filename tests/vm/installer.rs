//! Every way in which an installation ends, played by a stand-in for Anaconda in a machine as the
//! real one would have it. The real one was never run here.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use cellboot::installer::machine::{Boot, Files};
use cellboot::installer::watch::Limits;
use cellboot::installer::{install, volume};
use cellboot::report::Report;
use firstboot::files::{Ownership, read_if_exists, replace};
use firstboot::wait::{self, Probe};

use super::{accelerator, cell, directory};

const OVERLAY: &[u8] = b"what would be an archive";
/// Patience of the endings that are not about patience; the processor is emulated.
const LIMITS: Limits = Limits {
    silence: Duration::from_secs(240),
    whole: Duration::from_secs(480),
    power_off: Duration::from_secs(240),
};

/// How an installation of this ending ends: the error's first lines, or none.
fn ends(ending: &str, limits: Limits) -> Option<String> {
    ends_with(ending, limits, |_| ())
}

fn place(ending: &str) -> PathBuf {
    directory().join("installer").join(ending)
}

fn ends_with(ending: &str, limits: Limits, meanwhile: impl Fn(&Files) + Sync) -> Option<String> {
    let files = Files::new(&place(ending));
    // Not what an earlier run said there.
    let _ = std::fs::remove_dir_all(files.directory());
    std::fs::create_dir_all(files.directory()).unwrap();
    let guest = directory().join("installer/guest");
    let boot = Boot {
        kernel: guest.join("vmlinuz"),
        initrd: guest.join("initramfs"),
        stage2: volume::stage2_beside(&guest),
        accelerator: accelerator(),
    };
    volume::write_target(&files.target(), 64 << 20).unwrap();
    volume::write_kickstart(&files.kickstart(), &format!("{ending}\n"), OVERLAY).unwrap();
    let report = Report::new(1);
    let result = std::thread::scope(|scope| {
        let other = scope.spawn(|| meanwhile(&files));
        let result = install(&files, &boot, limits, &report.begin(ending));
        other.join().unwrap();
        result
    });
    let error = format!("{:#}", result.err()?);
    println!("{ending}: {}", error.lines().next().unwrap_or_default());
    assert!(error.contains("\nhint: "), "{error}");
    assert!(error.contains("\nthe end of Anaconda's log, "), "{error}");
    assert!(error.contains("\nthe end of the console, "), "{error}");
    Some(error)
}

/// An ending and the first words of its error.
type Played = (&'static str, &'static str);

const FAILURES: [Played; 8] = [
    (
        "script-fails",
        "installing: a script of the kickstart failed: finish line 12: dracut --force \
         --regenerate-all\n",
    ),
    (
        "gives-up",
        "installing: Anaconda gave up: Non interactive installation failed: ",
    ),
    (
        "missing-package",
        "installing: a package does not exist: 12:00:00,000 INFO packaging:No match for argument: \
         openstack-nova-compute\n",
    ),
    (
        "bad-kickstart",
        "installing: Anaconda does not accept the kickstart: The following problem occurred on \
         line 7 ",
    ),
    (
        "asks",
        "installing: Anaconda waits for a key instead of powering off: Installation complete. ",
    ),
    (
        "never-reports",
        "installing: the machine powered off after Anaconda had finished, and the last script of \
         the kickstart never reported\n",
    ),
    (
        "powers-off",
        "installing: the machine powered off before anything was done\n",
    ),
    ("panics", "installing: the installer's kernel panicked: "),
];

/// The directory of the stand-in's kernel and initial RAM disk, built once.
pub(super) fn guest() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let guest = directory().join("installer/guest");
        std::fs::create_dir_all(&guest).unwrap();
        let built = cell::python("guest.py").path(&guest);
        built.args(["--script", "installer-init.sh"]).run().unwrap();
        guest
    };
    BUILT.get_or_init(build).clone()
}

#[test]
#[ignore = "needs QEMU: make test"]
fn every_ending_of_an_installation_has_its_word() {
    let guest = guest();
    let stage2 = guest.with_file_name("install.img");
    replace(&stage2, b"a second stage", Ownership::mode(0o644)).unwrap();
    volume::write_stage2(&volume::stage2_beside(&guest), &stage2).unwrap();

    assert_eq!(ends("done", LIMITS), None);
    let disk = std::fs::read(Files::new(&place("done")).target()).unwrap();
    assert!(disk.starts_with(OVERLAY), "it was installed to the disk");

    // Two machines at a time on two processors.
    for pair in FAILURES.chunks(2) {
        std::thread::scope(|scope| {
            for (ending, expected) in pair {
                scope.spawn(move || {
                    let error = ends(ending, LIMITS).expect(ending);
                    assert!(error.starts_with(expected), "{ending}: {error}");
                });
            }
        });
    }
    let impatient = Limits {
        silence: Duration::from_secs(60),
        ..LIMITS
    };
    let error = ends("silent", impatient).unwrap();
    let expected = "installing: nothing was heard for 60 s; the last was: package 1 of 3\n";
    assert!(error.starts_with(expected), "{error}");
    let short = Limits {
        whole: Duration::from_secs(30),
        ..LIMITS
    };
    let error = ends("endless", short).unwrap();
    assert!(
        error.starts_with("installing: it is not done after 30 s\n"),
        "{error}"
    );
    // What KVM does to a machine that it cannot carry.
    let error = ends_with("stopped", LIMITS, stop).unwrap();
    assert!(
        error.starts_with("installing: QEMU stopped the machine: paused\n"),
        "{error}"
    );
}

/// Stops the processors of the machine once the installer has begun.
fn stop(files: &Files) {
    let begun = wait::until("the installer to begin", LIMITS.whole, || {
        let said = read_if_exists(&files.status())?.unwrap_or_default();
        Ok(match said.contains("BEGINS") {
            true => Probe::Ready(()),
            false => Probe::NotYet(said),
        })
    });
    begun.unwrap();
    let stream = UnixStream::connect(files.directory().join(Files::CONTROL)).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    answers.next().unwrap().unwrap();
    for command in ["qmp_capabilities", "stop"] {
        writeln!(&stream, "{{\"execute\": \"{command}\"}}").unwrap();
        answers.next().unwrap().unwrap();
    }
}
