//! Open vSwitch, and the bridge that carries the provider network.

use anyhow::{Context as _, Result};

use super::{network_manager, shape};
use crate::cmd::Cmd;
use crate::node::Node;
use crate::resource::network;
use crate::step::{Check, Step};
use crate::variables::PROVIDER_BRIDGE;

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::running(
            "openvswitch/running",
            "the virtual switch runs",
            "openvswitch",
        )
        // It writes the host's name and a random identity into its database.
        .needs(["base/hostname"])
        .hint("look whether the kernel has the openvswitch module: `modprobe openvswitch`")
        .weight(5),
        Step::new(
            "openvswitch/provider-bridge",
            "the provider network is on its bridge",
        )
        .needs(["openvswitch/running"])
        .needs_where_there([network_manager::LEAVES_THE_PROVIDER])
        .hint("compare the provider interface of the seed with `ip link` and `ovs-vsctl show`")
        .check(|context| check(context))
        .apply(|context| apply(context)),
    ]
}

fn check(node: &Node) -> Result<Check> {
    let Some(interface) = interface(node)? else {
        return Ok(Check::Done);
    };
    let found = vsctl(node)?.args(["port-to-br", &interface]).any_status()?;
    let bridge = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    if bridge != PROVIDER_BRIDGE {
        return Ok(Check::Todo(format!(
            "{interface} is no port of {PROVIDER_BRIDGE}"
        )));
    }
    Ok(Check::of(
        is_up(&interface)?,
        format!("{interface} is down"),
    ))
}

fn apply(node: &Node) -> Result<()> {
    let interface = interface(node)?.context("there is no provider network to wire")?;
    let mut command = vsctl(node)?.args(["--may-exist", "add-br", PROVIDER_BRIDGE]);
    if let Some(datapath) = datapath(node) {
        command = command.args(["--", "set", "bridge", PROVIDER_BRIDGE]);
        command = command.arg(format!("datapath_type={datapath}"));
    }
    command
        .args(["--", "--if-exists", "del-port", &interface])
        .args(["--", "add-port", PROVIDER_BRIDGE, &interface])
        .run()?;
    Cmd::new(node.platform.program("ip")?)
        .args(["link", "set", "dev", &interface, "up"])
        .run()
}

/// The kernel's name of the provider interface, where the site has a provider network.
fn interface(node: &Node) -> Result<Option<String>> {
    let provider = node.config.provider.as_ref();
    provider
        .map(|provider| network::find_interface(&provider.interface))
        .transpose()
}

/// The bridge must be of the kind that the agent makes its own ones: the kernel's, unless the
/// site overrides it.
fn datapath(node: &Node) -> Option<&str> {
    let agent = node.config.overrides.get("openvswitch_agent")?;
    agent.get("ovs")?.get("datapath_type").map(String::as_str)
}

fn vsctl(node: &Node) -> Result<Cmd> {
    Ok(Cmd::new(node.platform.program("ovs-vsctl")?).arg("--timeout=60"))
}

/// The lowest bit of an interface's flags says whether somebody brought it up.
fn is_up(interface: &str) -> Result<bool> {
    let path = format!("/sys/class/net/{interface}/flags");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let flags = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16);
    Ok(flags.with_context(|| format!("reading {path}"))? & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_up() {
        assert!(is_up("lo").unwrap());
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        assert_eq!(
            is_up("nope0").unwrap_err().to_string(),
            "reading /sys/class/net/nope0/flags"
        );
    }
}
