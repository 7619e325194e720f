//! `firstboot apply`: the run that makes a node, at first boot and at every other.

use std::path::Path;

use anyhow::{Context, Result};

use super::{BadConfiguration, Verdict};
use crate::clock::since_power_on;
use crate::cmd::Cmd;
use crate::console::Console;
use crate::engine::{self, Mode};
use crate::join::kept;
use crate::live::Live;
use crate::lock::Lock;
use crate::node::Node;
use crate::prompt::Prompt;
use crate::seed::{self, Seed};
use crate::status::Status;
use crate::{interrupt, journal, log, notify, paths, typed};

/// Reached when the node is ready, for units that want a finished node.
const READY_TARGET: &str = "cellboot-ready.target";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Wait for a seed where there is none, and for another apply to end
    #[arg(long)]
    wait: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Verdict> {
    let console = match log::under_systemd() {
        true => Console::machine(),
        false => Console::by_hand(),
    };
    let live = Live::new(Path::new(paths::STATUS), console);
    notify::send("READY=1");
    let _lock = if arguments.wait {
        // A person may still run apply by hand while the unit waits for the seed.
        let tell = |seed: &Seed| match seed {
            Seed::Broken(error) => live.broken_seed(error),
            Seed::NoAddress(why) => live.no_address(why),
            Seed::Good(config) => {
                let address = config.management.address.addr();
                live.say(&format!("this machine is {} at {address}", config.name));
            }
            _ => live.missing_seed(),
        };
        let take = |line: &str| match typed::take(line).and_then(|()| typed::reboot()) {
            Ok(()) => live.say("the seed is here; the machine starts anew with it"),
            Err(error) => live.refused_line(&error),
        };
        let mut prompt = match log::under_systemd() {
            true => Prompt::machine(),
            false => Prompt::default(),
        };
        seed::wait(Path::new(paths::NODE_CONFIG), &mut prompt, tell, take)?;
        Lock::wait(Path::new(paths::LOCK))?
    } else {
        Lock::take(Path::new(paths::LOCK), "apply")?
    };
    // Until here a signal simply ends the process. From here on the steps that run are ended
    // with the processes they started.
    ctrlc::set_handler(interrupt::request).context("catching signals")?;
    match converge(&live) {
        Ok(true) => {
            reach_target();
            Ok(Verdict::Good)
        }
        Ok(false) => Ok(Verdict::Failed),
        Err(error) => {
            // A person who runs it by hand reads the error itself.
            if log::under_systemd() {
                live.broken_node(&error);
            }
            Err(error)
        }
    }
}

fn converge(live: &Live) -> Result<bool> {
    let node = Node::load().context(BadConfiguration("reading the node"))?;
    let (steps, graph) = super::order(&node)?;
    let role = node.config.role.as_str();
    let seconds = since_power_on().as_secs_f64();
    let status = Status::applying(&node.config.name, role, &steps, seconds);
    live.begin(status, journal::Writer::begin(Path::new(paths::JOURNAL)));
    std::thread::scope(|scope| {
        let ticker = std::thread::Builder::new().name("screen".to_owned());
        // Without this thread only the clock on the screen stands still.
        let _ = ticker.spawn_scoped(scope, || live.tick());
        let records = engine::run(&node, &steps, &graph, Mode::Apply, engine::bound(), live);
        live.stop();
        // A controller has none: it is no host of a cell.
        let membership = kept::membership()?;
        let cell = membership.as_ref().map(|it| it.cell.as_str());
        Ok(live.end(&records?, cell))
    })
}

/// Lets systemd know that the node is ready; a machine without systemd has nobody to tell.
fn reach_target() {
    if !Path::new("/run/systemd/system").exists() {
        return;
    }
    let start = Cmd::new("systemctl").args(["start", "--no-block", READY_TARGET]);
    if let Err(error) = start.run() {
        tracing::warn!("{error:#}");
    }
}
