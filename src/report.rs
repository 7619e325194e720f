//! The only module that shows progress: on standard error, a line for each stage.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Shows the stages of one run. Shared by the threads that work in parallel.
pub struct Report {
    total: AtomicUsize,
    started: AtomicUsize,
    terminal: bool,
    timings: Mutex<Vec<Timing>>,
}

/// How long a stage took.
#[derive(Debug, Clone)]
pub struct Timing {
    /// The stage's title.
    pub stage: String,
    /// Its duration.
    pub duration: Duration,
}

impl Report {
    /// A report of a run that has `total` stages; more are counted in as they begin.
    pub fn new(total: usize) -> Self {
        Self {
            total: AtomicUsize::new(total),
            started: AtomicUsize::new(0),
            terminal: std::io::stderr().is_terminal(),
            timings: Mutex::new(Vec::new()),
        }
    }

    /// Begins a stage: `[2/9] base: installing 214 packages`.
    pub fn begin(&self, title: impl Into<String>) -> Stage<'_> {
        let title = title.into();
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        let total = self.total.fetch_max(number, Ordering::SeqCst).max(number);
        self.line(&format!("[{number}/{total}] {title}"));
        Stage {
            report: self,
            number,
            title,
            began: Instant::now(),
        }
    }

    /// Says something that belongs to no stage.
    pub fn note(&self, text: &str) {
        self.line(text);
    }

    /// The stages that have finished, in that order.
    pub fn timings(&self) -> Vec<Timing> {
        self.timings
            .lock()
            .expect("no thread panics while it holds this")
            .clone()
    }

    /// True when people watch: colours and redrawn lines are allowed.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    fn line(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// A stage under way.
pub struct Stage<'a> {
    report: &'a Report,
    number: usize,
    title: String,
    began: Instant,
}

impl Stage<'_> {
    /// Shows how far it is: bytes, packages, seconds, in words.
    pub fn progress(&self, text: &str) {
        if self.report.terminal {
            self.report.line(&format!("      {text}"));
        }
    }

    /// Ends the stage and says what came of it, as in `412 MiB`.
    pub fn finish(self, result: &str) {
        let duration = self.began.elapsed();
        let total = self.report.total.load(Ordering::SeqCst);
        let seconds = duration.as_secs_f64();
        self.report.line(&format!(
            "[{}/{total}] {}: {result}, {seconds:.1} s",
            self.number, self.title
        ));
        let timing = Timing {
            stage: self.title,
            duration,
        };
        self.report
            .timings
            .lock()
            .expect("no thread panics while it holds this")
            .push(timing);
    }
}
