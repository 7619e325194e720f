//! `firstboot status`: what the agent is doing, from its status file.

use std::path::Path;

use anyhow::Result;

use super::Verdict;
use crate::changes::Changes;
use crate::clock::since_power_on;
use crate::paths;
use crate::status::{State, Status};
use crate::view;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON, with --follow one document a line
    #[arg(long)]
    json: bool,
    /// Go on until the node is ready or has failed
    #[arg(long)]
    follow: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Verdict> {
    let path = Path::new(paths::STATUS);
    if !arguments.follow {
        let status = Status::read(path)?;
        show(arguments, status.as_ref())?;
        return Ok(verdict(status.as_ref()));
    }
    std::fs::create_dir_all(paths::RUN).ok();
    let mut changes = Changes::of(Path::new(paths::RUN))?;
    let mut shown = None;
    loop {
        let status = Status::read(path)?;
        if shown.as_ref() != Some(&status) {
            show(arguments, status.as_ref())?;
        }
        let verdict = verdict(status.as_ref());
        if verdict != Verdict::NotConverged {
            return Ok(verdict);
        }
        shown = Some(status);
        changes.wait("status.json")?;
    }
}

fn show(arguments: &Arguments, status: Option<&Status>) -> Result<()> {
    if arguments.json && arguments.follow {
        return super::print(&serde_json::to_string(&status)?);
    }
    if arguments.json {
        return super::print_json(&status);
    }
    let Some(status) = status else {
        return super::print("the agent has not run since this machine was powered on");
    };
    let seconds = match status.state {
        State::Applying => since_power_on().as_secs_f64(),
        _ => status.seconds,
    };
    super::print(view::screen(status, seconds).trim_end())?;
    if !status.reason.is_empty() {
        super::print(&format!("{}\nhint: {}", status.reason, status.hint))?;
    }
    if status.state == State::Applying && !is_alive(status.pid) {
        super::print("the agent that wrote this is gone: it was stopped before it came to an end")?;
    }
    Ok(())
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn verdict(status: Option<&Status>) -> Verdict {
    match status.map(|status| status.state) {
        Some(State::Ready) => Verdict::Good,
        Some(State::Failed) => Verdict::Failed,
        Some(State::Waiting | State::Applying) | None => Verdict::NotConverged,
    }
}
