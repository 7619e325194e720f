//! `/etc/cellboot/node.toml`: what a seed tells one node.
//!
//! The builder writes it from the site, cloud-init puts it on the node, the agent reads it. It
//! holds no password: those are made on the controller ([`crate::secrets`]).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::join::token::Token;

/// The version of this schema; an agent refuses any other.
pub const SCHEMA: u32 = 1;

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs the control plane.
    Controller,
    /// Runs instances.
    Compute,
}

impl Role {
    /// Every role, in the order in which they are built and listed.
    pub const ALL: [Role; 2] = [Role::Controller, Role::Compute];

    /// The word for it, as in file names and on the console.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Controller => "controller",
            Role::Compute => "compute",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Values that replace or add options of a service's own configuration file:
/// service, then section, then option.
pub type Overrides = BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>;

/// One node, as its seed describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// [`SCHEMA`] of the builder that wrote it.
    pub schema: u32,
    /// Host name without domain.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Platform of the image it was made for, as in `platforms/*.toml`.
    pub platform: String,
    /// OpenStack release of that image.
    pub release: String,
    /// The cloud it belongs to.
    pub site: SiteConfig,
    /// Its place in the management network.
    pub management: Management,
    /// Every node of the site, this one included, for `/etc/hosts` and the firewall.
    pub nodes: Vec<Peer>,
    /// The provider network, where the site has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Tenant networks.
    pub overlay: Overlay,
    /// Options the site sets itself.
    #[serde(
        default,
        rename = "override",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub overrides: Overrides,
    /// Where the seed is for any number of computes: how each finds out who it is. Until then
    /// `name` is the seed's, and `management.address` is the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identify: Option<Identify>,
    /// How a compute gets into the cell; computes alone have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// What the controller lets computes in with; the controller alone has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registrar: Option<Registrar>,
}

/// How computes that share a seed get names of their own ([`crate::identity`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identify {
    /// What their names begin with, without the hyphen that follows.
    pub name_prefix: String,
    /// What follows it.
    pub name_from: NameFrom,
}

/// What of a machine its name is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameFrom {
    /// The MAC address of its management interface.
    Mac,
    /// The serial number that its maker gave it.
    Dmi,
}

/// The way into the cell, for a compute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// What the registrar lets this node in for.
    pub token: Token,
    /// How the node knows the registrar: `sha256:` and the SHA-256 of the public key
    /// (SubjectPublicKeyInfo) of the site's certificate authority, in lower case hexadecimal.
    pub pin: String,
}

/// What the registrar starts with. The authority's own key stays with the site.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registrar {
    /// The registrar's certificate and then the authority's, in PEM.
    pub certificates: String,
    /// The key of the registrar's certificate (PKCS #8, in PEM).
    pub key: String,
    /// The tokens that computes come with.
    pub tokens: Vec<TokenGrant>,
}

impl std::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registrar({} tokens, redacted)", self.tokens.len())
    }
}

/// What a token is good for. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenGrant {
    /// Its public half.
    pub id: String,
    /// [`Token::hash`].
    pub hash: String,
    /// When it ends, in seconds since 1970.
    pub expires_at: u64,
    /// How many nodes it is good for.
    pub uses: u32,
    /// The one node that it is for, or any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// True if the node may have been a member before, under another key.
    #[serde(default)]
    pub rejoin: bool,
}

/// What all nodes of a site share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Name of the cloud.
    pub name: String,
    /// Keystone region.
    pub region: String,
    /// DNS domain of the nodes.
    pub domain: String,
    /// Time zone of the nodes, as in `/usr/share/zoneinfo`.
    pub time_zone: String,
    /// NTP servers of the controller (computes follow the controller).
    pub ntp_servers: Vec<String>,
    /// Name servers of the nodes and, through DHCP, of instances.
    pub dns_servers: Vec<Ipv4Addr>,
}

/// The node's own place in the management network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Management {
    /// Address with the prefix length of the network, as in `10.20.0.11/24`.
    pub address: Ipv4Net,
    /// Default gateway, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// Interface: a kernel name, or a MAC address in lower case.
    pub interface: String,
}

/// A node as the others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Host name without domain.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Management address.
    pub address: Ipv4Addr,
}

/// How a provider network is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Untagged.
    Flat,
    /// With a VLAN tag.
    Vlan,
}

/// The network that reaches the outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// This node's interface on it: a kernel name, or a MAC address in lower case.
    pub interface: String,
    /// Neutron's name for it.
    pub physical_network: String,
    /// Flat or VLAN.
    pub kind: ProviderKind,
    /// VLAN tag, where `kind` is VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan_id: Option<u16>,
    /// Addresses of the network.
    pub network: Ipv4Net,
    /// Its router, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// First address that Neutron may give out.
    pub allocation_start: Ipv4Addr,
    /// Last address that Neutron may give out.
    pub allocation_end: Ipv4Addr,
}

/// Tenant networks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// First VXLAN network identifier.
    pub vni_start: u32,
    /// Last VXLAN network identifier.
    pub vni_end: u32,
}

/// True if an interface is given by its MAC address rather than by name.
pub fn is_mac_address(interface: &str) -> bool {
    let pair = |part: &str| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
    interface.split(':').count() == 6 && interface.split(':').all(pair)
}

impl NodeConfig {
    /// Reads the text of a `node.toml`.
    ///
    /// # Errors
    /// When it is not TOML, lacks or adds a key, is of another schema, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).context("reading the node's configuration")?;
        if config.schema != SCHEMA {
            bail!(
                "the seed is of schema {}, this image reads schema {SCHEMA}\n\
                 hint: make the seed again with the cellboot that built the image",
                config.schema
            );
        }
        config.controller()?;
        let is_shared = config.identify.is_some();
        if is_shared && config.role != Role::Compute {
            bail!("the seed of a {} is for one node alone", config.role);
        }
        if !is_shared && !config.nodes.iter().any(|node| node.name == config.name) {
            bail!("the node {} is not in its own list of nodes", config.name);
        }
        Ok(config)
    }

    /// The text of a `node.toml`.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("writing the node's configuration")
    }

    /// The site's controller.
    pub fn controller(&self) -> Result<&Peer> {
        let found = self.nodes.iter().find(|node| node.role == Role::Controller);
        found.context("the list of nodes has no controller")
    }

    /// A node's name with the site's domain.
    pub fn fqdn(&self, name: &str) -> String {
        format!("{name}.{}", self.site.domain)
    }
}
