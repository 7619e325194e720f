//! What is wrong with a `site.toml`: one line each, in the order of the file.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Line of the file, counted from 1.
    pub line: usize,
    /// The key, with its table: `management.gateway`.
    pub key: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What would be right.
    pub expected: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}; expected {}; {}",
            self.line, self.key, self.wrong, self.expected, self.hint
        )
    }
}

/// Everything that is wrong with one file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, sorted by line.
    pub problems: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self {
            file: file.to_owned(),
            problems,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{} has {count} {noun}", self.file.display())?;
        for problem in &self.problems {
            write!(f, "\n{}:{problem}", self.file.display())?;
        }
        Ok(())
    }
}
