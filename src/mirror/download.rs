//! One file from a mirror: bounded, resumed, checked, and whole under its name or not there.
//!
//! curl does the talking, with this host's certificates and proxies.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use firstboot::cmd::{Cmd, Output};
use firstboot::files;

use crate::fault::Class;
use crate::manifest::Hashed;

/// How often the size of what has arrived is looked at.
const FRAME: Duration = Duration::from_millis(250);
/// A day is enough for 1.2 GB at 14 kB/s; silence ends it much sooner.
const DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

// Exit codes of curl(1).
const PARTIAL_FILE: i32 = 18;
const HTTP_ERROR: i32 = 22;
const NO_RANGES: i32 = 33;
const TOO_LARGE: i32 = 63;

/// A file that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Where it is.
    pub url: &'a str,
    /// Its SHA-256, if somebody said it; without, it is fetched each time from its beginning.
    pub sha256: Option<&'a str>,
    /// More than it can ever have.
    pub most_bytes: u64,
    /// What to do when the mirror does not have it.
    pub when_gone: &'a str,
}

/// How long a mirror may be silent.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until it answers at all.
    pub connect: Duration,
    /// Without a byte, once it has.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
        }
    }
}

/// Makes sure that the file is at `place`; `progress` is told how many bytes have arrived.
///
/// # Errors
/// Of class [`Class::Network`], with the address and what to do; [`Class::Refused`] when what came
/// is not what was promised.
pub fn fetch(
    wanted: Wanted<'_>,
    place: &Path,
    patience: Patience,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let part = part_of(place);
    if wanted.sha256.is_none() {
        remove(&part)?;
    } else if is_right(wanted, place)? {
        return Ok(());
    }
    let mut resumed = size(&part) > 0;
    loop {
        let output = run(wanted, &part, patience, progress)?;
        let code = output.status.code().unwrap_or_default();
        let status = http_status(&output);
        let cannot_resume = code == NO_RANGES || (code == HTTP_ERROR && status == 416);
        if resumed && cannot_resume {
            remove(&part)?;
            resumed = false;
            continue;
        }
        if code != 0 {
            return Err(explain(wanted, code, status, &output, size(&part)));
        }
        if is_right(wanted, &part)? {
            break;
        }
        let found = Hashed::of(&part)?.sha256;
        remove(&part)?;
        // Half of it may be of an earlier build of the tree.
        if !std::mem::take(&mut resumed) {
            return Err(mismatch(wanted, &found));
        }
    }
    let context = || format!("keeping {}", place.display());
    File::open(&part)
        .and_then(|it| it.sync_all())
        .with_context(context)?;
    fs::rename(&part, place).with_context(context)?;
    files::sync_directory(place.parent().unwrap_or(Path::new(".")))
}

fn part_of(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    place.with_file_name(name)
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// True if the file is there and has the wanted checksum, or none is wanted.
fn is_right(wanted: Wanted<'_>, path: &Path) -> Result<bool> {
    match wanted.sha256 {
        _ if !path.exists() => Ok(false),
        Some(sha256) => Ok(Hashed::of(path)?.sha256 == sha256),
        None => Ok(true),
    }
}

fn run(
    wanted: Wanted<'_>,
    part: &Path,
    patience: Patience,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Output> {
    // Whoever asks for TLS is not sent elsewhere without it.
    let protocols = match wanted.url.starts_with("https:") {
        true => "=https",
        false => "=http,https",
    };
    let curl = Cmd::new("curl")
        .args(["--silent", "--show-error", "--fail", "--location"])
        .args([
            "--proto",
            protocols,
            "--proto-redir",
            protocols,
            "--max-redirs",
            "5",
        ])
        .args([
            "--connect-timeout".to_owned(),
            patience.connect.as_secs().to_string(),
        ])
        .args(["--speed-limit", "1", "--speed-time"])
        .arg(patience.stall.as_secs().to_string())
        .args(["--max-filesize".to_owned(), wanted.most_bytes.to_string()])
        .args([
            "--continue-at",
            "-",
            "--write-out",
            "%{http_code}",
            "--output",
        ])
        .path(part)
        .args(["--", wanted.url])
        .deadline(DEADLINE);
    let (end, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            while ended.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
                progress(size(part));
            }
        });
        let output = curl.any_status();
        drop(end);
        watch.join().map_err(|_| anyhow!("a thread panicked"))?;
        output
    })
}

fn http_status(output: &Output) -> u32 {
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_default()
}

/// curl's own words, without its name and number.
fn words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    // Advice may follow; the reason is in the line that is numbered.
    let numbered = text.lines().find_map(|line| line.strip_prefix("curl: ("));
    let words = numbered.and_then(|line| line.split_once(") "));
    words
        .map_or("curl gave no reason", |(_, words)| words)
        .trim()
        .to_owned()
}

fn explain(
    wanted: Wanted<'_>,
    code: i32,
    status: u32,
    output: &Output,
    arrived: u64,
) -> anyhow::Error {
    const OTHER_MIRROR: &str = "name another mirror under [platform.mirrors]";
    let (what, hint) = match code {
        HTTP_ERROR if matches!(status, 404 | 410) => (
            format!("the mirror does not have it (HTTP {status})"),
            wanted.when_gone,
        ),
        HTTP_ERROR => (
            format!("the mirror answered with HTTP {status}"),
            "try again later, or name another mirror under [platform.mirrors]",
        ),
        PARTIAL_FILE => (
            format!("the mirror ended after {arrived} bytes, before the end of the file"),
            "run it again: what has arrived is kept",
        ),
        TOO_LARGE => (
            format!(
                "it is larger than the {} bytes it may have",
                wanted.most_bytes
            ),
            OTHER_MIRROR,
        ),
        _ => (words(output), OTHER_MIRROR),
    };
    Class::Network.error(format!("fetching {}: {what}\nhint: {hint}", wanted.url))
}

fn mismatch(wanted: Wanted<'_>, found: &str) -> anyhow::Error {
    let promised = wanted.sha256.unwrap_or_default();
    Class::Refused.error(format!(
        "fetching {}: its SHA-256 is {found}, its .treeinfo promises {promised}\n\
         hint: the mirror is between two composes, or somebody changed the file: try again later, \
         or name a dated compose under [platform.mirrors]",
        wanted.url
    ))
}
