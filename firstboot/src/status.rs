//! What the agent is doing now, in `/run/cellboot/status.json` for whoever wants to know.
//!
//! The model behind the console and `firstboot status`: events of the engine go in, the file is
//! replaced on each. Nothing in the agent ever reads the file to decide anything.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::engine::{Event, Outcome};
use crate::files::{self, Ownership};
use crate::step::Step;

/// The version of the file's format.
pub const SCHEMA: u32 = 1;

/// What the agent as a whole does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has no seed, or a broken one, and waits for another.
    Waiting,
    /// Steps run.
    Applying,
    /// Every step holds.
    Ready,
    /// Some step does not hold, and nothing runs any more.
    Failed,
}

/// What one step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its needs are not met, or no thread is free.
    Waiting,
    /// It is being checked.
    Checking,
    /// It is being applied.
    Applying,
    /// It was true already.
    Done,
    /// It is true now.
    Applied,
    /// It is not true, and the run only looked.
    Todo,
    /// It could not be found out or made true.
    Failed,
    /// It was not tried.
    Blocked,
}

impl Phase {
    /// True while it is checked or applied.
    pub fn runs(self) -> bool {
        matches!(self, Self::Checking | Self::Applying)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Checking => "checking",
            Self::Applying => "applying",
            Self::Done => "done",
            Self::Applied => "applied",
            Self::Todo => "todo",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
        }
    }
}

impl From<Outcome> for Phase {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Applied => Self::Applied,
            Outcome::Todo => Self::Todo,
            Outcome::Failed => Self::Failed,
            Outcome::Blocked => Self::Blocked,
        }
    }
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`] of the agent that wrote it.
    pub schema: u32,
    /// The agent's process.
    pub pid: u32,
    /// Name of the node; empty without a seed.
    pub node: String,
    /// Its role; empty without a seed.
    pub role: String,
    /// What the agent does.
    pub state: State,
    /// How many steps have ended, however they ended.
    pub finished: usize,
    /// How many steps there are.
    pub total: usize,
    /// Seconds since power-on when this was written.
    pub seconds: f64,
    /// Why it waits or failed; empty otherwise.
    pub reason: String,
    /// What to do about that.
    pub hint: String,
    /// What somebody should know although everything holds, each with its step.
    pub warnings: Vec<String>,
    /// Every step, in the order of the graph.
    pub steps: Vec<StepStatus>,
}

/// One step in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepStatus {
    /// Its name.
    pub name: String,
    /// What becomes true.
    pub summary: String,
    /// What it does.
    pub phase: Phase,
    /// What it waits for: the steps it still needs, or what it says itself.
    pub waits_for: String,
    /// Seconds since power-on when it began; 0 before.
    pub began: f64,
    /// How many seconds it took, once it has ended.
    pub seconds: f64,
    /// Why it is applied, failed or was blocked.
    pub reason: String,
    needs: Vec<String>,
}

impl Status {
    /// The status of an agent that has no steps yet.
    pub fn waiting(reason: impl Into<String>, hint: impl Into<String>, seconds: f64) -> Self {
        Self {
            schema: SCHEMA,
            pid: std::process::id(),
            node: String::new(),
            role: String::new(),
            state: State::Waiting,
            finished: 0,
            total: 0,
            seconds,
            reason: reason.into(),
            hint: hint.into(),
            warnings: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// The status of a node at the beginning of a run of `steps`.
    pub fn applying<'a>(
        node: &str,
        role: &str,
        steps: impl IntoIterator<Item = &'a Step>,
        seconds: f64,
    ) -> Self {
        let steps: Vec<_> = steps.into_iter().map(StepStatus::new).collect();
        let mut status = Self {
            node: node.to_owned(),
            role: role.to_owned(),
            state: State::Applying,
            total: steps.len(),
            steps,
            ..Self::waiting("", "", seconds)
        };
        status.find_waits();
        status
    }

    /// Takes in an event that happened this many seconds after power-on.
    pub fn apply(&mut self, event: &Event<'_>, seconds: f64) {
        self.seconds = seconds;
        match event {
            Event::Started { step } => self.change(step, |step| {
                step.phase = Phase::Checking;
                step.began = seconds;
                step.waits_for.clear();
            }),
            Event::Applying { step, reason } => self.change(step, |step| {
                step.phase = Phase::Applying;
                (*reason).clone_into(&mut step.reason);
            }),
            Event::Says { step, text } => self.change(step, |step| {
                (*text).clone_into(&mut step.waits_for);
            }),
            Event::Finished(record) => {
                self.finished += 1;
                if !record.warning.is_empty() {
                    self.warnings
                        .push(format!("{}: {}", record.step, record.warning));
                }
                self.change(&record.step, |step| {
                    step.phase = record.outcome.into();
                    step.waits_for.clear();
                    step.reason.clone_from(&record.reason);
                    if record.outcome != Outcome::Blocked {
                        step.seconds = seconds - step.began;
                    }
                });
                self.find_waits();
            }
        }
    }

    /// The step of this name.
    pub fn step(&self, name: &str) -> Option<&StepStatus> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Puts it at `path`, whole.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("writing the status as JSON")?;
        files::replace(path, &text, Ownership::mode(0o644))
    }

    /// What is at `path`, or `None` before the agent has run.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let Some(text) = files::read_if_exists(path)? else {
            return Ok(None);
        };
        let status = serde_json::from_str(&text);
        status
            .with_context(|| format!("reading {}", path.display()))
            .map(Some)
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut StepStatus)) {
        if let Some(step) = self.steps.iter_mut().find(|step| step.name == name) {
            change(step);
        }
    }

    /// Tells each step that waits which of its needs have not been met yet.
    fn find_waits(&mut self) {
        let met: Vec<String> = self
            .steps
            .iter()
            .filter(|step| matches!(step.phase, Phase::Done | Phase::Applied))
            .map(|step| step.name.clone())
            .collect();
        for step in &mut self.steps {
            if step.phase == Phase::Waiting {
                let open = step.needs.iter().filter(|need| !met.contains(need));
                step.waits_for = open.cloned().collect::<Vec<_>>().join(", ");
            }
        }
    }
}

impl StepStatus {
    fn new(step: &Step) -> Self {
        Self {
            name: step.name.to_owned(),
            summary: step.summary.to_owned(),
            phase: Phase::Waiting,
            waits_for: String::new(),
            began: 0.0,
            seconds: 0.0,
            reason: String::new(),
            needs: step.needs.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Record;

    fn record(step: &str, outcome: Outcome) -> Record {
        Record {
            step: step.into(),
            outcome,
            start_ms: 0,
            start_since_boot_ms: 0,
            check_ms: 0,
            apply_ms: 0,
            reason: String::new(),
            hint: String::new(),
            warning: String::new(),
        }
    }

    #[test]
    fn events_become_phases_waits_and_counts() {
        let steps = [
            Step::new("a", "the first"),
            Step::new("b", "").needs(["a"]),
            Step::new("c", "").needs(["a", "b"]),
        ];
        let mut status = Status::applying("control", "controller", &steps, 10.0);
        assert_eq!(status.step("c").unwrap().waits_for, "a, b");

        status.apply(&Event::Started { step: "a" }, 11.0);
        let text = "a port";
        status.apply(&Event::Says { step: "a", text }, 11.5);
        assert_eq!(status.step("a").unwrap().waits_for, "a port");
        assert_eq!(status.step("a").unwrap().phase, Phase::Checking);

        let mut done = record("a", Outcome::Done);
        done.warning = "look here".into();
        status.apply(&Event::Finished(&done), 13.0);
        let first = status.step("a").unwrap();
        assert_eq!((first.phase, first.seconds), (Phase::Done, 2.0));
        assert_eq!(status.step("c").unwrap().waits_for, "b");
        assert_eq!(status.warnings, ["a: look here"]);
        assert_eq!((status.finished, status.total), (1, 3));
    }

    #[test]
    fn it_survives_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status.json");
        assert_eq!(Status::read(&path).unwrap(), None);
        let status = Status::applying("control", "controller", &[Step::new("a", "")], 1.5);
        status.write(&path).unwrap();
        assert_eq!(Status::read(&path).unwrap(), Some(status));
    }
}
