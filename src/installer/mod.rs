//! Runs Anaconda in a machine and tells how it ended.
//!
//! ```text
//! kernel, initrd, stage2 ─┐
//! kickstart, overlay ─────┴▶ machine (QEMU) ─▶ log, status, serial ─▶ watch (+ patterns) ─▶ verdict
//! ```
//!
//! Nothing here knows what is installed, or what becomes of the disk.

pub mod machine;
mod patterns;
pub mod volume;
pub mod watch;

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use firstboot::cmd::kill_group;
use firstboot::files::{Ownership, replace};
use firstboot::wait::{self, Probe};

use crate::fault::Class;
use crate::lab::machine::{OVMF, Socket};
use crate::lab::qmp;
use crate::lab::serial::Follow;
use crate::report::Stage;
use machine::{Boot, Files};
use watch::{Failure, Limits, Machine, Source, Watch};

/// Changes whenever equal inputs would give another disk.
pub const VERSION: &str = "1";
/// How often QEMU is asked whether the machine runs: one that stopped says nothing.
const ASK: Duration = Duration::from_secs(2);
/// How long what follows a failure's first line is still read: the cause often stands below it.
const AFTERMATH: Duration = Duration::from_secs(3);
/// How many lines of a log are worth repeating.
const TAIL: usize = 12;

/// Installs to the target disk of `files`; progress is shown by `stage`.
///
/// # Errors
/// With the cause, the last lines of the logs and where they are; the machine is off by then.
pub fn install(files: &Files, boot: &Boot, limits: Limits, stage: &Stage<'_>) -> Result<()> {
    let blank = std::fs::read(OVMF[1]).with_context(|| format!("reading {}", OVMF[1]))?;
    replace(&files.variables(), &blank, Ownership::mode(0o600))?;
    for log in logs(files) {
        replace(&log, b"", Ownership::mode(0o644))?;
    }
    let said = File::options().append(true).open(files.qemu());
    let said = said.with_context(|| format!("opening {}", files.qemu().display()))?;
    let command = machine::command(files, boot);
    let mut child = Running(command.start(Stdio::null(), said.into())?);
    let verdict = follow(files, &mut child.0, limits, stage)?;
    drop(child);
    verdict.map_err(|failure| explain(&failure, files))
}

/// QEMU, which does not outlive whoever waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        kill_group(&self.0);
        let _ = self.0.wait();
    }
}

fn logs(files: &Files) -> [PathBuf; 4] {
    [files.log(), files.status(), files.serial(), files.qemu()]
}

fn follow(
    files: &Files,
    child: &mut Child,
    limits: Limits,
    stage: &Stage<'_>,
) -> Result<std::result::Result<(), Failure>> {
    let mut sources = [
        (Source::Status, Follow::new(&files.status(), 0)),
        (Source::Anaconda, Follow::new(&files.log(), 0)),
        (Source::Serial, Follow::new(&files.serial(), 0)),
    ];
    let (began, mut heard, mut asked) = (Instant::now(), Instant::now(), Instant::now());
    let mut watch = Watch::default();
    let mut ended: Option<Instant> = None;
    let mut state = Machine::Runs;
    // The watch has deadlines of its own, with a word for each.
    wait::until("the installer to end", limits.whole * 2, || {
        // Before the last look at the logs: what was said by then is read.
        let status = child.try_wait().context("waiting for QEMU")?;
        for (source, log) in &mut sources {
            for line in log.lines()? {
                heard = Instant::now();
                watch.read(*source, &line);
            }
        }
        stage.progress(watch.progress());
        match status {
            Some(status) => state = off(status, files),
            None if asked.elapsed() > ASK => {
                asked = Instant::now();
                state = ask(files, &state);
            }
            None => {}
        }
        let verdict = watch.verdict(&state, heard.elapsed(), began.elapsed(), limits);
        if let Some(verdict) = verdict {
            let first = *ended.get_or_insert_with(Instant::now);
            if status.is_some() || first.elapsed() > AFTERMATH {
                return Ok(Probe::Ready(verdict));
            }
        }
        Ok(Probe::NotYet(watch.progress().to_owned()))
    })
}

fn off(status: ExitStatus, files: &Files) -> Machine {
    if status.success() {
        return Machine::Off;
    }
    let said = std::fs::read_to_string(files.qemu()).unwrap_or_default();
    let last = said.lines().last().unwrap_or_default();
    let how = match status.signal() {
        Some(signal) => format!("by signal {signal}"),
        None => format!("with status {}", status.code().unwrap_or_default()),
    };
    Machine::Died(match last {
        "" => how,
        last => format!("{how}: {last}"),
    })
}

/// What QEMU says of the machine; one that does not answer is as it was before.
fn ask(files: &Files, before: &Machine) -> Machine {
    let answer = Socket::of(files.directory(), Files::CONTROL.to_owned())
        .and_then(|socket| qmp::command(&socket, "query-status"));
    match answer.as_ref().ok().and_then(|it| it["status"].as_str()) {
        // On its way out.
        Some("running" | "shutdown" | "prelaunch") => Machine::Runs,
        Some(other) => Machine::Stopped(other.to_owned()),
        None => before.clone(),
    }
}

fn explain(failure: &Failure, files: &Files) -> anyhow::Error {
    let mut text = format!("installing: {}\nhint: {}", failure.what, failure.hint);
    for (what, log) in [
        ("Anaconda's log", files.log()),
        ("the console", files.serial()),
    ] {
        text += &format!("\nthe end of {what}, {}:", log.display());
        text += &tail(&log);
    }
    Class::Failed.error(text)
}

/// The last lines of a log, each indented.
fn tail(log: &Path) -> String {
    let lines = Follow::new(log, 0).lines().unwrap_or_default();
    let said: Vec<&String> = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .collect();
    if said.is_empty() {
        return "\n  (nothing)".to_owned();
    }
    let last = &said[said.len().saturating_sub(TAIL)..];
    last.iter().map(|line| format!("\n  {line}")).collect()
}
