//! `firstboot verify`: proof that instances run.

use std::path::Path;

use anyhow::{Context, Result};

use super::{BadConfiguration, Verdict};
use crate::config::Role;
use crate::lock::Lock;
use crate::node::Node;
use crate::resource::openstack::Session;
use crate::{interrupt, paths, smoke};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Make an instance on every compute, wait until it speaks, and remove it
    #[arg(long, required = true)]
    smoke: bool,
    /// Only on this compute (may be given several times)
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Verdict> {
    let node = Node::read().context(BadConfiguration("reading the node"))?;
    if node.config.role != Role::Controller {
        return Err(
            anyhow::anyhow!("this is a {}, not the controller", node.config.role)
                .context(BadConfiguration("looking for the controller's services")),
        );
    }
    // What is made is found again by its name: two runs at once would remove each other's.
    let _lock = Lock::take(Path::new(paths::SMOKE_LOCK), "verify --smoke")?;
    ctrlc::set_handler(interrupt::request).context("catching signals")?;
    let found = smoke::run(Session::admin(&node)?, &arguments.host, |text| {
        eprintln!("{text}")
    })?;
    if arguments.json {
        super::print_json(&found)?;
    } else {
        for it in &found {
            super::print(&format!(
                "{}: ACTIVE after {:.0} s, runs after {:.0} s",
                it.host, it.active_seconds, it.speaks_seconds
            ))?;
        }
    }
    Ok(Verdict::Good)
}
