//! `firstboot wait`: holds a unit back until what it cannot start without is there.

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::{BadConfiguration, Verdict};
use crate::node::Node;
use crate::steps;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to wait for
    what: What,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Neutron's server answers its agents
    NeutronRpc,
}

pub(super) fn run(arguments: &Arguments) -> Result<Verdict> {
    let node = Node::read().context(BadConfiguration("reading the node"))?;
    match arguments.what {
        What::NeutronRpc => steps::wait_for_rpc(&node)?,
    }
    Ok(Verdict::Good)
}
