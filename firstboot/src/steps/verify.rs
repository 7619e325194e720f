//! Whether the cloud does what it is for, asked from outside each service.
//!
//! Nothing here mends anything: a service that was started with the right files and still does
//! not do its work is somebody's to look at, and is told as it is. What a check makes, it removes.

use std::time::Duration;

use anyhow::{Result, bail};

use super::dashboard;
use crate::cmd::Cmd;
use crate::node::Node;
use crate::resource::openstack::{Session, compute, image, network, placement};
use crate::step::{Check, Step};
use crate::wait::Probe;

/// Services and agents report every few seconds, but not before they have loaded: the last of them was
/// seen to need more than ten minutes after a reboot, on an emulated processor that others used, too.
const REPORTS: Duration = Duration::from_secs(1800);
/// What Nova's services are called on a controller.
const NOVA: [&str; 2] = ["nova-conductor", "nova-scheduler"];
/// What Neutron's agents are called on a controller.
const AGENTS: [&str; 4] = [
    "neutron-dhcp-agent",
    "neutron-l3-agent",
    "neutron-metadata-agent",
    "neutron-openvswitch-agent",
];

pub(super) fn steps() -> Vec<Step> {
    vec![
        verify("verify/identity", "a login gives a fernet token")
            .needs(["identity/endpoints"])
            .check(|context| {
                let is_fernet = Session::admin(context)?.has_fernet_token()?;
                holds(
                    is_fernet,
                    "keystone gives tokens that are not of the fernet kind",
                )
            }),
        verify("verify/image", "an image comes back as it was uploaded")
            .needs(["glance/running", "identity/glance", "identity/endpoints"])
            .check(|context| {
                image::round_trip(Session::admin(context)?)?;
                Ok(Check::Done)
            }),
        verify("verify/placement", "resource classes and traits are listed")
            .needs([
                "placement/running",
                "identity/placement",
                "identity/endpoints",
            ])
            .check(|context| {
                let session = Session::admin(context)?;
                let classes = placement::resource_classes(session)?;
                holds(
                    classes.iter().any(|name| name == "VCPU"),
                    "placement has no class VCPU",
                )?;
                let traits = placement::traits(session)?;
                holds(
                    traits.iter().any(|name| name == "COMPUTE_NODE"),
                    "placement has no traits",
                )
            }),
        verify("verify/compute", "the scheduler and the conductor report")
            .needs(["nova/api", "nova/conductor", "nova/scheduler"])
            .needs(["identity/nova", "identity/endpoints"])
            .check(|context| {
                let session = Session::admin(context)?;
                context.wait("nova's services to report", REPORTS, || {
                    let services = compute::services(session)?;
                    let up = services.iter().filter(|it| it.state == "up");
                    Ok(all_of(&NOVA, up.map(|it| it.binary.as_str())))
                })?;
                Ok(Check::Done)
            }),
        verify("verify/network", "the agents of this node report")
            .needs([
                "neutron/api",
                "neutron/openvswitch-agent",
                "neutron/l3-agent",
                "neutron/dhcp-agent",
                "neutron/metadata-agent",
                "identity/neutron",
                "identity/endpoints",
            ])
            .check(|context| {
                let session = Session::admin(context)?;
                context.wait("neutron's agents to report", REPORTS, || {
                    let agents = network::agents(session)?;
                    let own = agents
                        .iter()
                        .filter(|it| it.alive && it.host == context.config.name);
                    Ok(all_of(&AGENTS, own.map(|it| it.binary.as_str())))
                })?;
                Ok(Check::Done)
            }),
        verify(
            "verify/dashboard",
            "an administrator gets to the project overview",
        )
        .needs([
            "dashboard/running",
            "nova/api",
            "neutron/api",
            "glance/running",
        ])
        .needs([
            "identity/glance",
            "identity/neutron",
            "identity/nova",
            "identity/endpoints",
        ])
        .weight(20)
        .check(|context| {
            context.wait("the dashboard", REPORTS, || dashboard::visit(context))?;
            Ok(Check::Done)
        }),
        status("verify/placement-status", "placement-status")
            .needs(["placement/running", "placement/schema"]),
        status("verify/nova-status", "nova-status")
            .needs([
                "nova/cells",
                "placement/running",
                "nova/conductor",
                "nova/scheduler",
            ])
            .needs(["identity/placement", "identity/endpoints"]),
    ]
}

fn verify(name: &'static str, summary: &'static str) -> Step {
    Step::new(name, summary).hint("read the log of the service below /var/log")
}

/// A release's own judgement of what this node has made, by its `upgrade check`.
fn status(name: &'static str, program: &'static str) -> Step {
    Step::new(name, "the release's own checks pass")
        .hint("run the command by hand as the service's user: it prints a table")
        .weight(40)
        .check(move |context| {
            upgrade_check(context, program)?;
            Ok(Check::Done)
        })
}

/// Exits with 0 when all is well, 1 with warnings, 2 and more with failures.
fn upgrade_check(node: &Node, program: &str) -> Result<()> {
    let user = match program {
        "placement-status" => "placement",
        _ => "nova-api",
    };
    Cmd::new(node.platform.program(program)?)
        .args(["upgrade", "check"])
        .as_user(&node.platform.service(user)?.user)
        .deadline(REPORTS)
        .run()
}

fn holds(it: bool, otherwise: &str) -> Result<Check> {
    if it {
        return Ok(Check::Done);
    }
    bail!("{otherwise}")
}

/// Ready once all of these names are among those found.
fn all_of<'a>(wanted: &[&str], found: impl Iterator<Item = &'a str>) -> Probe<()> {
    let found: Vec<_> = found.collect();
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !found.contains(name))
        .copied()
        .collect();
    if missing.is_empty() {
        Probe::Ready(())
    } else {
        Probe::NotYet(format!("no report from {}", missing.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_did_not_report_are_named() {
        let Probe::NotYet(last) = all_of(&NOVA, ["nova-conductor"].into_iter()) else {
            panic!("the scheduler did not report");
        };
        assert_eq!(last, "no report from nova-scheduler");
        assert!(matches!(all_of(&NOVA, NOVA.into_iter()), Probe::Ready(())));
    }
}
