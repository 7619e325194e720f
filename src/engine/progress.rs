//! How far apt is, from what it says while it works.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// What is known of one run of apt. A new run begins when apt says what it will install.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Progress {
    /// How many packages will be installed.
    total: u32,
    /// What it will fetch, in apt's words: `172 MB`.
    size: String,
    fetched_bytes: u64,
    unpacked: u32,
    configured: u32,
}

impl Progress {
    /// Takes in one line of its output. Answers whether it changed anything.
    pub(super) fn read(&mut self, line: &str) -> bool {
        if let Some(total) = newly_installed(line) {
            *self = Self {
                total,
                ..Self::default()
            };
        } else if let Some(size) = to_fetch(line) {
            self.size = size.to_owned();
        } else if line.starts_with("Get:") {
            self.fetched_bytes += fetched(line).unwrap_or(0);
        } else if line.starts_with("Unpacking ") {
            self.unpacked += 1;
        } else if line.starts_with("Setting up ") {
            self.configured += 1;
        } else {
            return false;
        }
        true
    }

    /// `fetched 45 of 172 MB`, then `unpacked 12 of 158 packages`, then `set up ...`.
    pub(super) fn told(&self) -> String {
        let of = |verb: &str, count: u32| format!("{verb} {count} of {} packages", self.total);
        if self.size.is_empty() {
            "choosing packages".to_owned()
        } else if self.configured > 0 {
            of("set up", self.configured.min(self.total))
        } else if self.unpacked > 0 {
            of("unpacked", self.unpacked.min(self.total))
        } else {
            let megabytes = self.fetched_bytes / 1_000_000;
            format!("fetched {megabytes} MB of {}", self.size)
        }
    }

    /// `417 packages, 183 MB fetched`: what came of it, once it has ended.
    pub(super) fn outcome(&self) -> Option<String> {
        match (self.total, self.size.as_str()) {
            (0, _) => None,
            (total, "") => Some(format!("{total} packages")),
            (total, size) => Some(format!("{total} packages, {size} fetched")),
        }
    }
}

/// A log that somebody else writes, read line by line as it grows.
pub(super) struct Tail {
    /// None until there is a log.
    reader: Option<BufReader<File>>,
    line: Vec<u8>,
}

impl Tail {
    pub(super) fn of(log: &Path) -> Self {
        Self {
            reader: File::open(log).ok().map(BufReader::new),
            line: Vec::new(),
        }
    }

    /// The next line, if it is whole.
    pub(super) fn next(&mut self) -> Option<String> {
        self.reader
            .as_mut()?
            .read_until(b'\n', &mut self.line)
            .ok()?;
        if self.line.last() != Some(&b'\n') {
            return None;
        }
        self.line.pop();
        Some(String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned())
    }
}

/// `0 upgraded, 417 newly installed, 0 to remove ...`
fn newly_installed(line: &str) -> Option<u32> {
    let (before, _) = line.split_once(" newly installed")?;
    before.rsplit(", ").next()?.parse().ok()
}

/// `Need to get 0 B/183 MB of archives.` when everything is in the package cache, `183 MB` when
/// nothing is.
fn to_fetch(line: &str) -> Option<&str> {
    let sizes = line.strip_prefix("Need to get ")?;
    sizes.split(" of archives").next()?.split('/').next()
}

/// The bytes of `Get:3 http://... [1,234 kB]`.
fn fetched(line: &str) -> Option<u64> {
    let (_, size) = line.strip_suffix(']')?.rsplit_once('[')?;
    let (number, unit) = size.split_once(' ')?;
    let number: f64 = number.replace(',', "").parse().ok()?;
    let factor = match unit {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return None,
    };
    Some((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Reading package lists...\n  a b c\n\
        0 upgraded, 3 newly installed, 0 to remove and 3 not upgraded.\n\
        Need to get 183 MB of archives.\n\
        After this operation, 700 MB of additional disk space will be used.\n\
        Get:1 http://x bookworm/main amd64 a amd64 1 [1,250 kB]\n\
        Get:2 http://x bookworm/main amd64 b amd64 1 [1.5 MB]\n\
        Fetched 183 MB in 3s (61 MB/s)\n\
        Selecting previously unselected package a.\n\
        Unpacking a (1) ...\n\
        Unpacking b (1) ...\n\
        Setting up b (1) ...\n";

    #[test]
    fn each_thing_that_apt_does_is_told() {
        let mut progress = Progress::default();
        let mut told = vec![progress.told()];
        for line in SAID.lines() {
            if progress.read(line) {
                told.push(progress.told());
            }
        }
        assert_eq!(
            told,
            [
                "choosing packages",
                "choosing packages",
                "fetched 0 MB of 183 MB",
                "fetched 1 MB of 183 MB",
                "fetched 2 MB of 183 MB",
                "unpacked 1 of 3 packages",
                "unpacked 2 of 3 packages",
                "set up 1 of 3 packages",
            ]
        );
    }

    #[test]
    fn what_came_of_it_is_told_in_few_words() {
        let outcome = |fetch: &str| {
            let mut progress = Progress::default();
            for line in SAID.replace("183 MB of", &format!("{fetch} of")).lines() {
                progress.read(line);
            }
            progress.outcome().unwrap()
        };
        assert_eq!(outcome("183 MB"), "3 packages, 183 MB fetched");
        assert_eq!(outcome("0 B/183 MB"), "3 packages, 0 B fetched");
        let mut progress = Progress::default();
        progress.read("E: no such package");
        assert_eq!(progress.outcome(), None);
    }

    #[test]
    fn a_line_is_read_once_it_is_whole() {
        use std::io::Write;
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut tail = Tail::of(log.path());
        assert_eq!(tail.next(), None);
        log.write_all(b"Setting up").unwrap();
        assert_eq!(tail.next(), None);
        log.write_all(b" a (1) ...\nGet").unwrap();
        assert_eq!(tail.next().as_deref(), Some("Setting up a (1) ..."));
        assert_eq!(tail.next(), None);
    }
}
