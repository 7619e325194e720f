//! Everybody who watches a run: the status file, the consoles, the journal, systemd, the log.
//!
//! One lock around them keeps their order the same. None of them may stop a run: what cannot be
//! shown is not shown.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::clock::since_power_on;
use crate::console::Console;
use crate::engine::{Event, Outcome, Record, Watch};
use crate::failure::Failure;
use crate::journal;
use crate::status::{State, Status};
use crate::{interrupt, notify, view};

/// How often a screen shows that time passes.
const TICK: Duration = Duration::from_secs(1);

/// Shows what the agent does.
pub struct Live {
    status_path: PathBuf,
    inner: Mutex<Inner>,
    ended: Condvar,
}

struct Inner {
    status: Status,
    console: Console,
    journal: Option<journal::Writer>,
    over: bool,
}

impl Live {
    /// Shows on these consoles and in the status file at this path.
    pub fn new(status_path: &Path, console: Console) -> Self {
        Self {
            status_path: status_path.to_owned(),
            inner: Mutex::new(Inner {
                status: Status::waiting("", "", seconds()),
                console,
                journal: None,
                over: false,
            }),
            ended: Condvar::new(),
        }
    }

    /// Says that there is no seed.
    pub fn missing_seed(&self) {
        let hint = "attach the node's seed and power on again, or type here the line of \
                    `firstboot token create`";
        let status = Status::waiting(
            "no volume labelled CIDATA gave this node a seed",
            hint,
            seconds(),
        );
        self.wait(status, view::WAITING);
    }

    /// Says that the machine has no address, from which its seed would tell who it is.
    pub fn no_address(&self, why: &str) {
        let reason = format!("DHCP has given this machine no address yet: {why}");
        let hint = "look at the cable and at the DHCP server of the management network";
        let line = view::said(&format!("waiting: {reason}"));
        self.wait(Status::waiting(&reason, hint, seconds()), &line);
    }

    /// Says a line while there is no seed.
    pub fn say(&self, text: &str) {
        self.wait(Status::waiting(text, "", seconds()), &view::said(text));
    }

    /// Says why a line that was typed did not bring a seed.
    pub fn refused_line(&self, error: &anyhow::Error) {
        let failure = Failure::of(error);
        let hint = match failure.hint.as_str() {
            "" => "type the line of `firstboot token create` again",
            hint => hint,
        };
        let line = view::refused_line(&failure.reason, hint);
        self.wait(Status::waiting(&failure.reason, hint, seconds()), &line);
    }

    /// Says what is wrong with the seed.
    pub fn broken_seed(&self, error: &anyhow::Error) {
        let failure = Failure::of(error);
        let hint = match failure.hint.as_str() {
            "" => "make the seed again with `cellboot seed`, attach it and power on again",
            hint => hint,
        };
        let line = view::failed("seed", &failure.reason, hint);
        self.wait(Status::waiting(&failure.reason, hint, seconds()), &line);
    }

    /// Begins to show a run, and writes it into this journal.
    pub fn begin(&self, status: Status, journal: journal::Writer) {
        let mut inner = self.lock();
        inner.status = status;
        inner.journal = Some(journal);
        inner.over = false;
        self.publish(&mut inner);
    }

    /// Shows the end of a run, of a compute with the cell that it is in; true if every step holds.
    pub fn end(&self, records: &[Record], cell: Option<&str>) -> bool {
        let mut inner = self.lock();
        // All of them, not merely none that does not: a run that told of no step proves nothing.
        let ready = records.len() == inner.status.total
            && records.iter().all(|record| record.outcome.holds());
        let now = since_power_on();
        inner.over = true;
        inner.status.seconds = now.as_secs_f64();
        inner.status.state = if ready { State::Ready } else { State::Failed };
        let mut lines = Vec::new();
        let failed = |record: &&Record| record.outcome == Outcome::Failed;
        if !ready && interrupt::requested() {
            // Steps that were interrupted did not fail by themselves.
            view::INTERRUPTED.clone_into(&mut inner.status.reason);
            lines.push(view::INTERRUPTED.to_owned());
        } else if let Some(first) = records.iter().find(failed) {
            inner.status.reason = format!("{}: {}", first.step, first.reason);
            inner.status.hint.clone_from(&first.hint);
            let failed = records.iter().filter(failed);
            lines.extend(failed.map(|it| view::failed(&it.step, &it.reason, &it.hint)));
        }
        if ready {
            let (status, seconds) = (&inner.status, now.as_secs());
            lines.push(match cell {
                Some(cell) => view::joined(&status.node, cell, seconds),
                None => view::ready(&status.role, &status.node, seconds),
            });
        }
        if let Some(mut journal) = inner.journal.take() {
            journal.end(ready);
        }
        self.publish(&mut inner);
        for line in &lines {
            tracing::info!("{line}");
            notify::status(line);
            inner.console.last(line);
        }
        drop(inner);
        self.ended.notify_all();
        ready
    }

    /// Lets [`Live::tick`] return when a run came to no end.
    pub fn stop(&self) {
        self.lock().over = true;
        self.ended.notify_all();
    }

    /// Shows that the agent itself could not go on.
    pub fn broken_node(&self, error: &anyhow::Error) {
        let failure = Failure::of(error);
        let hint = match failure.hint.as_str() {
            "" => "see `firstboot logs`",
            hint => hint,
        };
        let line = view::failed("node", &failure.reason, hint);
        let mut inner = self.lock();
        inner.status = Status::waiting(&failure.reason, hint, seconds());
        inner.status.state = State::Failed;
        self.publish(&mut inner);
        tracing::error!("{line}");
        notify::status(&line);
        inner.console.last(&line);
    }

    /// Keeps the clock on the screens going until [`Live::end`]; returns at once without a
    /// screen.
    pub fn tick(&self) {
        let mut inner = self.lock();
        while inner.console.has_screen() && !inner.over {
            let waited = self.ended.wait_timeout(inner, TICK);
            inner = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
            if !inner.over {
                Self::redraw(&mut inner);
            }
        }
    }

    fn wait(&self, status: Status, line: &str) {
        let mut inner = self.lock();
        inner.status = status;
        self.publish(&mut inner);
        tracing::warn!("{line}");
        notify::status(line);
        inner.console.last(line);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn publish(&self, inner: &mut Inner) {
        if let Err(error) = inner.status.write(&self.status_path) {
            tracing::warn!("{error:#}");
        }
        if inner.status.total > 0 {
            Self::redraw(inner);
        }
    }

    fn redraw(inner: &mut Inner) {
        if inner.console.has_screen() {
            let screen = view::screen(&inner.status, seconds());
            inner.console.redraw(&screen);
        }
    }
}

impl Watch for Live {
    fn event(&self, event: &Event<'_>) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.status.apply(event, seconds());
        self.publish(inner);
        if let Some(line) = view::line(&inner.status, event) {
            inner.console.line(&line);
            notify::status(line.trim_start_matches("cellboot: "));
        }
        match event {
            Event::Finished(record) => {
                log(record);
                if let Some(journal) = &mut inner.journal {
                    journal.add(record);
                }
            }
            Event::Applying { step, reason } => {
                tracing::info!(step, outcome = "applying", "{step} applying: {reason}");
            }
            Event::Started { step } => tracing::debug!(step, "{step} checking"),
            Event::Says { step, text } if !text.is_empty() => {
                tracing::info!(step, "{step} waits for {text}");
            }
            Event::Says { .. } => {}
        }
    }
}

fn log(record: &Record) {
    let Record {
        step,
        reason,
        hint,
        warning,
        ..
    } = record;
    let outcome = record.outcome.as_str();
    let duration_ms = record.check_ms + record.apply_ms;
    match record.outcome {
        Outcome::Failed => {
            tracing::error!(
                step,
                outcome,
                duration_ms,
                "{step} failed: {reason} (hint: {hint})"
            );
        }
        Outcome::Blocked | Outcome::Todo => {
            tracing::warn!(step, outcome, duration_ms, "{step} {outcome}: {reason}");
        }
        _ if !warning.is_empty() => {
            tracing::warn!(
                step,
                outcome,
                duration_ms,
                "{step} {outcome}, warning: {warning}"
            );
        }
        _ => tracing::info!(step, outcome, duration_ms, "{step} {outcome}"),
    }
}

fn seconds() -> f64 {
    since_power_on().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Style;
    use crate::step::Step;

    fn record(step: &str, outcome: Outcome) -> Record {
        Record {
            step: step.into(),
            outcome,
            start_ms: 0,
            start_since_boot_ms: 0,
            check_ms: 0,
            apply_ms: 0,
            reason: "no \"luck\"\nat all".into(),
            hint: "try again".into(),
            warning: String::new(),
        }
    }

    /// Shows a run that ends with these records; gives the state, the serial console's lines and
    /// whether it was ready.
    fn show(records: &[Record]) -> (Status, Vec<String>, bool) {
        show_in(None, records)
    }

    /// The same for a node in this cell.
    fn show_in(cell: Option<&str>, records: &[Record]) -> (Status, Vec<String>, bool) {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::File::create(path("serial")).unwrap();
        let console = Console::of(&[(&path("serial"), Style::Lines)]);
        let live = Live::new(&path("status.json"), console);
        let steps = [Step::new("a/one", ""), Step::new("b/two", "")];
        let journal = journal::Writer::begin(&path("journal.json"));
        live.begin(
            Status::applying("control", "controller", &steps, 0.0),
            journal,
        );
        for record in records {
            live.event(&Event::Finished(record));
        }
        let ready = live.end(records, cell);
        // It returns although nothing else ends it: the run is over.
        live.tick();
        let status = Status::read(&path("status.json")).unwrap().unwrap();
        let text = std::fs::read_to_string(path("serial")).unwrap();
        let journal = journal::Journal::read(&path("journal.json")).unwrap();
        assert_eq!(journal.runs[0].steps, records);
        assert_eq!(journal.runs[0].ready, ready);
        (status, text.lines().map(str::to_owned).collect(), ready)
    }

    #[test]
    fn a_node_whose_steps_all_hold_is_ready() {
        let records = [
            record("a/one", Outcome::Done),
            record("b/two", Outcome::Done),
        ];
        let (status, lines, ready) = show(&records);
        assert!(ready);
        assert_eq!(status.state, State::Ready);
        assert_eq!(lines[0], "cellboot: [1/2] a/one done");
        assert_eq!(lines[1], "cellboot: [2/2] b/two done");
        let last = "cellboot: READY role=controller node=control seconds=";
        let seconds = lines[2].strip_prefix(last).unwrap();
        assert!(seconds.parse::<u64>().is_ok(), "{seconds}");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_compute_says_that_it_joined_and_only_when_all_holds() {
        let mut records = [
            record("a/one", Outcome::Done),
            record("b/two", Outcome::Applied),
        ];
        let (status, lines, ready) = show_in(Some("cell1"), &records);
        assert!(ready);
        assert_eq!(status.state, State::Ready);
        let last = "cellboot: JOINED node=control cell=cell1 seconds=";
        assert!(lines[2].starts_with(last), "{}", lines[2]);
        assert_eq!(lines.len(), 3);
        records[1].outcome = Outcome::Failed;
        let (_, lines, _) = show_in(Some("cell1"), &records);
        assert!(lines.iter().all(|line| !line.contains("JOINED")));
    }

    #[test]
    fn a_node_with_a_failed_step_says_which() {
        let records = [
            record("a/one", Outcome::Failed),
            record("b/two", Outcome::Blocked),
        ];
        let (status, lines, ready) = show(&records);
        assert!(!ready);
        assert_eq!(status.state, State::Failed);
        assert_eq!(status.reason, "a/one: no \"luck\"\nat all");
        assert_eq!(
            lines[1..],
            ["cellboot: FAILED step=a/one reason=\"no \\\"luck\\\" | at all\" hint=\"try again\""]
        );
    }

    #[test]
    fn a_run_that_told_of_fewer_steps_is_not_ready() {
        let (status, lines, ready) = show(&[record("a/one", Outcome::Done)]);
        assert!(!ready);
        assert_eq!(status.state, State::Failed);
        assert_eq!(lines, ["cellboot: [1/2] a/one done"]);
    }
}
