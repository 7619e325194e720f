//! A compute that comes when its site exists already: what its seed says.
//!
//! The builder describes the nodes of a site; this describes one more, out of what a controller
//! knows. Who asks has made the token.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ipnet::Ipv4Net;

use crate::config::{Join, Management, NodeConfig, Peer, Provider, Role};
use crate::files;
use crate::volume::Volume;

const AUTHORIZED_KEYS: &str = "/root/.ssh/authorized_keys";

/// What only a person can say about a new compute.
#[derive(Debug, Clone)]
pub struct Newcomer<'a> {
    /// Host name without domain.
    pub name: &'a str,
    /// Management address; a node that is known keeps its own.
    pub address: Option<Ipv4Addr>,
    /// Management interface: a kernel name or a MAC address.
    pub interface: &'a str,
    /// Interface on the provider network, where the compute has one.
    pub provider_interface: Option<&'a str>,
}

/// The configuration of a compute of the controller's site. `known` is every node that the
/// controller knows.
///
/// # Errors
/// When the address or the name cannot be its own, or the site has no provider network.
pub fn describe(
    controller: &NodeConfig,
    known: &[Peer],
    newcomer: &Newcomer<'_>,
    join: Join,
) -> Result<NodeConfig> {
    let name = newcomer.name;
    let own = known.iter().find(|peer| peer.name == name);
    if own.is_some_and(|peer| peer.role == Role::Controller) {
        bail!("{name} is the controller itself\nhint: give the compute another name");
    }
    let address = newcomer.address.or(own.map(|peer| peer.address));
    let address = address.with_context(|| {
        format!("nobody here knows the address of {name}\nhint: give it with --address")
    })?;
    let network = controller.management.address;
    fits(network, address)?;
    let other = known
        .iter()
        .find(|peer| peer.address == address && peer.name != name);
    if let Some(other) = other {
        bail!(
            "{address} is the address of {}\nhint: give the compute an address of its own",
            other.name
        );
    }
    let provider = match (&controller.provider, newcomer.provider_interface) {
        (_, None) => None,
        (Some(provider), Some(interface)) => Some(Provider {
            interface: interface.to_ascii_lowercase(),
            ..provider.clone()
        }),
        (None, Some(_)) => {
            bail!("this site has no provider network\nhint: leave --provider-interface out")
        }
    };
    let mut nodes: Vec<Peer> = known
        .iter()
        .filter(|peer| peer.name != name)
        .cloned()
        .collect();
    nodes.push(Peer {
        name: name.to_owned(),
        role: Role::Compute,
        address,
    });
    let interface = newcomer.interface;
    let is_mac = crate::config::is_mac_address(interface);
    Ok(NodeConfig {
        name: name.to_owned(),
        role: Role::Compute,
        management: Management {
            address: Ipv4Net::new(address, network.prefix_len())
                .context("joining address and prefix length")?,
            gateway: controller.management.gateway,
            interface: if is_mac {
                interface.to_ascii_lowercase()
            } else {
                interface.to_owned()
            },
        },
        nodes,
        provider,
        identify: None,
        join: Some(join),
        registrar: None,
        ..controller.clone()
    })
}

/// The seed of such a compute: who may log in here may log in there.
///
/// # Errors
/// When the keys cannot be read.
pub fn seed(config: &NodeConfig) -> Result<Volume> {
    let text = files::read_if_exists(Path::new(AUTHORIZED_KEYS))?.unwrap_or_default();
    let keys: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    Volume::of(config, &keys)
}

/// An address that a node of this network can have.
fn fits(network: Ipv4Net, address: Ipv4Addr) -> Result<()> {
    let bare = network.trunc();
    ensure!(
        bare.contains(&address),
        "{address} is not in the management network {bare}\nhint: give an address of {bare}"
    );
    ensure!(
        address != bare.network() && address != bare.broadcast(),
        "{address} is the network's own or its broadcast address in {bare}\n\
         hint: give another address of {bare}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::token::Token;
    use crate::node::Node;

    fn join() -> Join {
        Join {
            token: Token::generate().unwrap(),
            pin: "sha256:00".into(),
        }
    }

    fn described(newcomer: &Newcomer<'_>) -> Result<NodeConfig> {
        let node = Node::example(Role::Controller);
        describe(&node.config, &node.config.nodes, newcomer, join())
    }

    fn late() -> Newcomer<'static> {
        Newcomer {
            name: "late",
            address: Some(Ipv4Addr::new(10, 20, 0, 99)),
            interface: "52:54:00:AA:00:01",
            provider_interface: Some("ens4"),
        }
    }

    #[test]
    fn a_newcomer_is_a_node_of_the_site() {
        let config = described(&late()).unwrap();
        let again = NodeConfig::parse(&config.to_toml().unwrap()).unwrap();
        assert_eq!(again, config);
        assert_eq!((config.name.as_str(), config.role), ("late", Role::Compute));
        assert_eq!(config.management.address.to_string(), "10.20.0.99/24");
        assert_eq!(config.management.interface, "52:54:00:aa:00:01");
        assert_eq!(config.provider.as_ref().unwrap().interface, "ens4");
        assert_eq!(config.controller().unwrap().name, "control");
        assert!(config.registrar.is_none() && config.join.is_some());
        assert_eq!(config.nodes.len(), 3);
    }

    #[test]
    fn a_known_node_keeps_its_address() {
        let known = Newcomer {
            name: "compute1",
            address: None,
            ..late()
        };
        let config = described(&known).unwrap();
        assert_eq!(config.management.address.to_string(), "10.20.0.21/24");
        assert_eq!(config.nodes.len(), 2);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        let address = |last| Some(Ipv4Addr::new(10, 20, 0, last));
        let table = [
            (
                Newcomer {
                    address: None,
                    ..late()
                },
                "nobody here knows the address of late\nhint: give it with --address",
            ),
            (
                Newcomer {
                    name: "control",
                    ..late()
                },
                "control is the controller itself\nhint: give the compute another name",
            ),
            (
                Newcomer {
                    address: address(21),
                    ..late()
                },
                "10.20.0.21 is the address of compute1\n\
                 hint: give the compute an address of its own",
            ),
            (
                Newcomer {
                    address: Some(Ipv4Addr::new(10, 21, 0, 5)),
                    ..late()
                },
                "10.21.0.5 is not in the management network 10.20.0.0/24\n\
                 hint: give an address of 10.20.0.0/24",
            ),
            (
                Newcomer {
                    address: address(255),
                    ..late()
                },
                "10.20.0.255 is the network's own or its broadcast address in 10.20.0.0/24\n\
                 hint: give another address of 10.20.0.0/24",
            ),
        ];
        for (newcomer, expected) in table {
            assert_eq!(described(&newcomer).unwrap_err().to_string(), expected);
        }
        let mut node = Node::example(Role::Controller);
        node.config.provider = None;
        let error = describe(&node.config, &node.config.nodes, &late(), join()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this site has no provider network\nhint: leave --provider-interface out"
        );
    }
}
