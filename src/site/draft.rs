//! A site as it was read: every value with its place, missing where it was wrong.
//!
//! [`Draft::read`] takes values one by one; [`super::check`] looks at what they mean to each
//! other; [`Draft::finish`] makes a [`Site`] of a draft without problems.

use std::net::Ipv4Addr;
use std::path::Path;

use firstboot::config::{Identify, NameFrom, Overrides, ProviderKind, Role};
use ipnet::Ipv4Net;
use toml::de::DeTable;

use super::overrides::Overridden;
use super::reader::{Located, Reader, Section};
use super::{
    Management, Node, PlatformChoice, Provider, SHARED_SEED, Shared, Site, overrides, ssh, value,
};

/// See the module.
pub(super) struct Draft {
    pub(super) name: Option<Located<String>>,
    pub(super) region: Option<Located<String>>,
    pub(super) domain: Option<Located<String>>,
    pub(super) time_zone: Option<Located<String>>,
    pub(super) ntp_servers: Vec<Located<String>>,
    pub(super) dns_servers: Vec<Located<Ipv4Addr>>,
    pub(super) platform: Option<Located<Option<String>>>,
    pub(super) release: Option<Located<String>>,
    pub(super) mirrors: Vec<(&'static str, Located<String>)>,
    pub(super) network: Option<Located<Ipv4Net>>,
    pub(super) gateway: Option<Located<Ipv4Addr>>,
    pub(super) nodes: Vec<DraftNode>,
    pub(super) shared: Option<DraftShared>,
    pub(super) provider: Option<DraftProvider>,
    pub(super) vni_range: Option<Located<(u32, u32)>>,
    pub(super) authorized_keys: Vec<String>,
    pub(super) token_days: Option<Located<u64>>,
    pub(super) disk_size_gib: Option<Located<u64>>,
    pub(super) overrides: Overrides,
    /// Where each of them is.
    pub(super) overridden: Vec<Located<Overridden>>,
}

/// One node as it was read.
pub(super) struct DraftNode {
    pub(super) role: Role,
    pub(super) name: Option<Located<String>>,
    pub(super) address: Option<Located<Ipv4Addr>>,
    pub(super) interface: Option<Located<String>>,
    /// Its own, or else that of the provider network.
    pub(super) provider_interface: Option<Located<String>>,
    /// Where its own provider interface would be written.
    pub(super) provider_place: Located<()>,
    /// True if its own provider interface was written and could not be taken.
    pub(super) provider_refused: bool,
}

/// Computes that share a seed, as they were read.
pub(super) struct DraftShared {
    /// One for all of them; its name is the seed's, and it has no address.
    pub(super) node: DraftNode,
    pub(super) count: u64,
    pub(super) name_prefix: Option<Located<String>>,
    pub(super) name_from: NameFrom,
}

/// The provider network as it was read.
pub(super) struct DraftProvider {
    pub(super) place: Located<()>,
    pub(super) interface: Option<Located<String>>,
    /// True if an interface was written and could not be taken.
    pub(super) interface_refused: bool,
    pub(super) physical_network: Option<Located<String>>,
    pub(super) kind: Option<Located<ProviderKind>>,
    pub(super) vlan_id: Option<Located<u64>>,
    pub(super) network: Option<Located<Ipv4Net>>,
    pub(super) gateway: Option<Located<Ipv4Addr>>,
    pub(super) allocation_start: Option<Located<Ipv4Addr>>,
    pub(super) allocation_end: Option<Located<Ipv4Addr>>,
}

impl Draft {
    /// Reads every table. `directory` is that of the file, for the files that it names.
    pub(super) fn read(reader: &mut Reader<'_>, root: &DeTable<'_>, directory: &Path) -> Self {
        reader.refuse_unknown_tables(root);
        let site = reader.table(root, "site");
        let platform = reader.table(root, "platform");
        let mirrors = platform.table(reader, "platform.mirrors");
        let management = reader.table(root, "management");
        let overlay = reader.table(root, "overlay");
        let join = reader.table(root, "join");
        let image = reader.table(root, "image");
        let ssh = reader.table(root, "ssh");
        let provider = read_provider(reader, root);
        let interface = provider.as_ref().and_then(|p| p.interface.clone());
        let (nodes, shared) = read_nodes(reader, root, interface.as_ref());
        let (overrides, overridden) = overrides::read(reader, root);
        Self {
            name: site.text(reader, "name", value::label),
            region: site.text(reader, "region", value::label),
            domain: site.text(reader, "domain", value::domain),
            time_zone: site.text(reader, "time_zone", value::time_zone),
            ntp_servers: site.texts(reader, "ntp_servers", value::server),
            dns_servers: site.texts(reader, "dns_servers", value::address),
            platform: platform.text(reader, "name", value::platform),
            release: platform.text(reader, "release", value::release),
            mirrors: ["main", "security", "sigs"]
                .into_iter()
                .filter_map(|name| Some((name, mirrors.text(reader, name, value::url)?)))
                .collect(),
            network: management.text(reader, "network", value::network),
            gateway: management.text(reader, "gateway", value::address),
            nodes,
            shared,
            provider,
            vni_range: overlay.text(reader, "vni_range", value::vni_range),
            authorized_keys: ssh::read(reader, ssh, directory),
            token_days: join.number(reader, "token_days", 1..=365),
            disk_size_gib: image.number(reader, "disk_size_gib", 10..=16384),
            overrides,
            overridden,
        }
    }

    /// Every node, and one for those that share a seed.
    pub(super) fn everybody(&self) -> impl Iterator<Item = &DraftNode> {
        self.nodes
            .iter()
            .chain(self.shared.as_ref().map(|shared| &shared.node))
    }

    /// The site; `None` if a value is missing, which is then among the problems.
    pub(super) fn finish(self) -> Option<Site> {
        let provider = match self.provider {
            Some(provider) => Some(provider.finish()?),
            None => None,
        };
        let nodes: Option<Vec<Node>> = self.nodes.into_iter().map(DraftNode::finish).collect();
        Some(Site {
            name: self.name?.value,
            region: self.region?.value,
            domain: self.domain?.value,
            time_zone: self.time_zone?.value,
            ntp_servers: values(self.ntp_servers),
            dns_servers: values(self.dns_servers),
            platform: PlatformChoice {
                name: self.platform?.value,
                release: self.release.map(|release| release.value),
                mirrors: self
                    .mirrors
                    .into_iter()
                    .map(|(name, url)| (name.to_owned(), url.value))
                    .collect(),
            },
            management: Management {
                network: self.network?.value,
                gateway: self.gateway.map(|gateway| gateway.value),
            },
            nodes: nodes?,
            shared: match self.shared {
                Some(shared) => Some(shared.finish()?),
                None => None,
            },
            provider,
            vni_range: self.vni_range?.value,
            authorized_keys: self.authorized_keys,
            token_days: self.token_days?.value,
            disk_size_gib: self.disk_size_gib?.value,
            overrides: self.overrides,
        })
    }
}

impl DraftNode {
    fn finish(self) -> Option<Node> {
        Some(Node {
            name: self.name?.value,
            role: self.role,
            address: self.address?.value,
            interface: self.interface?.value,
            provider_interface: self.provider_interface.map(|interface| interface.value),
        })
    }
}

impl DraftShared {
    fn finish(self) -> Option<Shared> {
        Some(Shared {
            count: u32::try_from(self.count).ok()?,
            identify: Identify {
                name_prefix: self.name_prefix?.value,
                name_from: self.name_from,
            },
            interface: self.node.interface?.value,
            provider_interface: self.node.provider_interface.map(|it| it.value),
        })
    }
}

impl DraftProvider {
    fn finish(self) -> Option<Provider> {
        Some(Provider {
            physical_network: self.physical_network?.value,
            kind: self.kind?.value,
            vlan_id: match self.vlan_id {
                Some(id) => Some(u16::try_from(id.value).ok()?),
                None => None,
            },
            network: self.network?.value,
            gateway: self.gateway.map(|gateway| gateway.value),
            allocation: (self.allocation_start?.value, self.allocation_end?.value),
        })
    }
}

fn values<T>(located: Vec<Located<T>>) -> Vec<T> {
    located.into_iter().map(|item| item.value).collect()
}

fn read_provider(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<DraftProvider> {
    let table = reader.table(root, "provider");
    if !table.exists() {
        return None;
    }
    let interface = table.text(reader, "interface", value::interface);
    Some(DraftProvider {
        place: table.header("vlan_id"),
        interface_refused: interface.is_none() && table.has("interface"),
        interface,
        physical_network: table.text(reader, "physical_network", value::label),
        kind: table.text(reader, "kind", value::provider_kind),
        vlan_id: table.number(reader, "vlan_id", 1..=4094),
        network: table.text(reader, "network", value::network),
        gateway: table.text(reader, "gateway", value::address),
        allocation_start: table.text(reader, "allocation_start", value::address),
        allocation_end: table.text(reader, "allocation_end", value::address),
    })
}

/// The controller, then the computes, and those that share a seed. `provider` is the interface of
/// nodes that name none.
fn read_nodes(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
    provider: Option<&Located<String>>,
) -> (Vec<DraftNode>, Option<DraftShared>) {
    let mut nodes = Vec::new();
    let controller = reader.table(root, "controller");
    if controller.exists() {
        nodes.push(read_node(reader, controller, Role::Controller, provider));
    }
    let computes = reader.table(root, "computes");
    let named = reader.tables(root, "compute");
    if computes.exists() && !named.is_empty() {
        let problem = computes.header("count").problem(
            "stands beside [[compute]] tables".into(),
            "computes by number or by name",
            "keep one of them",
        );
        reader.problems.push(problem);
    }
    for compute in named {
        nodes.push(read_node(reader, compute, Role::Compute, provider));
    }
    let (numbered, shared) = read_counted(reader, computes, provider);
    nodes.extend(numbered);
    (nodes, shared)
}

fn read_node(
    reader: &mut Reader<'_>,
    table: Section<'_>,
    role: Role,
    provider: Option<&Located<String>>,
) -> DraftNode {
    let own = table.text(reader, "provider_interface", value::interface);
    let own_refused = own.is_none() && table.has("provider_interface");
    DraftNode {
        role,
        name: table.text(reader, "name", value::host_name),
        address: table.text(reader, "address", value::address),
        interface: table.text(reader, "interface", value::interface),
        provider_interface: own.or_else(|| provider.cloned()),
        provider_place: table.header("provider_interface"),
        provider_refused: own_refused,
    }
}

/// Equal computes: each with its number and a seed of its own, or one seed for all of them.
fn read_counted(
    reader: &mut Reader<'_>,
    table: Section<'_>,
    provider: Option<&Located<String>>,
) -> (Vec<DraftNode>, Option<DraftShared>) {
    if !table.exists() {
        return (Vec::new(), None);
    }
    let name_from = table.text(reader, "name_from", value::name_from);
    let name_from_refused = name_from.is_none();
    let name_from = name_from.and_then(|from| from.value);
    let count = table.number(reader, "count", 0..=250);
    let prefix = table.text(reader, "name_prefix", value::name_prefix);
    let first = table.text(reader, "first_address", value::address);
    let interface = table.text(reader, "interface", value::interface);
    let own = table.text(reader, "provider_interface", value::interface);
    let count = count.map_or(1, |count| count.value);
    if count > 0 {
        match (name_from, &first) {
            (None, _) if name_from_refused => {}
            (None, _) => table.require(reader, "first_address"),
            (Some(_), None) => {}
            (Some(_), Some(first)) => reader.problems.push(first.problem(
                "is given to computes that get their addresses by DHCP".into(),
                "no first_address beside name_from",
                "remove it, or remove name_from to number the computes",
            )),
        }
        table.require(reader, "interface");
    }
    let mac = |interface: &&Located<String>| firstboot::config::is_mac_address(&interface.value);
    if count > 1 {
        for interface in [&interface, &own].into_iter().flatten().filter(mac) {
            let problem = interface.problem(
                format!(
                    "the MAC address {} belongs to one of {count} computes",
                    interface.value
                ),
                "an interface by name, the same on each",
                "write its kernel name, or describe each compute in a [[compute]] table",
            );
            reader.problems.push(problem);
        }
    }
    // A MAC address that was just refused would be refused again as one that two nodes share.
    let usable = |found: Option<Located<String>>| found.filter(|found| count == 1 || !mac(&found));
    let (interface, own) = (usable(interface), usable(own));
    let own_refused = own.is_none() && table.has("provider_interface");
    let of = |name, address| DraftNode {
        role: Role::Compute,
        name,
        address,
        interface: interface.clone(),
        provider_interface: own.clone().or_else(|| provider.cloned()),
        provider_place: table.header("provider_interface"),
        provider_refused: own_refused,
    };
    if let Some(name_from) = name_from {
        let name = prefix.clone().map(|prefix| Located {
            value: SHARED_SEED.to_owned(),
            ..prefix
        });
        let shared = DraftShared {
            node: of(name, None),
            count,
            name_prefix: prefix,
            name_from,
        };
        return (Vec::new(), (count > 0).then_some(shared));
    }
    let numbered = (1..=count).map(|number| {
        let name = prefix.clone().map(|prefix| Located {
            value: format!("{}{number}", prefix.value),
            ..prefix
        });
        let address = first.clone().map(|first| Located {
            // What runs out of all addresses is outside its network, and said to be.
            value: Ipv4Addr::from(u32::from(first.value).saturating_add(number as u32 - 1)),
            ..first
        });
        of(name, address)
    });
    (numbered.collect(), None)
}
