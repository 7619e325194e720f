//! Neutron: the API, the server that agents talk to, and the agents of a controller.

use std::time::Duration;

use anyhow::Result;

use super::shape::{self, Api};
use super::{rabbitmq, schema, selinux};
use crate::node::Node;
use crate::resource::amqp;
use crate::step::Step;
use crate::wait::{self, Probe};

const AGENTS: &[&str] = &[
    "neutron-openvswitch-agent",
    "neutron-l3-agent",
    "neutron-dhcp-agent",
    "neutron-metadata-agent",
];
/// What agents call and what they report to.
pub(super) const QUEUES: [&str; 2] = ["q-plugin", "q-reports-plugin"];
/// The server loads for minutes where the processor is emulated.
const QUEUES_DEADLINE: Duration = Duration::from_secs(900);

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::configured(
            "neutron/config",
            "the files of Neutron's server are rendered",
            &["neutron-rpc", "neutron-api"],
        ),
        shape::configured(
            "neutron/agent-config",
            "the files of Neutron's agents are rendered",
            AGENTS,
        )
        // They have a file in common.
        .needs(["neutron/config"]),
        schema::step("neutron/schema", "neutron"),
        shape::running(
            "neutron/rpc",
            "the server that agents talk to runs",
            "neutron-rpc",
        )
        .needs(["neutron/config", "neutron/schema", "rabbitmq/account"])
        .weight(5),
        // Its unit counts as started long before anybody consumes a queue. An agent that calls
        // earlier loses the call and waits a whole minute for the answer.
        Step::new("neutron/queues", "the server consumes what agents send")
            .needs(["neutron/rpc"])
            .hint("read the log of Neutron's server below /var/log/neutron")
            .weight(70)
            .check(|context| {
                context.wait(WAITED_FOR, QUEUES_DEADLINE, || consumed(context, &QUEUES))?;
                Ok(crate::step::Check::Done)
            }),
        shape::serving(
            "neutron/api",
            "the network API answers",
            "neutron-api",
            Api {
                port: 9696,
                path: "/",
                status: 200,
            },
        )
        .needs([
            "neutron/config",
            "neutron/schema",
            "rabbitmq/account",
            "memcached/running",
        ])
        .weight(70),
        openvswitch_agent().needs(["neutron/queues", "neutron/agent-config"]),
        agent(
            "neutron/l3-agent",
            "the agent that makes routers runs",
            "neutron-l3-agent",
        )
        .weight(55),
        agent(
            "neutron/dhcp-agent",
            "the agent that gives addresses runs",
            "neutron-dhcp-agent",
        )
        .weight(55),
        agent(
            "neutron/metadata-agent",
            "the agent that passes metadata on runs",
            "neutron-metadata-agent",
        )
        .weight(50),
    ]
}

/// The one agent that every node has.
pub(super) fn openvswitch_agent() -> Step {
    shape::running(
        "neutron/openvswitch-agent",
        "the agent of the virtual switch runs",
        "neutron-openvswitch-agent",
    )
    .needs(["openvswitch/running", "openvswitch/provider-bridge"])
    .needs_where_there([selinux::BOOLEANS])
    .weight(60)
}

const WAITED_FOR: &str = "neutron-rpc-server to consume its queues";

fn agent(name: &'static str, summary: &'static str, service: &'static str) -> Step {
    shape::running(name, summary, service)
        .needs([
            "neutron/queues",
            "neutron/agent-config",
            "openvswitch/running",
        ])
        .needs_where_there([selinux::BOOLEANS])
}

/// Waits until agents can be started, for their units at every later boot.
pub fn wait_for_rpc(node: &Node) -> Result<()> {
    wait::until(WAITED_FOR, QUEUES_DEADLINE, || consumed(node, &QUEUES))
}

/// Ready once the broker lets this node in and somebody consumes each of these queues.
pub(super) fn consumed(node: &Node, queues: &[&str]) -> Result<Probe<()>> {
    let (user, password) = node.broker_login()?;
    let broker = (node.config.controller()?.address, rabbitmq::PORT);
    for queue in queues {
        match amqp::queue_has_consumers(broker, user, password, queue) {
            Ok(true) => {}
            Ok(false) => return Ok(Probe::NotYet(format!("nobody consumes {queue}"))),
            Err(error) => return Ok(Probe::NotYet(format!("{error:#}"))),
        }
    }
    Ok(Probe::Ready(()))
}
