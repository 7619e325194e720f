//! The site: what `site.toml` describes, checked. Every other module trusts it.

use std::net::Ipv4Addr;

use firstboot::config::{Overrides, ProviderKind, Role};
use ipnet::Ipv4Net;

/// A checked site.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Name of the cloud.
    pub name: String,
    /// Keystone region.
    pub region: String,
    /// DNS domain of the nodes.
    pub domain: String,
    /// Time zone, as in `/usr/share/zoneinfo`.
    pub time_zone: String,
    /// NTP servers of the controller.
    pub ntp_servers: Vec<String>,
    /// Name servers of nodes and instances.
    pub dns_servers: Vec<Ipv4Addr>,
    /// What it runs on.
    pub platform: PlatformChoice,
    /// The management network.
    pub management: Management,
    /// The controller first, then the computes in the order in which they are numbered.
    pub nodes: Vec<Node>,
    /// The provider network, where there is one.
    pub provider: Option<Provider>,
    /// First and last VXLAN network identifier of tenant networks.
    pub vni_range: (u32, u32),
    /// Public keys that may log in to every node, each a line of `authorized_keys`.
    pub authorized_keys: Vec<String>,
    /// Virtual size of the disk images, in GiB.
    pub disk_size_gib: u64,
    /// Options of services that the site sets itself.
    pub overrides: Overrides,
}

/// The platform as the site asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlatformChoice {
    /// A platform's name, or `None` for `auto`.
    pub name: Option<String>,
    /// OpenStack release, where the platform has several.
    pub release: Option<String>,
    /// Where packages come from instead of the platform's own mirror: `main`, `security`.
    pub mirrors: std::collections::BTreeMap<String, String>,
}

/// The management network.
#[derive(Debug, Clone, PartialEq)]
pub struct Management {
    /// Its addresses.
    pub network: Ipv4Net,
    /// Its router, if any.
    pub gateway: Option<Ipv4Addr>,
}

/// One node of the site.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Host name without domain.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Management address.
    pub address: Ipv4Addr,
    /// Management interface: a kernel name, or a MAC address in lower case.
    pub interface: String,
    /// Interface on the provider network, where there is one.
    pub provider_interface: Option<String>,
}

/// The provider network.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// Neutron's name for it.
    pub physical_network: String,
    /// Flat or VLAN.
    pub kind: ProviderKind,
    /// VLAN tag, where `kind` is VLAN.
    pub vlan_id: Option<u16>,
    /// Its addresses.
    pub network: Ipv4Net,
    /// Its router, if any.
    pub gateway: Option<Ipv4Addr>,
    /// First and last address that Neutron may give out.
    pub allocation: (Ipv4Addr, Ipv4Addr),
}

impl Site {
    /// The controller.
    pub fn controller(&self) -> &Node {
        let found = self.nodes.iter().find(|node| node.role == Role::Controller);
        found.expect("a checked site has a controller")
    }
}

/// True if an interface is given by its MAC address rather than by name.
pub fn is_mac_address(interface: &str) -> bool {
    interface.len() == 17
        && interface
            .split(':')
            .all(|part| u8::from_str_radix(part, 16).is_ok())
}
