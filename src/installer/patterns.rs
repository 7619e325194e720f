//! The installer's own words for what goes wrong and how far it is: a table.
//!
//! From the sources of Anaconda 34.25 (EL9) and of the programs that watch it, lorax and
//! kickstart-tests; not from a running installer. A failure that has no row here still ends as
//! silence, a deadline or a power-off without the two witnesses.

use super::watch::{Failure, Source};

/// A line that means failure.
struct Known {
    /// Where it counts; anywhere, if nothing is said.
    source: Option<Source>,
    /// All of these are in it.
    words: &'static [&'static str],
    /// What it means; the line itself follows.
    what: &'static str,
    /// What to do.
    hint: &'static str,
}

const ANY: Option<Source> = None;
const SERIAL: Option<Source> = Some(Source::Serial);
const MIRRORS: &str = "the repositories have to be of one date: name one dated compose as main \
                       under [platform.mirrors], and look whether sigs has the release";
const PACKAGES: &str = "a package of platforms/centos-stream-9.toml is in none of the \
                        repositories: is the mirror whole, and is it of this release?";
const SPACE: &str = "give the image more room: disk_size_gib under [image]";
const OURS: &str = "this is an error of cellboot or a change of Anaconda: please report it with \
                    the logs that are named below";

const KNOWN: &[Known] = &[
    Known {
        source: SERIAL,
        words: &["Kernel panic - not syncing"],
        what: "the installer's kernel panicked",
        hint: "try another compose under [platform.mirrors], or another host",
    },
    Known {
        source: SERIAL,
        words: &["CPU does not support x86-64-v2"],
        what: "the machine's processor is too old for EL9",
        hint: "use a host with KVM and a processor of x86-64-v2, or emulation",
    },
    Known {
        source: SERIAL,
        words: &["dracut-initqueue", "timeout"],
        what: "the installer did not find its second stage or its kickstart",
        hint: OURS,
    },
    Known {
        source: SERIAL,
        words: &["Entering emergency mode"],
        what: "the installer did not get past its initial RAM disk",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["The following problem occurred on line"],
        what: "Anaconda does not accept the kickstart",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["Error code ", " running the kickstart script"],
        what: "a script of the kickstart failed",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["NoSuchPackage"],
        what: "a package does not exist",
        hint: PACKAGES,
    },
    Known {
        source: ANY,
        words: &["No match for argument"],
        what: "a package does not exist",
        hint: PACKAGES,
    },
    Known {
        source: ANY,
        words: &["nothing provides "],
        what: "a package lacks what it needs",
        hint: MIRRORS,
    },
    Known {
        source: ANY,
        words: &["Some packages, groups or modules are broken"],
        what: "packages do not fit together",
        hint: MIRRORS,
    },
    Known {
        source: ANY,
        words: &["Some packages, groups or modules are missing"],
        what: "packages are missing",
        hint: PACKAGES,
    },
    Known {
        source: ANY,
        words: &["Transaction check error:"],
        what: "packages do not fit together",
        hint: MIRRORS,
    },
    Known {
        source: ANY,
        words: &["error populating transaction after"],
        what: "packages could not be fetched",
        hint: MIRRORS,
    },
    Known {
        source: ANY,
        words: &["base repo ", " not valid"],
        what: "the repository of the operating system cannot be used",
        hint: MIRRORS,
    },
    Known {
        source: ANY,
        words: &["Payload setup error:"],
        what: "the repositories cannot be used",
        hint: MIRRORS,
    },
    Known {
        source: ANY,
        words: &["Failed to download metadata for repo"],
        what: "a repository cannot be read",
        hint: MIRRORS,
    },
    Known {
        source: ANY,
        words: &["Not enough disk space to download the packages"],
        what: "the disk is too small",
        hint: SPACE,
    },
    Known {
        source: ANY,
        words: &["insufficient disk space:"],
        what: "the disk is too small",
        hint: SPACE,
    },
    Known {
        source: ANY,
        words: &["Not enough space in file systems for the current software selection"],
        what: "the disk is too small",
        hint: SPACE,
    },
    Known {
        source: ANY,
        words: &["storage configuration failed:"],
        what: "Anaconda does not accept the partitions",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["scriptlet in rpm package"],
        what: "a package's own script failed",
        hint: MIRRORS,
    },
    Known {
        source: ANY,
        words: &["The following error occurred while installing.  This is a fatal error"],
        what: "a package could not be installed",
        hint: MIRRORS,
    },
    Known {
        source: ANY,
        words: &["Out of memory:"],
        what: "the machine has too little memory for the installer",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["crashed on signal"],
        what: "Anaconda crashed",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["(anaconda) of user ", " dumped core"],
        what: "Anaconda crashed",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["traceback script(s) have been run"],
        what: "Anaconda failed",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["Traceback ("],
        what: "Anaconda failed",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["Would you like to ignore this and continue with installation?"],
        what: "Anaconda asks a question that nobody can answer",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["Press ENTER to quit"],
        what: "Anaconda waits for a key instead of powering off",
        hint: OURS,
    },
    Known {
        source: SERIAL,
        words: &["ress [Enter]"],
        what: "Anaconda waits for a key",
        hint: OURS,
    },
    Known {
        source: SERIAL,
        words: &["ress ENTER to continue"],
        what: "Anaconda waits for a key",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["Non interactive installation failed:"],
        what: "Anaconda gave up",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["CmdlineError:"],
        what: "Anaconda gave up",
        hint: OURS,
    },
    Known {
        source: ANY,
        words: &["The installer will now terminate"],
        what: "Anaconda gave up",
        hint: OURS,
    },
];

/// What lorax lets pass: Anaconda marks what it has dealt with.
const IGNORED: &str = "IGNORED";

/// The failure that a line means, if it means one.
pub(super) fn failure(source: Source, line: &str) -> Option<Failure> {
    if line.contains(IGNORED) {
        return None;
    }
    let known = KNOWN.iter().find(|known| {
        known.source.is_none_or(|it| it == source)
            && known.words.iter().all(|words| line.contains(words))
    })?;
    Some(Failure::new(format!("{}: {line}", known.what), known.hint))
}

/// Anaconda's stages, as its text mode and its log name them.
const STAGES: [&str; 8] = [
    "Setting up the installation environment",
    "Configuring storage",
    "Running pre-installation scripts",
    "Downloading packages",
    "Preparing transaction",
    "Installing boot loader",
    "Generating initramfs",
    "Running post-installation scripts",
];

/// How far it is, if the line says so: a stage, or a package and how many there are.
pub(super) fn progress(source: Source, line: &str) -> Option<String> {
    if source == Source::Status {
        return None;
    }
    if let Some((done, all)) = count(line) {
        return Some(format!("package {done} of {all}"));
    }
    let stage = STAGES.iter().find(|stage| line.contains(*stage))?;
    Some((*stage).to_owned())
}

/// The numbers at the end of `Installing libgcc.x86_64 (3/812)`.
fn count(line: &str) -> Option<(u32, u32)> {
    let (_, rest) = line.split_once("Installing ")?;
    let (_, numbers) = rest.strip_suffix(')')?.rsplit_once(" (")?;
    let (done, all) = numbers.split_once('/')?;
    Some((done.parse().ok()?, all.parse().ok()?))
}

/// Why QEMU stopped a machine, and what to do.
pub(super) fn stopped(why: &str) -> (String, &'static str) {
    match why {
        "io-error" => (
            "this host could not write to the machine's disk".to_owned(),
            "make room where the cache is, and build again",
        ),
        "guest-panicked" => (
            "the installer's kernel panicked".to_owned(),
            "try another compose under [platform.mirrors], or another host",
        ),
        other => (
            format!("QEMU stopped the machine: {other}"),
            "KVM does not carry this machine: `cellboot doctor` tells, `--accel tcg` emulates it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_found_by_its_own_words_and_no_earlier_one() {
        for known in KNOWN {
            let line = known.words.join("x");
            let source = known.source.unwrap_or(Source::Anaconda);
            let found = failure(source, &line).expect("a row finds itself");
            assert_eq!(found.what, format!("{}: {line}", known.what));
            assert!(!found.hint.is_empty());
        }
    }

    #[test]
    fn lines_of_the_programs_that_these_words_come_from() {
        let table = [
            (
                Source::Anaconda,
                "10:00:00,000 ERR packaging:Error in POSTIN scriptlet in rpm package nova",
                "a package's own script failed",
            ),
            (
                Source::Anaconda,
                "10:00:00,000 ERR anaconda:Error code 1 running the kickstart script at line 93",
                "a script of the kickstart failed",
            ),
            (
                Source::Serial,
                "[  150.1] dracut-initqueue[720]: Warning: dracut-initqueue timeout - starting",
                "the installer did not find its second stage or its kickstart",
            ),
            (
                Source::Anaconda,
                "ERR systemd-coredump:Process 1499 (anaconda) of user 0 dumped core.",
                "Anaconda crashed",
            ),
            (
                Source::Serial,
                "Problem 1: nothing provides python3-pyxattr needed by python3-glance",
                "a package lacks what it needs",
            ),
        ];
        for (source, line, expected) in table {
            let found = failure(source, line).expect(line);
            assert_eq!(found.what, format!("{expected}: {line}"));
        }
    }

    #[test]
    fn what_is_no_failure_passes() {
        let lines = [
            (
                Source::Anaconda,
                "WARN program:IGNORED Traceback (most recent call last)",
            ),
            (
                Source::Anaconda,
                "INFO packaging:Kernel panic - not syncing is in a changelog",
            ),
            (Source::Serial, "Call Trace:"),
            (Source::Serial, "Installing kernel-core.x86_64 (400/812)"),
        ];
        for (source, line) in lines {
            assert_eq!(failure(source, line), None, "{line}");
        }
    }

    #[test]
    fn packages_and_stages_are_progress() {
        let of = |line| progress(Source::Serial, line);
        assert_eq!(
            of("Installing kernel-core.x86_64 (400/812)").as_deref(),
            Some("package 400 of 812")
        );
        assert_eq!(
            of("Installing boot loader").as_deref(),
            Some("Installing boot loader")
        );
        assert_eq!(of("Installing something else (or not)"), None);
    }
}
