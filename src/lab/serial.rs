//! What a node says on its serial console: the agent's lines among everything else.
//!
//! The lines are a contract (see `docs/testing.md`); this module is its only reader.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const PREFIX: &str = "cellboot: ";

/// One line of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The node is what the site describes.
    Ready {
        /// Its host name.
        node: String,
        /// Seconds since power-on.
        seconds: u64,
    },
    /// A compute was mapped into the cell.
    Joined {
        /// Its host name.
        node: String,
        /// Seconds since power-on.
        seconds: u64,
    },
    /// Something stopped the node.
    Failed {
        /// The step that could not be done.
        step: String,
        /// Why.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The node waits for somebody to do something.
    Waiting(String),
    /// Anything else it says: steps as they are done.
    Said(String),
}

impl Event {
    /// The event on a line of a console, if the agent wrote it.
    pub fn parse(line: &str) -> Option<Self> {
        let (_, text) = line.split_once(PREFIX)?;
        let text = text.trim_end();
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let seconds = || field(rest, "seconds")?.parse().ok();
        let event = match word {
            "READY" => field(rest, "node")
                .zip(seconds())
                .map(|(node, seconds)| Self::Ready { node, seconds }),
            "JOINED" => field(rest, "node")
                .zip(seconds())
                .map(|(node, seconds)| Self::Joined { node, seconds }),
            "FAILED" => field(rest, "step").map(|step| Self::Failed {
                step,
                reason: field(rest, "reason").unwrap_or_default(),
                hint: field(rest, "hint").unwrap_or_default(),
            }),
            "WAITING" => Some(Self::Waiting(rest.to_owned())),
            _ => None,
        };
        Some(event.unwrap_or_else(|| Self::Said(text.to_owned())))
    }
}

/// The value of `name=value` or `name="value"` with `\"` and `\\` inside the quotes.
fn field(text: &str, name: &str) -> Option<String> {
    let start = text.match_indices(name).find_map(|(at, _)| {
        let begins = at == 0 || text[..at].ends_with(' ');
        let rest = text[at + name.len()..].strip_prefix('=')?;
        begins.then_some(rest)
    })?;
    let Some(quoted) = start.strip_prefix('"') else {
        return start.split(' ').next().map(str::to_owned);
    };
    let mut value = String::new();
    let mut escaped = false;
    for c in quoted.chars() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some(value),
            _ => value.push(c),
        }
    }
    None
}

/// Reads a growing log, whole lines at a time.
pub struct Follow {
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
}

impl Follow {
    /// Follows the log from a byte offset on; the file need not exist yet.
    pub fn new(path: &Path, offset: u64) -> Self {
        Self {
            path: path.to_owned(),
            offset,
            partial: Vec::new(),
        }
    }

    /// The lines that were completed since the last look, without escape sequences.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let context = || format!("reading {}", self.path.display());
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(context)?,
        };
        file.seek(SeekFrom::Start(self.offset))
            .with_context(context)?;
        let read = file.read_to_end(&mut self.partial).with_context(context)?;
        self.offset += read as u64;
        let Some(end) = self.partial.iter().rposition(|&byte| byte == b'\n') else {
            return Ok(Vec::new());
        };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        let text = String::from_utf8_lossy(&whole).into_owned();
        Ok(text.lines().map(plain).collect())
    }

    /// The agent's lines that were completed since the last look.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        let lines = self.lines()?;
        Ok(lines.iter().filter_map(|line| Event::parse(line)).collect())
    }
}

/// A line without terminal escape sequences and carriage returns.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\u{1b}' {
            if characters.next_if_eq(&'[').is_some() {
                // parameters, then one final letter
                while characters.next_if(|c| !('@'..='~').contains(c)).is_some() {}
            }
            characters.next();
        } else if c != '\r' {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_agents_lines_are_told_apart() {
        let ready = Event::Ready {
            node: "controller".into(),
            seconds: 412,
        };
        let failed = Event::Failed {
            step: "seed".into(),
            reason: "key \"x\" | at line 3".into(),
            hint: "make it again".into(),
        };
        let table = [
            (
                "cellboot: READY role=controller node=controller seconds=412",
                Some(ready),
            ),
            (
                r#"[  9.1] cellboot: FAILED step=seed reason="key \"x\" | at line 3" hint="make it again""#,
                Some(failed),
            ),
            (
                "cellboot: WAITING for a seed: no volume",
                Some(Event::Waiting("for a seed: no volume".into())),
            ),
            (
                "cellboot: JOINED node=compute1 cell=cell1 seconds=9",
                Some(Event::Joined {
                    node: "compute1".into(),
                    seconds: 9,
                }),
            ),
            (
                "cellboot: [1/9] base/hosts done",
                Some(Event::Said("[1/9] base/hosts done".into())),
            ),
            (
                "cellboot: READY without the rest",
                Some(Event::Said("READY without the rest".into())),
            ),
            ("Debian GNU/Linux 12 controller ttyS0", None),
        ];
        for (line, expected) in table {
            assert_eq!(Event::parse(line), expected, "{line}");
        }
    }

    #[test]
    fn a_log_is_followed_by_whole_lines_from_an_offset() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"old\n\x1b[2Jcellboot: WAITING now\r\nhalf")
            .unwrap();
        let mut follow = Follow::new(file.path(), 4);
        assert_eq!(follow.lines().unwrap(), ["cellboot: WAITING now"]);
        assert_eq!(follow.lines().unwrap(), Vec::<String>::new());
        file.write_all(b" a line\n").unwrap();
        assert_eq!(follow.lines().unwrap(), ["half a line"]);
    }
}
