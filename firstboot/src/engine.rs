//! Runs steps: everything that is ready at once, up to a bound, longest chain first.
//!
//! The engine knows no service and no file. Whether a step is true, only its check says: never a
//! journal, so a run that was cut off anywhere is finished by running again. A failed step stops
//! only what needs it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::clock::{milliseconds, since_power_on};
use crate::failure::Failure;
use crate::graph::Graph;
use crate::node::Node;
use crate::step::{Check, Context, Step};

/// Stacks are touched as far as they are used; this bounds what a thread can take.
const STACK_BYTES: usize = 1 << 20;

/// Whether a run changes the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Make true what is not.
    Apply,
    /// Only look.
    Check,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was true already.
    Done,
    /// It was not, and is now.
    Applied,
    /// It is not true, and the run only looked.
    Todo,
    /// It could not be found out or made true.
    Failed,
    /// It was not tried, because of a step that it needs.
    Blocked,
}

impl Outcome {
    /// The word for it, as in files and on the console.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Applied => "applied",
            Self::Todo => "todo",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
        }
    }

    /// True if the step holds, so that those that need it may run.
    pub fn holds(self) -> bool {
        matches!(self, Self::Done | Self::Applied)
    }
}

/// What became of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub step: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, since the run began.
    pub start_ms: u64,
    /// When it began, since power-on.
    pub start_since_boot_ms: u64,
    /// How long its checks took together.
    pub check_ms: u64,
    /// How long applying took.
    pub apply_ms: u64,
    /// Why it was applied, failed or was blocked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What to do about a failure.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// What somebody should know although it holds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub warning: String,
}

/// What happens while a run goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step is being checked.
    Started {
        /// Its name.
        step: &'a str,
    },
    /// A step is being applied.
    Applying {
        /// Its name.
        step: &'a str,
        /// What its check found.
        reason: &'a str,
    },
    /// A step says what it waits for, or (empty) that it waits no longer.
    Says {
        /// Its name.
        step: &'a str,
        /// What it waits for.
        text: &'a str,
    },
    /// A step has ended.
    Finished(&'a Record),
}

/// Somebody who is told what happens. Called from several threads, never while the engine holds
/// a lock that a step needs; must not block for long and must not panic.
pub trait Watch: Sync {
    /// Something has happened.
    fn event(&self, event: &Event<'_>);
}

/// How many steps run at once: they wait more than they compute.
pub fn bound() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) + 2
}

/// Runs all steps and tells what became of each, in the order of the list.
///
/// # Errors
/// Only when no thread can be started. Failures of steps are in their records.
pub fn run(
    node: &Node,
    steps: &[Step],
    graph: &Graph,
    mode: Mode,
    bound: usize,
    watch: &dyn Watch,
) -> Result<Vec<Record>> {
    let engine = Engine {
        node,
        steps,
        graph,
        mode,
        watch,
        began: Instant::now(),
        state: Mutex::new(State::new(graph, steps.len())),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for number in 0..bound.clamp(1, steps.len().max(1)) {
            let worker = std::thread::Builder::new()
                .name(format!("step-{number}"))
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || engine.work());
            // One thread is enough to come to an end, only slower.
            if let Err(error) = worker
                && number == 0
            {
                return Err(anyhow::Error::new(error).context("starting a thread"));
            }
        }
        Ok(())
    })?;
    let state = engine
        .state
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    Ok(state.records.into_iter().flatten().collect())
}

struct Engine<'a> {
    node: &'a Node,
    steps: &'a [Step],
    graph: &'a Graph,
    mode: Mode,
    watch: &'a dyn Watch,
    began: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ready: BinaryHeap<(u64, Reverse<usize>)>,
    /// How many needs of each step are not yet met.
    missing: Vec<usize>,
    running: usize,
    records: Vec<Option<Record>>,
}

impl State {
    fn new(graph: &Graph, count: usize) -> Self {
        let mut state = Self {
            ready: BinaryHeap::new(),
            missing: (0..count).map(|index| graph.needs(index).len()).collect(),
            running: 0,
            records: vec![None; count],
        };
        for index in 0..count {
            if state.missing[index] == 0 {
                state.make_ready(graph, index);
            }
        }
        state
    }

    fn make_ready(&mut self, graph: &Graph, index: usize) {
        self.ready.push((graph.priority(index), Reverse(index)));
    }
}

impl Engine<'_> {
    fn work(&self) {
        while let Some(index) = self.next() {
            let record = self.perform(&self.steps[index]);
            self.watch.event(&Event::Finished(&record));
            self.finish(index, record);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The step to run next, or `None` when there will be none any more.
    fn next(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if crate::interrupt::requested() {
                while let Some((_, Reverse(index))) = state.ready.pop() {
                    self.block(&mut state, index, "interrupted");
                }
            }
            if let Some((_, Reverse(index))) = state.ready.pop() {
                state.running += 1;
                return Some(index);
            }
            if state.running == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn finish(&self, index: usize, record: Record) {
        let mut state = self.lock();
        let holds = record.outcome.holds();
        state.records[index] = Some(record);
        state.running -= 1;
        let reason = format!("needs {}", self.steps[index].name);
        for &next in self.graph.dependents(index) {
            if holds {
                state.missing[next] -= 1;
                if state.missing[next] == 0 {
                    state.make_ready(self.graph, next);
                }
            } else {
                self.block(&mut state, next, &reason);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Marks a step, and whatever needs it, as not to be tried.
    fn block(&self, state: &mut State, index: usize, reason: &str) {
        if state.records[index].is_some() {
            return;
        }
        let mut record = self.record(&self.steps[index]);
        record.outcome = Outcome::Blocked;
        reason.clone_into(&mut record.reason);
        self.watch.event(&Event::Finished(&record));
        state.records[index] = Some(record);
        for &next in self.graph.dependents(index) {
            self.block(state, next, reason);
        }
    }

    fn record(&self, step: &Step) -> Record {
        Record {
            step: step.name.to_owned(),
            outcome: Outcome::Done,
            start_ms: milliseconds(self.began.elapsed()),
            start_since_boot_ms: milliseconds(since_power_on()),
            check_ms: 0,
            apply_ms: 0,
            reason: String::new(),
            hint: String::new(),
            warning: String::new(),
        }
    }

    fn perform(&self, step: &Step) -> Record {
        let mut record = self.record(step);
        self.watch.event(&Event::Started { step: step.name });
        let say = |text: &str| {
            let step = step.name;
            self.watch.event(&Event::Says { step, text });
        };
        let context = Context {
            node: self.node,
            say: &say,
        };
        if let Err(error) = self.converge(step, &context, &mut record) {
            let failure = Failure::of(&error);
            record.outcome = Outcome::Failed;
            record.reason = failure.reason;
            record.hint = match failure.hint.as_str() {
                "" => step.hint.to_owned(),
                _ => failure.hint,
            };
        }
        record
    }

    /// Check, apply, check.
    fn converge(&self, step: &Step, context: &Context, record: &mut Record) -> Result<()> {
        let check = |record: &mut Record| {
            let (found, duration) = timed(|| guard(|| (step.check)(context)));
            record.check_ms += milliseconds(duration);
            found
        };
        match check(record)? {
            Check::Done => return Ok(()),
            Check::Warn(warning) => {
                record.warning = warning;
                return Ok(());
            }
            Check::Todo(reason) => record.reason = reason,
        }
        if self.mode == Mode::Check {
            record.outcome = Outcome::Todo;
            return Ok(());
        }
        self.watch.event(&Event::Applying {
            step: step.name,
            reason: &record.reason,
        });
        let (applied, duration) = timed(|| guard(|| (step.apply)(context)));
        record.apply_ms = milliseconds(duration);
        applied?;
        record.outcome = Outcome::Applied;
        match check(record).map_err(|error| error.context("applied, but"))? {
            Check::Done => Ok(()),
            Check::Warn(warning) => {
                record.warning = warning;
                Ok(())
            }
            Check::Todo(reason) => Err(anyhow!("applied, but: {reason}")),
        }
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = work();
    (result, began.elapsed())
}

/// A panic in one step is that step's failure, not the end of all others.
fn guard<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        Err(anyhow!(
            "panicked: {}\nhint: this is a bug of cellboot, please report it",
            text.unwrap_or("without a word")
        ))
    })
}
