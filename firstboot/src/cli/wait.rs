//! `firstboot wait`: holds a unit back until what it cannot start without is there.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::{BadConfiguration, Verdict};
use crate::node::Node;
use crate::resource::amqp;
use crate::wait::{self, Probe};

/// The broker's port.
const AMQP_PORT: u16 = 5672;
/// A slow machine starts its Python services one after the other.
const DEADLINE: Duration = Duration::from_secs(900);
/// Queues of neutron's server that its agents talk to as soon as they start.
const NEUTRON_QUEUES: [&str; 2] = ["q-plugin", "q-reports-plugin"];

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
        What::NeutronRpc => neutron_rpc(&node)?,
    }
    Ok(Verdict::Good)
}

fn neutron_rpc(node: &Node) -> Result<()> {
    let broker = (node.config.controller()?.address, AMQP_PORT);
    let password = node.secrets.get("rabbitmq")?;
    let what = "neutron's server to listen to its agents";
    wait::until(what, DEADLINE, || {
        for queue in NEUTRON_QUEUES {
            match amqp::queue_has_consumers(broker, "openstack", password, queue) {
                Ok(true) => {}
                Ok(false) => return Ok(Probe::NotYet(format!("nobody reads {queue}"))),
                // The broker itself may still be starting.
                Err(error) => return Ok(Probe::NotYet(format!("{error:#}"))),
            }
        }
        Ok(Probe::Ready(()))
    })
}
