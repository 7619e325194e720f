//! The only module that shows progress: on standard error, a line for each stage.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the time of a stage is drawn again.
const FRAME: Duration = Duration::from_millis(200);
/// Its title, its time, and how far it is.
const LINE: &str = "{spinner} {prefix}, {elapsed}  {wide_msg}";

/// Shows the stages of one run. Shared by the threads that work in parallel.
pub struct Report {
    total: AtomicUsize,
    started: AtomicUsize,
    /// Lines at the foot of the terminal for the stages under way; none where nobody watches.
    screen: Option<MultiProgress>,
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
            screen: std::io::stderr()
                .is_terminal()
                .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
            timings: Mutex::new(Vec::new()),
        }
    }

    /// Begins a stage: `[2/9] base: installing 214 packages`.
    pub fn begin(&self, title: impl Into<String>) -> Stage<'_> {
        let title = title.into();
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        let total = self.total.fetch_max(number, Ordering::SeqCst).max(number);
        let named = format!("[{number}/{total}] {title}");
        let bar = match &self.screen {
            Some(screen) => Some(bar(screen, named)),
            None => {
                self.line(&named);
                None
            }
        };
        Stage {
            report: self,
            number,
            title,
            bar,
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

    fn line(&self, text: &str) {
        // Nobody can be told that standard error is closed.
        let _ = match &self.screen {
            Some(screen) => screen.println(text),
            None => writeln!(std::io::stderr().lock(), "{text}"),
        };
    }
}

/// A line at the foot of the screen.
fn bar(screen: &MultiProgress, title: String) -> ProgressBar {
    let bar = screen.add(ProgressBar::no_length());
    if let Ok(style) = ProgressStyle::with_template(LINE) {
        bar.set_style(style);
    }
    bar.set_prefix(Cow::Owned(title));
    bar.enable_steady_tick(FRAME);
    bar
}

/// A stage under way.
pub struct Stage<'a> {
    report: &'a Report,
    number: usize,
    title: String,
    bar: Option<ProgressBar>,
    began: Instant,
}

impl Stage<'_> {
    /// Shows how far it is: bytes, packages, seconds, in words.
    pub fn progress(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// Ends the stage and says what came of it, as in `412 MiB`.
    pub fn finish(self, result: &str) {
        let duration = self.began.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
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
