//! The names that a template may use. Pure: a view of the node, made for one rendering.
//!
//! `node` {name, fqdn, role, address}, `site` {name, region, domain, time_zone, ntp_servers,
//! dns_servers}, `controller` {name, fqdn, address}, `nodes` [{name, fqdn, address, role}],
//! `management` {address, network, prefix, gateway}, `provider` (none or {interface,
//! physical_network, bridge, kind, vlan_id, network, gateway}), `overlay` {vni_start, vni_end}, `secret["name"]`,
//! `broker_user` (this node's account at the broker), `virt_type` (computes that know: `kvm` or `qemu`),
//! `platform` {name, release}, `paths["name"]` (of the platform's table), `processors`, `workers` (how many
//! processes of a service this node's processors are good for).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use ipnet::Ipv4Net;
use serde::Serialize;

use crate::config::{NodeConfig, Overlay, Peer, ProviderKind, Role, SiteConfig};
use crate::node::Node;
use crate::resource::hypervisor::Hypervisor;

/// The bridge that carries the provider network on every node.
pub const PROVIDER_BRIDGE: &str = "br-provider";

/// Everything a template sees; the fields are the names.
#[derive(Serialize)]
pub(crate) struct Variables<'a> {
    node: Member<'a>,
    site: &'a SiteConfig,
    controller: Member<'a>,
    nodes: Vec<Member<'a>>,
    management: Management,
    provider: Option<Provider<'a>>,
    overlay: &'a Overlay,
    secret: &'a BTreeMap<String, String>,
    broker_user: Option<&'a str>,
    virt_type: Option<&'static str>,
    platform: Platform<'a>,
    paths: &'a BTreeMap<String, PathBuf>,
    processors: usize,
    workers: usize,
}

#[derive(Serialize)]
struct Member<'a> {
    name: &'a str,
    fqdn: String,
    role: Role,
    address: Ipv4Addr,
}

#[derive(Serialize)]
struct Management {
    address: Ipv4Addr,
    network: Ipv4Net,
    prefix: u8,
    gateway: Option<Ipv4Addr>,
}

#[derive(Serialize)]
struct Provider<'a> {
    interface: &'a str,
    physical_network: &'a str,
    bridge: &'static str,
    kind: ProviderKind,
    vlan_id: Option<u16>,
    network: Ipv4Net,
    gateway: Option<Ipv4Addr>,
}

#[derive(Serialize)]
struct Platform<'a> {
    name: &'a str,
    release: &'a str,
}

impl<'a> Variables<'a> {
    /// The variables of a node.
    pub(crate) fn of(node: &'a Node) -> Result<Self> {
        let config = &node.config;
        let management = &config.management;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            node: Member {
                name: &config.name,
                fqdn: config.fqdn(&config.name),
                role: config.role,
                address: management.address.addr(),
            },
            site: &config.site,
            controller: member(config, config.controller()?),
            nodes: node.peers().map(|peer| member(config, peer)).collect(),
            management: Management {
                address: management.address.addr(),
                network: management.address.trunc(),
                prefix: management.address.prefix_len(),
                gateway: management.gateway,
            },
            provider: config.provider.as_ref().map(|provider| Provider {
                interface: &provider.interface,
                physical_network: &provider.physical_network,
                bridge: PROVIDER_BRIDGE,
                kind: provider.kind,
                vlan_id: provider.vlan_id,
                network: provider.network,
                gateway: provider.gateway,
            }),
            overlay: &config.overlay,
            secret: node.passwords(),
            broker_user: node.broker_user(),
            virt_type: match config.role {
                Role::Controller => None,
                Role::Compute => Hypervisor::known()?.map(|it| it.virt_type()),
            },
            platform: Platform {
                name: &node.platform.name,
                release: &config.release,
            },
            paths: &node.platform.paths,
            processors,
            workers: workers(processors),
        })
    }
}

/// Half the processors, for a controller runs many services; not more than eight, for each has its
/// memory and its connections to the database.
fn workers(processors: usize) -> usize {
    (processors / 2).clamp(1, 8)
}

fn member<'a>(config: &NodeConfig, peer: &'a Peer) -> Member<'a> {
    Member {
        name: &peer.name,
        fqdn: config.fqdn(&peer.name),
        role: peer.role,
        address: peer.address,
    }
}

#[cfg(test)]
mod tests {
    use super::workers;

    #[test]
    fn a_service_has_workers_for_the_processors_and_not_too_many() {
        for (processors, expected) in [(1, 1), (2, 1), (7, 3), (16, 8), (64, 8)] {
            assert_eq!(workers(processors), expected, "{processors} processors");
        }
    }
}
