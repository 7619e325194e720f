//! `firstboot logs`: what the agent wrote into the system's journal since power-on.

use std::process::Stdio;

use anyhow::{Context, Result};

use super::Verdict;
use crate::cmd::Cmd;
use crate::log;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only what concerns this step, as in `firstboot graph`
    step: Option<String>,
    /// Print one JSON document a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Verdict> {
    let command = command(arguments);
    let mut child = command.start(Stdio::inherit(), Stdio::inherit())?;
    let status = child
        .wait()
        .with_context(|| format!("waiting for `{command}`"))?;
    Ok(match status.success() {
        true => Verdict::Good,
        false => Verdict::Failed,
    })
}

fn command(arguments: &Arguments) -> Cmd {
    let format = if arguments.json {
        "json"
    } else {
        "short-monotonic"
    };
    let command = Cmd::new("journalctl").args([
        "--boot",
        "--no-pager",
        "--output",
        format,
        "--unit",
        log::UNIT,
    ]);
    match &arguments.step {
        Some(step) => command.arg(format!("STEP={step}")),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_field() {
        let arguments = Arguments {
            step: Some("nova/api".into()),
            json: true,
        };
        assert_eq!(
            command(&arguments).to_string(),
            "journalctl --boot --no-pager --output json --unit cellboot-firstboot.service \
             STEP=nova/api"
        );
    }
}
