//! A service that runs, with the configuration that is on disk now, and will run after a reboot.
//!
//! systemd does not tell which configuration a process has read, so a marker keeps the hash of
//! the files a unit was last started with. It is written before a start (whatever starts the unit
//! from then on reads those files) but after a restart (until that is done, the old process may
//! still be there). Power may go in between: the worst that follows is one restart too many.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use sha2::{Digest, Sha256};

pub use super::systemd::Overdue;
use super::systemd::{START_DEADLINE, State, Systemd};
use crate::files::{self, Ownership};
use crate::hash::hex;
use crate::node::Node;
use crate::paths;
use crate::step::{Check, Context};
use crate::wait::Probe;

/// A unit that systemd had to start this often again will not come up by waiting longer.
const MOST_RESTARTS: u32 = 5;

/// Whether every unit of a service is active, enabled and started with the present files. Waits for
/// those that are just starting, as they all are when a finished node boots.
pub fn check(service: &str, context: &Context) -> Result<Check> {
    let machine = Machine::of(context.node)?;
    for unit in &context.platform.service(service)?.units {
        let wait = |probe: &mut dyn FnMut() -> Result<Probe<()>>| {
            context.wait(unit, START_DEADLINE, probe)
        };
        match machine.check(unit, &context.platform.files_of(unit), wait)? {
            Check::Done => {}
            other => return Ok(other),
        }
    }
    Ok(Check::Done)
}

/// Enables and starts every unit of a service, in the platform's order, and restarts (or reloads) those
/// that run with older files.
pub fn start(service: &str, context: &Context) -> Result<()> {
    let machine = Machine::of(context.node)?;
    let service = context.platform.service(service)?;
    for unit in &service.units {
        machine.start(unit, &context.platform.files_of(unit), service.reloads)?;
    }
    Ok(())
}

/// systemd and the directory of the markers.
struct Machine {
    systemd: Systemd,
    markers: PathBuf,
}

/// What it takes to have a unit run with the present files.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    Nothing,
    /// Start it, or join the start that is on its way.
    Start,
    /// Replace the process that runs with older files.
    Restart,
    /// Have it read the files that there are now.
    Reload,
}

impl Machine {
    fn of(node: &Node) -> Result<Self> {
        Ok(Self {
            systemd: Systemd::of(node)?,
            markers: PathBuf::from(paths::STARTED),
        })
    }

    fn check(
        &self,
        unit: &str,
        files: &BTreeSet<&Path>,
        wait: impl FnOnce(&mut dyn FnMut() -> Result<Probe<()>>) -> Result<()>,
    ) -> Result<Check> {
        let state = self.existing(unit)?;
        if !self.systemd.is_enabled(unit, &state)? {
            return Ok(Check::Todo(format!("{unit} is not enabled")));
        }
        let marker = files::read_if_exists(&self.marker(unit))?;
        if marker.as_deref() != Some(&hash(files)?) {
            let reason = match marker {
                Some(_) => "was started with other files than there are now",
                None => "was not started yet",
            };
            return Ok(Check::Todo(format!("{unit} {reason}")));
        }
        if state.is_on_its_way() {
            wait(&mut || self.settled(unit))?;
        }
        let state = self.systemd.state(unit)?;
        Ok(Check::of(state.is_active(), told(unit, &state)))
    }

    /// Ready once the unit is active or has given up; an error if it comes and goes.
    fn settled(&self, unit: &str) -> Result<Probe<()>> {
        let state = self.systemd.state(unit)?;
        if !state.is_on_its_way() {
            return Ok(Probe::Ready(()));
        }
        if !state.is_between_restarts() {
            // systemd merges this with the start that is queued, and it costs no processor time
            // to wait for, which looking again and again does. If that start fails, systemd may
            // try another: the next look tells.
            let _ = self.systemd.start(unit);
        } else if state.restarts >= MOST_RESTARTS {
            let error = anyhow!("{unit} ended {} times ({})", state.restarts, state.result);
            return Err(self.systemd.with_journal(error, unit));
        }
        Ok(Probe::NotYet(told(unit, &state)))
    }

    fn start(&self, unit: &str, files: &BTreeSet<&Path>, reloads: bool) -> Result<()> {
        let state = self.existing(unit)?;
        if state.needs_reload {
            self.systemd.reload()?;
        }
        self.systemd.enable(unit, &state)?;
        let marker = self.marker(unit);
        let hash = hash(files)?;
        let is_current = files::read_if_exists(&marker)?.as_deref() == Some(&hash);
        let mark = || files::replace(&marker, hash.as_bytes(), Ownership::mode(0o644));
        match action(&state, is_current, reloads) {
            Action::Nothing => Ok(()),
            Action::Start => {
                mark()?;
                if state.active == "failed" {
                    self.systemd.reset_failed(unit)?;
                }
                self.systemd.start(unit)
            }
            Action::Restart => {
                self.systemd.restart(unit)?;
                mark()
            }
            Action::Reload => {
                self.systemd.reload_unit(unit)?;
                mark()
            }
        }
    }

    fn existing(&self, unit: &str) -> Result<State> {
        let state = self.systemd.state(unit)?;
        if !state.exists() {
            bail!("systemd knows no unit {unit}");
        }
        Ok(state)
    }

    fn marker(&self, unit: &str) -> PathBuf {
        self.markers.join(unit)
    }
}

fn action(state: &State, is_current: bool, reloads: bool) -> Action {
    let has_process =
        state.is_active() || (state.active == "activating" && !state.is_between_restarts());
    match (has_process, is_current) {
        (true, false) if reloads && state.is_active() => Action::Reload,
        (true, false) => Action::Restart,
        (true, true) if state.is_active() => Action::Nothing,
        _ => Action::Start,
    }
}

fn told(unit: &str, state: &State) -> String {
    let mut told = format!("{unit} is {} ({})", state.active, state.sub);
    if !state.result.is_empty() && state.result != "success" {
        told.push_str(&format!(", after {}", state.result));
    }
    if state.misses_condition {
        told.push_str(", because a condition in its unit file does not hold here");
    }
    told
}

/// One hash of all the files, and of which of them are absent.
fn hash(files: &BTreeSet<&Path>) -> Result<String> {
    let mut hasher = Sha256::new();
    for path in files {
        // Lengths first, so that nothing can move from one file into the next.
        let content = files::read_if_exists(path)?;
        let length = content.as_ref().map(String::len);
        hasher.update(format!("{}\0{length:?}\0", path.display()));
        hasher.update(content.unwrap_or_default());
    }
    Ok(hex(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::Cmd;
    use crate::wait;
    use std::time::Duration;

    /// A systemctl with one unit: its state is the file `state`, what it was asked for is in
    /// `asked`; a start makes the unit active, or what a file `broken` says.
    const SYSTEMCTL: &str = r#"
        here=$(dirname "$0")
        case $1 in
            show) cat "$here/state"; exit ;;
        esac
        echo "$*" >> "$here/asked"
        case $1 in
            start|restart)
                read active sub < "$here/broken" 2> /dev/null || { active=active; sub=running; }
                printf 'ActiveState=%s\nSubState=%s\nFragmentPath=%s/unit\n' \
                    "$active" "$sub" "$here" > "$here/state"
                if [ -e "$here/broken" ]; then echo "Job for $2 failed." >&2; exit 1; fi ;;
        esac
    "#;

    struct Fixture {
        directory: tempfile::TempDir,
        machine: Machine,
    }

    impl Fixture {
        fn new(active: &str, sub: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path();
            let systemctl = Cmd::new("sh").path(root.join("systemctl"));
            let journalctl = Cmd::new("sh").args(["-c", "echo 'it was the disk'"]);
            let machine = Machine {
                systemd: Systemd::scripted(systemctl, journalctl, root.join("links")),
                markers: root.join("started"),
            };
            let fixture = Self { directory, machine };
            fixture.put("systemctl", SYSTEMCTL);
            fixture.put("unit", "[Install]\nWantedBy=multi-user.target\n");
            fixture.put("config", "one");
            fixture.is(active, sub);
            fixture
        }

        fn put(&self, name: &str, text: &str) {
            let path = self.directory.path().join(name);
            files::replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
        }

        fn is(&self, active: &str, sub: &str) {
            let unit = self.directory.path().join("unit");
            let unit = unit.display();
            self.put(
                "state",
                &format!("ActiveState={active}\nSubState={sub}\nFragmentPath={unit}\n"),
            );
        }

        fn config(&self) -> PathBuf {
            self.directory.path().join("config")
        }

        fn check(&self) -> Result<Check> {
            let (unit, config) = ("a.service", self.config());
            let files = BTreeSet::from([config.as_path()]);
            self.machine.check(unit, &files, |probe| {
                wait::until(unit, Duration::from_secs(10), probe)
            })
        }

        fn start(&self) -> Result<()> {
            let config = self.config();
            let files = BTreeSet::from([config.as_path()]);
            self.machine.start("a.service", &files, false)
        }

        fn asked(&self) -> String {
            let path = self.directory.path().join("asked");
            files::read_if_exists(&path).unwrap().unwrap_or_default()
        }
    }

    fn todo(reason: &str) -> Check {
        Check::Todo(reason.to_owned())
    }

    #[test]
    fn a_unit_is_enabled_started_and_then_left_alone() {
        let fixture = Fixture::new("inactive", "dead");
        assert_eq!(fixture.check().unwrap(), todo("a.service is not enabled"));
        fixture.start().unwrap();
        assert_eq!(fixture.check().unwrap(), Check::Done);
        fixture.start().unwrap();
        assert_eq!(fixture.asked(), "start a.service\n");
        let link = fixture.directory.path();
        let link = link.join("links/multi-user.target.wants/a.service");
        assert_eq!(
            std::fs::read_link(link).unwrap(),
            fixture.directory.path().join("unit")
        );
    }

    #[test]
    fn changed_files_restart_it_once() {
        let fixture = Fixture::new("inactive", "dead");
        fixture.start().unwrap();
        fixture.put("config", "two");
        assert_eq!(
            fixture.check().unwrap(),
            todo("a.service was started with other files than there are now")
        );
        fixture.start().unwrap();
        fixture.start().unwrap();
        assert_eq!(fixture.check().unwrap(), Check::Done);
        assert_eq!(fixture.asked(), "start a.service\nrestart a.service\n");
    }

    #[test]
    fn what_reads_its_files_anew_is_reloaded_once_it_runs() {
        let fixture = Fixture::new("activating", "start");
        let config = fixture.config();
        let files = BTreeSet::from([config.as_path()]);
        let start = || fixture.machine.start("a.service", &files, true).unwrap();
        start();
        fixture.put("config", "two");
        start();
        start();
        assert_eq!(fixture.check().unwrap(), Check::Done);
        assert_eq!(fixture.asked(), "restart a.service\nreload a.service\n");
    }

    #[test]
    fn a_unit_that_was_active_before_anybody_started_it_is_restarted() {
        let fixture = Fixture::new("active", "running");
        fixture.start().unwrap();
        assert_eq!(fixture.asked(), "restart a.service\n");
    }

    #[test]
    fn a_start_on_its_way_is_joined_and_no_restart_follows() {
        let fixture = Fixture::new("inactive", "dead");
        fixture.start().unwrap();
        fixture.is("activating", "start");
        assert_eq!(fixture.check().unwrap(), Check::Done);
        assert_eq!(fixture.asked(), "start a.service\nstart a.service\n");
    }

    #[test]
    fn a_start_on_its_way_that_fails_is_looked_at_again() {
        let fixture = Fixture::new("inactive", "dead");
        fixture.start().unwrap();
        fixture.is("activating", "start");
        fixture.put("broken", "failed failed\n");
        assert_eq!(
            fixture.check().unwrap(),
            todo("a.service is failed (failed)")
        );
    }

    #[test]
    fn a_condition_that_does_not_hold_is_told() {
        let state = State {
            active: "inactive".into(),
            sub: "dead".into(),
            misses_condition: true,
            ..State::default()
        };
        assert_eq!(
            told("a.service", &state),
            "a.service is inactive (dead), because a condition in its unit file does not hold here"
        );
    }

    #[test]
    fn a_failed_unit_is_reset_first() {
        let fixture = Fixture::new("failed", "failed");
        fixture.start().unwrap();
        assert_eq!(fixture.asked(), "reset-failed a.service\nstart a.service\n");
    }

    #[test]
    fn a_failed_start_tells_the_last_lines_and_stays_to_do() {
        let fixture = Fixture::new("inactive", "dead");
        fixture.put("broken", "failed failed\n");
        let error = format!("{:#}", fixture.start().unwrap_err());
        assert!(
            error.ends_with(
                "exited with 1:\nJob for a.service failed.\n\
                 the last lines of a.service:\nit was the disk"
            ),
            "{error}"
        );
        assert_eq!(
            fixture.check().unwrap(),
            todo("a.service is failed (failed)")
        );
    }

    #[test]
    fn a_restart_that_fails_is_not_marked_as_done() {
        let fixture = Fixture::new("active", "running");
        fixture.put("broken", "failed failed\n");
        fixture.start().unwrap_err();
        assert_eq!(
            fixture.check().unwrap(),
            todo("a.service was not started yet")
        );
    }

    #[test]
    fn a_unit_that_comes_and_goes_is_given_up() {
        let fixture = Fixture::new("inactive", "dead");
        fixture.start().unwrap();
        let unit = fixture.directory.path().join("unit");
        fixture.put(
            "state",
            &format!(
                "ActiveState=activating\nSubState=auto-restart\nResult=exit-code\nNRestarts=5\n\
                 FragmentPath={}\n",
                unit.display()
            ),
        );
        assert_eq!(
            fixture.check().unwrap_err().to_string(),
            "a.service ended 5 times (exit-code)\n\
             the last lines of a.service:\nit was the disk"
        );
    }

    #[test]
    fn content_cannot_move_between_files() {
        let fixture = Fixture::new("inactive", "dead");
        let root = fixture.directory.path();
        let paths = ["first", "second", "absent"].map(|name| root.join(name));
        let [first, second, absent] = paths.each_ref().map(PathBuf::as_path);
        let both = BTreeSet::from([first, second]);
        fixture.put("first", "ab");
        fixture.put("second", "c");
        let before = hash(&both).unwrap();
        fixture.put("first", "a");
        fixture.put("second", "bc");
        assert_ne!(hash(&both).unwrap(), before);
        let [absent, first] = [absent, first].map(|path| hash(&BTreeSet::from([path])).unwrap());
        assert_ne!(absent, first);
    }
}
