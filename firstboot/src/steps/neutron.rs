//! Neutron: the API, the server that agents talk to, and the agents of a controller.

use std::time::Duration;

use anyhow::Result;

use super::shape::{self, Api};
use super::{rabbitmq, schema};
use crate::node::Node;
use crate::resource::amqp;
use crate::resource::unit::Running;
use crate::step::Step;
use crate::wait::{self, Probe};

const SERVER_FILES: &[&str] = &[
    "/etc/neutron/neutron.conf",
    "/etc/neutron/plugins/ml2/ml2_conf.ini",
    "/etc/neutron/neutron-api-uwsgi.ini",
];
const AGENT_FILES: &[&str] = &[
    "/etc/neutron/plugins/ml2/openvswitch_agent.ini",
    "/etc/neutron/l3_agent.ini",
    "/etc/neutron/dhcp_agent.ini",
    "/etc/neutron/metadata_agent.ini",
];
const RPC: &[&str] = &[
    "/etc/neutron/neutron.conf",
    "/etc/neutron/plugins/ml2/ml2_conf.ini",
];
/// What agents call and what they report to.
pub(super) const QUEUES: [&str; 2] = ["q-plugin", "q-reports-plugin"];
/// The server loads for minutes where the processor is emulated.
const QUEUES_DEADLINE: Duration = Duration::from_secs(900);

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::rendered(
            "neutron/config",
            "the files of Neutron's server are rendered",
            SERVER_FILES,
        ),
        shape::rendered(
            "neutron/agent-config",
            "the files of Neutron's agents are rendered",
            AGENT_FILES,
        ),
        schema::step("neutron/schema", "neutron"),
        shape::running(
            "neutron/rpc",
            "the server that agents talk to runs",
            Running {
                service: "neutron-rpc",
                files: RPC,
            },
        )
        .needs(["neutron/config", "neutron/schema", "rabbitmq/account"])
        .weight(5),
        // Its unit counts as started long before anybody consumes a queue. An agent that calls
        // earlier loses the call and waits a whole minute for the answer.
        Step::new("neutron/queues", "the server consumes what agents send")
            .needs(["neutron/rpc"])
            .hint("read /var/log/neutron/neutron-rpc-server.log")
            .weight(70)
            .check(|context| {
                context.wait(WAITED_FOR, QUEUES_DEADLINE, || consumed(context, &QUEUES))?;
                Ok(crate::step::Check::Done)
            }),
        shape::serving(
            "neutron/api",
            "the network API answers",
            Running {
                service: "neutron-api",
                files: SERVER_FILES,
            },
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
            Running {
                service: "neutron-l3-agent",
                files: &["/etc/neutron/neutron.conf", "/etc/neutron/l3_agent.ini"],
            },
        )
        .weight(55),
        agent(
            "neutron/dhcp-agent",
            "the agent that gives addresses runs",
            Running {
                service: "neutron-dhcp-agent",
                files: &["/etc/neutron/neutron.conf", "/etc/neutron/dhcp_agent.ini"],
            },
        )
        .weight(55),
        agent(
            "neutron/metadata-agent",
            "the agent that passes metadata on runs",
            Running {
                service: "neutron-metadata-agent",
                files: &[
                    "/etc/neutron/neutron.conf",
                    "/etc/neutron/metadata_agent.ini",
                ],
            },
        )
        .weight(50),
    ]
}

/// The one agent that every node has.
pub(super) fn openvswitch_agent() -> Step {
    shape::running(
        "neutron/openvswitch-agent",
        "the agent of the virtual switch runs",
        Running {
            service: "neutron-openvswitch-agent",
            files: &[
                "/etc/neutron/neutron.conf",
                "/etc/neutron/plugins/ml2/openvswitch_agent.ini",
            ],
        },
    )
    .needs(["openvswitch/running", "openvswitch/provider-bridge"])
    .weight(60)
}

const WAITED_FOR: &str = "neutron-rpc-server to consume its queues";

fn agent(name: &'static str, summary: &'static str, service: Running) -> Step {
    shape::running(name, summary, service).needs([
        "neutron/queues",
        "neutron/agent-config",
        "openvswitch/running",
    ])
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
