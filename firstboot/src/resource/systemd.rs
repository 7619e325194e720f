//! What systemd knows of one unit, and the few things it is asked to do with it.
//!
//! Enabling is a link in a directory, written here without `systemctl enable`: that command
//! reloads systemd, which takes seconds for each unit on an emulated processor. When to start or
//! restart is [`super::unit`]'s business.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::cmd::{Cmd, Failed};
use crate::files;
use crate::node::Node;

/// How long a unit may take to start. A Python service under full emulation needs minutes.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// Where the administrator's links are.
const LINKS: &str = "/etc/systemd/system";
const PROPERTIES: &str = "ActiveState,SubState,Result,NRestarts,Job,NeedDaemonReload,\
                          FragmentPath,ConditionResult,ConditionTimestampMonotonic";

/// Something that systemd was asked for and that has not come to an end; it may still.
#[derive(Debug)]
pub struct Overdue(pub(crate) String);

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Overdue {}

/// The way to this machine's systemd.
pub(super) struct Systemd {
    systemctl: Cmd,
    journalctl: Cmd,
    links: PathBuf,
}

/// One look at a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// `inactive`, `activating`, `active`, `failed` ...
    pub(super) active: String,
    /// The finer word, as in `running` or `auto-restart`.
    pub(super) sub: String,
    /// Why it ended last, as in `exit-code`.
    pub(super) result: String,
    /// How often systemd started it again by itself.
    pub(super) restarts: u32,
    /// True while something is queued for it.
    pub(super) has_job: bool,
    /// True if its files changed since systemd read them.
    pub(super) needs_reload: bool,
    /// True if it was not started because a condition in its file does not hold here.
    pub(super) misses_condition: bool,
    /// The file it is defined in; empty when there is no such unit.
    pub(super) fragment: PathBuf,
}

impl Systemd {
    /// The one that runs this machine.
    pub(super) fn of(node: &Node) -> Result<Self> {
        Ok(Self {
            systemctl: Cmd::new(node.platform.program("systemctl")?),
            journalctl: Cmd::new(node.platform.program("journalctl")?),
            links: PathBuf::from(LINKS),
        })
    }

    #[cfg(test)]
    pub(super) fn scripted(systemctl: Cmd, journalctl: Cmd, links: PathBuf) -> Self {
        Self {
            systemctl,
            journalctl,
            links,
        }
    }

    /// How the unit is now.
    pub(super) fn state(&self, unit: &str) -> Result<State> {
        let show = self.systemctl.clone().arg("show");
        let show = show.arg(format!("--property={PROPERTIES}")).arg(unit);
        Ok(State::parse(&show.read()?))
    }

    /// Starts it and waits for that; joins a start that is already on its way.
    pub(super) fn start(&self, unit: &str) -> Result<()> {
        self.change("start", unit)
    }

    /// Stops it if it runs, starts it, and waits for that.
    pub(super) fn restart(&self, unit: &str) -> Result<()> {
        self.change("restart", unit)
    }

    /// Has its process read its configuration again, and waits for that.
    pub(super) fn reload_unit(&self, unit: &str) -> Result<()> {
        self.change("reload", unit)
    }

    /// Makes systemd forget that it failed, and how often, so that it may start again.
    pub(super) fn reset_failed(&self, unit: &str) -> Result<()> {
        self.change("reset-failed", unit)
    }

    /// Makes systemd read unit files and drop-ins again.
    pub(super) fn reload(&self) -> Result<()> {
        self.systemctl.clone().arg("daemon-reload").run()
    }

    /// The links that start the unit at boot, of which each is missing or there.
    fn wanted(&self, unit: &str, fragment: &Path) -> Result<Vec<PathBuf>> {
        let text = fs::read_to_string(fragment)
            .with_context(|| format!("reading {}", fragment.display()))?;
        let link = |target: String| self.links.join(target).join(unit);
        Ok(install_directories(&text).into_iter().map(link).collect())
    }

    /// True if the unit starts at boot, or can only be started by others.
    pub(super) fn is_enabled(&self, unit: &str, state: &State) -> Result<bool> {
        let links = self.wanted(unit, &state.fragment)?;
        Ok(links.iter().all(|link| link.is_symlink()))
    }

    /// Makes the unit start at boot.
    pub(super) fn enable(&self, unit: &str, state: &State) -> Result<()> {
        for link in self.wanted(unit, &state.fragment)? {
            let context = || format!("enabling {unit} by {}", link.display());
            let directory = link.parent().unwrap_or(&self.links);
            fs::create_dir_all(directory).with_context(context)?;
            match symlink(&state.fragment, &link) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => {
                    other.with_context(context)?;
                    files::sync_directory(directory)?;
                }
            }
        }
        Ok(())
    }

    fn change(&self, verb: &str, unit: &str) -> Result<()> {
        let change = self.systemctl.clone().args([verb, unit]);
        let change = change.deadline(START_DEADLINE);
        change.run().map_err(|error| {
            let failed = error.downcast_ref::<Failed>();
            let is_overdue = failed.is_some_and(|failed| failed.status.is_none());
            let told = self.with_journal(error, unit);
            match is_overdue {
                true => Overdue(format!("{told:#}")).into(),
                false => told,
            }
        })
    }

    /// The error with the unit's last words.
    pub(super) fn with_journal(&self, error: anyhow::Error, unit: &str) -> anyhow::Error {
        // What was said last may still be on its way to the journal.
        let _ = self.journalctl.clone().arg("--sync").run();
        let journal = self.journalctl.clone();
        let journal = journal.args(["--no-pager", "-o", "cat", "-n", "15", "-u", unit]);
        match journal.read() {
            Ok(lines) if !lines.trim().is_empty() => {
                anyhow!("{error:#}\nthe last lines of {unit}:\n{}", lines.trim_end())
            }
            // No journal is no reason to hide the error.
            _ => error,
        }
    }
}

impl State {
    /// Reads what `systemctl show` prints.
    fn parse(text: &str) -> Self {
        let mut state = Self::default();
        // A unit that nobody tried to start has a result too: only with its time does it count.
        let (mut condition_holds, mut condition_was_tried) = (true, false);
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "ActiveState" => state.active = value.to_owned(),
                "SubState" => state.sub = value.to_owned(),
                "Result" => state.result = value.to_owned(),
                "NRestarts" => state.restarts = value.parse().unwrap_or(0),
                "Job" => state.has_job = !value.is_empty() && value != "0",
                "NeedDaemonReload" => state.needs_reload = value == "yes",
                "ConditionResult" => condition_holds = value == "yes",
                "ConditionTimestampMonotonic" => condition_was_tried = value != "0",
                "FragmentPath" => state.fragment = PathBuf::from(value),
                _ => {}
            }
        }
        state.misses_condition = condition_was_tried && !condition_holds;
        state
    }

    /// True if there is such a unit.
    pub(super) fn exists(&self) -> bool {
        !self.fragment.as_os_str().is_empty()
    }

    /// True if it does what it is for.
    pub(super) fn is_active(&self) -> bool {
        self.active == "active" || self.active == "reloading"
    }

    /// True if its process died and systemd is going to start another.
    pub(super) fn is_between_restarts(&self) -> bool {
        self.active == "activating" && self.sub == "auto-restart"
    }

    /// True if it will be active soon without anybody doing something.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.active == "activating" || (self.has_job && !self.is_active())
    }
}

/// The directories, as in `multi-user.target.wants`, that the `[Install]` section names.
fn install_directories(unit_file: &str) -> Vec<String> {
    let mut in_install = false;
    let mut directories = Vec::new();
    for line in unit_file.lines().map(str::trim) {
        if line.starts_with('[') {
            in_install = line == "[Install]";
        } else if let Some((name, targets)) = line.split_once('=').filter(|_| in_install) {
            let kind = match name.trim() {
                "WantedBy" => "wants",
                "RequiredBy" => "requires",
                _ => continue,
            };
            let targets = targets.split_whitespace();
            directories.extend(targets.map(|target| format!("{target}.{kind}")));
        }
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_systemctl_shows() {
        // As systemd 252 prints it for a unit in the middle of its start.
        let shown = "ActiveState=activating\nSubState=start\nResult=success\n\
                     NRestarts=2\nJob=4711\nNeedDaemonReload=no\n\
                     ConditionResult=yes\nConditionTimestampMonotonic=31415926\n\
                     FragmentPath=/lib/systemd/system/nova-conductor.service\n";
        let state = State::parse(shown);
        assert_eq!(
            state,
            State {
                active: "activating".into(),
                sub: "start".into(),
                result: "success".into(),
                restarts: 2,
                has_job: true,
                needs_reload: false,
                misses_condition: false,
                fragment: "/lib/systemd/system/nova-conductor.service".into(),
            }
        );
        assert!(state.is_on_its_way() && !state.is_active() && !state.is_between_restarts());
        assert!(!State::parse("ActiveState=inactive\nFragmentPath=\n").exists());
    }

    #[test]
    fn a_condition_counts_once_it_was_tried() {
        let cases = [("no", "0", false), ("no", "7", true), ("yes", "7", false)];
        for (result, tried, expected) in cases {
            let shown = format!("ConditionResult={result}\nConditionTimestampMonotonic={tried}\n");
            assert_eq!(State::parse(&shown).misses_condition, expected);
        }
    }

    #[test]
    fn install_sections_are_read_and_others_are_not() {
        let text = "[Unit]\nWantedBy=no.target\n[Install]\nAlias=x.service\n\
                    WantedBy=multi-user.target  graphical.target\nRequiredBy = a.target\n\
                    [Service]\nWantedBy=no.target\n";
        assert_eq!(
            install_directories(text),
            [
                "multi-user.target.wants",
                "graphical.target.wants",
                "a.target.requires"
            ]
        );
        assert!(install_directories("[Service]\nExecStart=/bin/true\n").is_empty());
    }
}
