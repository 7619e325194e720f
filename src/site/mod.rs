//! The site: what `site.toml` describes, checked. Every other module trusts it.
//!
//! ```text
//! text ─▶ reader (key by key, against key's table) ─▶ draft ─▶ check (between keys) ─▶ Site
//!            └ value, overrides, ssh                    └───────────┴─▶ problems, all at once
//! ```
//!
//! Reading a site changes nothing on disk.

mod check;
mod draft;

pub mod key;
mod options;
mod overrides;
mod problem;
mod reader;
pub mod reference;
mod ssh;
pub mod starter;
pub mod suggest;
mod value;

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use firstboot::config::{self, NodeConfig, Overrides, ProviderKind, Role};
use firstboot::hash::sha256;
use firstboot::platform::Platform;
use ipnet::Ipv4Net;
use serde::Serialize;

pub use problem::{Problem, Problems};
pub use ssh::is_public_key_file;

use crate::fault::Class;
use draft::Draft;
use reader::Reader;

/// What the seed that computes share is called, among those that are named after their nodes.
pub const SHARED_SEED: &str = "computes";

/// A checked site.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Computes that share a seed and find out who they are.
    pub shared: Option<Shared>,
    /// The provider network, where there is one.
    pub provider: Option<Provider>,
    /// First and last VXLAN network identifier of tenant networks.
    pub vni_range: (u32, u32),
    /// Public keys that may log in to every node, each a line of `authorized_keys`.
    pub authorized_keys: Vec<String>,
    /// For how many days the token of a compute's seed is good.
    pub token_days: u64,
    /// Virtual size of the disk images, in GiB.
    pub disk_size_gib: u64,
    /// Options of services that the site sets itself.
    pub overrides: Overrides,
}

/// The platform as the site asks for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlatformChoice {
    /// A platform's name, or `None` for `auto`.
    pub name: Option<String>,
    /// OpenStack release, where the platform has several.
    pub release: Option<String>,
    /// Where packages come from instead of the platform's own mirror: `main`, `security`.
    pub mirrors: std::collections::BTreeMap<String, String>,
}

/// The management network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Management {
    /// Its addresses.
    pub network: Ipv4Net,
    /// Its router, if any.
    pub gateway: Option<Ipv4Addr>,
}

/// One node of the site.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

/// Computes that share a seed. Each takes its name from its own machine, its address from DHCP.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shared {
    /// How many the seed is good for.
    pub count: u32,
    /// What their names are made of.
    pub identify: config::Identify,
    /// Management interface of each: a kernel name.
    pub interface: String,
    /// Interface of each on the provider network, where there is one.
    pub provider_interface: Option<String>,
}

/// The provider network.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Reads and checks a site.
    ///
    /// # Errors
    /// Of class [`Class::BadInput`], with a line for each problem.
    pub fn load(path: &Path) -> Result<Self> {
        Self::examine(path)?.map_err(|problems| {
            let hint = "hint: docs/site.md explains every key, site.example.toml shows them";
            Class::BadInput.error(format!("{problems}\n{hint}"))
        })
    }

    /// Reads and checks a site; what is wrong with it comes back as a value.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn examine(path: &Path) -> Result<Result<Self, Problems>> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Class::BadInput.error(format!(
                    "there is no {}\nhint: `cellboot init` writes one that works as it is",
                    path.display()
                )));
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                let wrong = format!("{} is no text in UTF-8", path.display());
                return Err(Class::BadInput.error(wrong));
            }
            other => other.with_context(|| format!("reading {}", path.display()))?,
        };
        Self::parse(&text, path)
    }

    /// Checks the text of a site that is, or will be, at `path`.
    fn parse(text: &str, path: &Path) -> Result<Result<Self, Problems>> {
        let mut reader = Reader::new(text);
        let directory = path.parent().unwrap_or(Path::new(""));
        let site = reader.parse().and_then(|root| {
            let draft = Draft::read(&mut reader, root.get_ref(), directory);
            reader.problems.extend(check::problems(&draft));
            draft.finish()
        });
        if !reader.problems.is_empty() {
            return Ok(Err(Problems::new(path, reader.problems)));
        }
        let site = site.with_context(|| {
            format!(
                "reading {}: a value is missing and nothing said so",
                path.display()
            )
        })?;
        Ok(Ok(site))
    }

    /// A hash of everything that the site says, for cache keys.
    pub fn fingerprint(&self) -> Result<String> {
        let text = serde_json::to_vec(self).context("hashing the site")?;
        Ok(sha256(text))
    }

    /// The controller.
    pub fn controller(&self) -> &Node {
        let found = self.nodes.iter().find(|node| node.role == Role::Controller);
        found.expect("a checked site has a controller")
    }

    /// The node of this name.
    ///
    /// # Errors
    /// Of class [`Class::BadInput`] when the site has none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.ok_or_else(|| {
            let names: Vec<_> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            Class::BadInput.error(format!(
                "the site has no node {name:?}\nhint: its nodes are {}",
                names.join(", ")
            ))
        })
    }

    /// The OpenStack release of the site's images on a platform.
    pub fn release_on<'a>(&'a self, platform: &'a Platform) -> &'a str {
        self.platform.release.as_ref().unwrap_or(&platform.release)
    }

    /// What the seed of a node says to the agent.
    ///
    /// # Errors
    /// When the site has no such node.
    pub fn node_config(
        &self,
        name: &str,
        platform: &Platform,
        release: &str,
    ) -> Result<NodeConfig> {
        let node = self.node(name)?;
        let address = Ipv4Net::new(node.address, self.management.network.prefix_len())
            .context("joining address and prefix length")?;
        let (interface, other) = (&node.interface, node.provider_interface.as_ref());
        let (name, role) = (&node.name, node.role);
        Ok(self.config(name, role, address, interface, other, platform, release))
    }

    /// What the seed that computes share says to the agent of each.
    pub fn shared_config(&self, shared: &Shared, platform: &Platform, release: &str) -> NodeConfig {
        let (interface, other) = (&shared.interface, shared.provider_interface.as_ref());
        let network = self.management.network;
        let (name, role) = (SHARED_SEED, Role::Compute);
        NodeConfig {
            identify: Some(shared.identify.clone()),
            ..self.config(name, role, network, interface, other, platform, release)
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is another part of one description"
    )]
    fn config(
        &self,
        name: &str,
        role: Role,
        address: Ipv4Net,
        interface: &str,
        provider_interface: Option<&String>,
        platform: &Platform,
        release: &str,
    ) -> NodeConfig {
        let provider = self.provider.as_ref().zip(provider_interface);
        NodeConfig {
            schema: config::SCHEMA,
            name: name.to_owned(),
            role,
            platform: platform.name.clone(),
            release: release.to_owned(),
            site: config::SiteConfig {
                name: self.name.clone(),
                region: self.region.clone(),
                domain: self.domain.clone(),
                time_zone: self.time_zone.clone(),
                ntp_servers: self.ntp_servers.clone(),
                dns_servers: self.dns_servers.clone(),
            },
            management: config::Management {
                address,
                gateway: self.management.gateway,
                interface: interface.to_owned(),
            },
            nodes: self.nodes.iter().map(Node::peer).collect(),
            provider: provider.map(|(provider, interface)| config::Provider {
                interface: interface.clone(),
                physical_network: provider.physical_network.clone(),
                kind: provider.kind,
                vlan_id: provider.vlan_id,
                network: provider.network,
                gateway: provider.gateway,
                allocation_start: provider.allocation.0,
                allocation_end: provider.allocation.1,
            }),
            overlay: config::Overlay {
                vni_start: self.vni_range.0,
                vni_end: self.vni_range.1,
            },
            overrides: self.overrides.clone(),
            identify: None,
            // Whoever makes the seed adds what it takes to join: a site holds no secret.
            join: None,
            registrar: None,
        }
    }
}

impl Node {
    fn peer(&self) -> config::Peer {
        config::Peer {
            name: self.name.clone(),
            role: self.role,
            address: self.address,
        }
    }
}
