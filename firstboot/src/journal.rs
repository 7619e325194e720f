//! The record of the last runs, in `/var/lib/cellboot/journal.json`: what each step did and how
//! long it took.
//!
//! A report, never an authority: no step asks it anything, a run goes on when it cannot be
//! written, and a damaged one is begun anew.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::clock::{milliseconds, since_power_on};
use crate::engine::{Outcome, Record};
use crate::files::{self, Ownership};

/// The version of the file's format.
pub const SCHEMA: u32 = 1;
/// How many runs are remembered.
const RUNS: usize = 20;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// [`SCHEMA`] of the agent that wrote it.
    pub schema: u32,
    /// The last runs, the newest at the end.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// When it began, by the machine's clock, in seconds since 1970.
    pub started_at: u64,
    /// When it began, since power-on.
    pub start_since_boot_ms: u64,
    /// How long it took; 0 when it was cut off.
    pub duration_ms: u64,
    /// True if every step held at its end.
    pub ready: bool,
    /// Steps in the order in which they ended.
    pub steps: Vec<Record>,
}

impl Journal {
    /// What is at `path`; an empty journal where there is none.
    ///
    /// # Errors
    /// When it cannot be read or is of another version.
    pub fn read(path: &Path) -> Result<Self> {
        let Some(text) = files::read_if_exists(path)? else {
            return Ok(Self::empty());
        };
        let journal: Self =
            serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            journal.schema == SCHEMA,
            "{} is of schema {}, not {SCHEMA}",
            path.display(),
            journal.schema
        );
        Ok(journal)
    }

    fn empty() -> Self {
        Self {
            schema: SCHEMA,
            runs: Vec::new(),
        }
    }
}

/// Writes the run that is going on.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    journal: Journal,
    run: Run,
}

impl Writer {
    /// Begins a run in the journal at `path`.
    pub fn begin(path: &Path) -> Self {
        let journal = Journal::read(path).unwrap_or_else(|error| {
            tracing::warn!("beginning a new journal: {error:#}");
            Journal::empty()
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            path: path.to_owned(),
            journal,
            run: Run {
                started_at: now.map_or(0, |duration| duration.as_secs()),
                start_since_boot_ms: milliseconds(since_power_on()),
                duration_ms: 0,
                ready: false,
                steps: Vec::new(),
            },
        }
    }

    /// Adds a step that has ended. What changed the node is on the disk when this returns.
    pub fn add(&mut self, record: &Record) {
        self.run.steps.push(record.clone());
        if matches!(record.outcome, Outcome::Applied | Outcome::Failed) {
            self.write();
        }
    }

    /// Ends the run.
    pub fn end(&mut self, ready: bool) {
        self.run.ready = ready;
        self.run.duration_ms = milliseconds(since_power_on())
            .saturating_sub(self.run.start_since_boot_ms)
            .max(1);
        self.write();
    }

    fn write(&self) {
        let mut journal = self.journal.clone();
        journal.runs.push(self.run.clone());
        let surplus = journal.runs.len().saturating_sub(RUNS);
        journal.runs.drain(..surplus);
        let written = serde_json::to_vec_pretty(&journal)
            .context("writing the journal as JSON")
            .and_then(|text| files::replace(&self.path, &text, Ownership::mode(0o600)));
        if let Err(error) = written {
            tracing::warn!("{error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: &str) -> Record {
        Record {
            step: step.into(),
            outcome: Outcome::Applied,
            start_ms: 1,
            start_since_boot_ms: 2,
            check_ms: 3,
            apply_ms: 4,
            reason: "was off".into(),
            hint: String::new(),
            warning: String::new(),
        }
    }

    #[test]
    fn a_run_that_was_cut_off_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.json");
        let mut writer = Writer::begin(&path);
        writer.add(&record("a"));
        drop(writer);
        let mut writer = Writer::begin(&path);
        writer.add(&record("b"));
        writer.end(true);
        let journal = Journal::read(&path).unwrap();
        let seen: Vec<_> = journal
            .runs
            .iter()
            .map(|run| (run.ready, &run.steps))
            .collect();
        assert_eq!(
            seen,
            [(false, &vec![record("a")]), (true, &vec![record("b")])]
        );
        assert_eq!(journal.runs[0].duration_ms, 0);
    }

    #[test]
    fn a_damaged_one_is_begun_anew_and_old_runs_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.json");
        files::replace(&path, b"{\"schema\":", Ownership::mode(0o600)).unwrap();
        for _ in 0..RUNS + 2 {
            Writer::begin(&path).end(true);
        }
        assert_eq!(Journal::read(&path).unwrap().runs.len(), RUNS);
    }

    #[test]
    fn a_disk_that_refuses_it_stops_nothing() {
        let mut writer = Writer::begin(Path::new("/proc/cellboot/journal.json"));
        writer.add(&record("a"));
        writer.end(false);
    }
}
