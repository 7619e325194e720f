//! The one table of what `site.toml` may say.
//!
//! The reader takes its known keys, its defaults and the "expected" half of its messages from
//! here; the reference in `docs/` is printed from it. It knows no checks between keys.

/// What a key is when the file does not give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// A problem.
    Required,
    /// Nothing: the key has no default.
    Nothing,
    /// This value, as it would be written in TOML.
    Default(&'static str),
}

/// One key of `site.toml`.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The table that it belongs to.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What its value is, as it goes on after "expected".
    pub expected: &'static str,
    /// What is true without it.
    pub absent: Absent,
    /// A value, as it would be written in TOML.
    pub example: &'static str,
    /// What it is for.
    pub meaning: &'static str,
}

/// One table of `site.toml`.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// How its header is written.
    pub header: &'static str,
    /// True if a site cannot do without it.
    pub required: bool,
    /// What it describes.
    pub meaning: &'static str,
}

/// Services that `[override.SERVICE.SECTION]` may name; each is one configuration file.
pub const SERVICES: [&str; 10] = [
    "keystone",
    "glance",
    "placement",
    "nova",
    "neutron",
    "ml2",
    "openvswitch_agent",
    "l3_agent",
    "dhcp_agent",
    "metadata_agent",
];

/// Every table, in the order in which people write them.
pub const TABLES: [Table; 13] = [
    table("site", "[site]", true, "The cloud itself."),
    table(
        "platform",
        "[platform]",
        false,
        "What the nodes run on. With `auto` the build takes CentOS Stream 9 where its mirror \
         answers, and Debian 12 otherwise; a site that names its platform never falls back.",
    ),
    table(
        "platform.mirrors",
        "[platform.mirrors]",
        false,
        "Where packages come from, instead of the platform's own mirrors.",
    ),
    table(
        "management",
        "[management]",
        true,
        "The network on which the nodes talk to each other and the APIs answer.",
    ),
    table("controller", "[controller]", true, "The one controller."),
    table(
        "computes",
        "[computes]",
        false,
        "Computes by number: equal machines with consecutive names and addresses. Use this table \
         or `[[compute]]`, not both.",
    ),
    table(
        "compute",
        "[[compute]]",
        false,
        "Computes by name: one such table for each.",
    ),
    table(
        "provider",
        "[provider]",
        false,
        "The network that reaches the outside, where floating addresses live. Leave the table \
         out if the cloud has none.",
    ),
    table("overlay", "[overlay]", false, "Tenant networks (VXLAN)."),
    table(
        "ssh",
        "[ssh]",
        false,
        "Who may log in to the nodes as root, besides the site's own key in \
         `secrets/ssh_ed25519`. There are no passwords.",
    ),
    table(
        "join",
        "[join]",
        false,
        "How computes are let into the cell. Each seed of a compute carries a token of its own.",
    ),
    table("image", "[image]", false, "The disk images."),
    table(
        "override",
        "[override.SERVICE.SECTION]",
        false,
        "Options that the site sets itself in a service's configuration file. They win over what \
         cellboot writes; one that its release does not have is refused (of releases after Antelope \
         none is known), and nobody checks that the service still works with them. SERVICE is one of \
         `keystone`, `glance`, `placement`, `nova`, `neutron`, `ml2`, `openvswitch_agent`, \
         `l3_agent`, `dhcp_agent`, `metadata_agent`; SECTION is a section of its file, such as \
         `DEFAULT`.",
    ),
];

const fn table(
    name: &'static str,
    header: &'static str,
    required: bool,
    meaning: &'static str,
) -> Table {
    Table {
        name,
        header,
        required,
        meaning,
    }
}

const HOST_NAME: &str = "a host name: 1 to 63 lower case letters, digits and inner hyphens";
const ADDRESS: &str = "an IPv4 address";
const INTERFACE: &str = "an interface by name or by MAC address";

/// Every key, by table.
pub const KEYS: &[Key] = &[
    Key {
        table: "site",
        name: "name",
        expected: "1 to 63 letters, digits, \".\", \"_\" and \"-\"",
        absent: Absent::Required,
        example: r#""cell""#,
        meaning: "Name of the cloud, as in `clouds.yaml`.",
    },
    Key {
        table: "site",
        name: "region",
        expected: "1 to 63 letters, digits, \".\", \"_\" and \"-\"",
        absent: Absent::Default(r#""RegionOne""#),
        example: r#""RegionOne""#,
        meaning: "Keystone region of every endpoint.",
    },
    Key {
        table: "site",
        name: "domain",
        expected: "a DNS domain in lower case, without a final dot",
        absent: Absent::Default(r#""cell.internal""#),
        example: r#""cell.internal""#,
        meaning: "DNS domain of the nodes: `controller.cell.internal`.",
    },
    Key {
        table: "site",
        name: "time_zone",
        expected: "a name as below /usr/share/zoneinfo",
        absent: Absent::Default(r#""UTC""#),
        example: r#""Europe/Berlin""#,
        meaning: "Time zone of the nodes.",
    },
    Key {
        table: "site",
        name: "ntp_servers",
        expected: "a list of host names or addresses",
        absent: Absent::Default("[]"),
        example: r#"["pool.ntp.org"]"#,
        meaning: "Where the controller gets its time; computes follow the controller. Without \
                  any, the controller's own clock counts.",
    },
    Key {
        table: "site",
        name: "dns_servers",
        expected: "a list of IPv4 addresses",
        absent: Absent::Default("[]"),
        example: r#"["9.9.9.9", "1.1.1.1"]"#,
        meaning: "Name servers of the nodes and, through DHCP, of instances.",
    },
    Key {
        table: "platform",
        name: "name",
        expected: r#""auto", "debian-12" or "centos-stream-9""#,
        absent: Absent::Default(r#""auto""#),
        example: r#""debian-12""#,
        meaning: "The operating system under both roles.",
    },
    Key {
        table: "platform",
        name: "release",
        expected: "an OpenStack release of the platform that platform.name pins",
        absent: Absent::Nothing,
        example: r#""zed""#,
        meaning: "OpenStack release; without it, the platform's default.",
    },
    Key {
        table: "platform.mirrors",
        name: "main",
        expected: "an http or https URL",
        absent: Absent::Nothing,
        example: r#""https://deb.debian.org/debian""#,
        meaning: "The distribution's packages. For CentOS Stream this may be a dated compose, so \
                  that the same site builds the same image later.",
    },
    Key {
        table: "platform.mirrors",
        name: "security",
        expected: "an http or https URL",
        absent: Absent::Nothing,
        example: r#""https://deb.debian.org/debian-security""#,
        meaning: "Debian's security updates, which are kept apart.",
    },
    Key {
        table: "platform.mirrors",
        name: "sigs",
        expected: "an http or https URL",
        absent: Absent::Nothing,
        example: r#""https://mirror.stream.centos.org/SIGs/9-stream""#,
        meaning: "The packages of CentOS's special interest groups, which are kept apart.",
    },
    Key {
        table: "management",
        name: "network",
        expected: "an IPv4 network of /8 to /30",
        absent: Absent::Required,
        example: r#""10.20.0.0/24""#,
        meaning: "Addresses of the network.",
    },
    Key {
        table: "management",
        name: "gateway",
        expected: ADDRESS,
        absent: Absent::Nothing,
        example: r#""10.20.0.1""#,
        meaning: "The nodes' way out, if they have one.",
    },
    Key {
        table: "controller",
        name: "name",
        expected: HOST_NAME,
        absent: Absent::Default(r#""controller""#),
        example: r#""controller""#,
        meaning: "Host name.",
    },
    Key {
        table: "controller",
        name: "address",
        expected: ADDRESS,
        absent: Absent::Required,
        example: r#""10.20.0.11""#,
        meaning: "Address on the management network; every API answers there.",
    },
    Key {
        table: "controller",
        name: "interface",
        expected: INTERFACE,
        absent: Absent::Required,
        example: r#""52:54:00:12:34:00""#,
        meaning: "Interface on the management network.",
    },
    Key {
        table: "controller",
        name: "provider_interface",
        expected: INTERFACE,
        absent: Absent::Nothing,
        example: r#""52:54:00:12:34:01""#,
        meaning: "Interface on the provider network, if it is not `provider.interface`.",
    },
    Key {
        table: "computes",
        name: "count",
        expected: "a number from 0 to 250",
        absent: Absent::Required,
        example: "2",
        meaning: "How many there are.",
    },
    Key {
        table: "computes",
        name: "name_prefix",
        expected: "the start of a host name: a lower case letter, then letters, digits and hyphens",
        absent: Absent::Default(r#""compute""#),
        example: r#""compute""#,
        meaning: "What their names begin with: `compute1`, `compute2` and so on.",
    },
    Key {
        table: "computes",
        name: "name_from",
        expected: r#""number", "mac" or "dmi""#,
        absent: Absent::Default(r#""number""#),
        example: r#""mac""#,
        meaning: "Whether each compute has a seed of its own, with its number in its name, or all \
                  share one, `computes.img`, and each finds out who it is. Then what follows the \
                  prefix and a hyphen is the MAC address of the management interface, as in \
                  `compute-525400123410`, or the maker's serial number (DMI), as in \
                  `compute-7xk2w13`, and the address comes from the network's DHCP server, which \
                  must keep it for good.",
    },
    Key {
        table: "computes",
        name: "first_address",
        expected: ADDRESS,
        absent: Absent::Nothing,
        example: r#""10.20.0.21""#,
        meaning: "Management address of the first; the others follow one by one. Required unless \
                  `count` is 0 or they share a seed.",
    },
    Key {
        table: "computes",
        name: "interface",
        expected: INTERFACE,
        absent: Absent::Nothing,
        example: r#""ens3""#,
        meaning: "Interface on the management network; by name if there are several computes. \
                  Required unless `count` is 0.",
    },
    Key {
        table: "computes",
        name: "provider_interface",
        expected: INTERFACE,
        absent: Absent::Nothing,
        example: r#""ens4""#,
        meaning: "Interface on the provider network, if it is not `provider.interface`; by name \
                  if there are several computes.",
    },
    Key {
        table: "compute",
        name: "name",
        expected: HOST_NAME,
        absent: Absent::Required,
        example: r#""rack1-a""#,
        meaning: "Host name.",
    },
    Key {
        table: "compute",
        name: "address",
        expected: ADDRESS,
        absent: Absent::Required,
        example: r#""10.20.0.31""#,
        meaning: "Address on the management network.",
    },
    Key {
        table: "compute",
        name: "interface",
        expected: INTERFACE,
        absent: Absent::Required,
        example: r#""52:54:00:12:34:10""#,
        meaning: "Interface on the management network.",
    },
    Key {
        table: "compute",
        name: "provider_interface",
        expected: INTERFACE,
        absent: Absent::Nothing,
        example: r#""52:54:00:12:34:11""#,
        meaning: "Interface on the provider network, if it is not `provider.interface`.",
    },
    Key {
        table: "provider",
        name: "interface",
        expected: INTERFACE,
        absent: Absent::Nothing,
        example: r#""ens4""#,
        meaning: "Interface of every node that does not name its own.",
    },
    Key {
        table: "provider",
        name: "physical_network",
        expected: "1 to 63 letters, digits, \".\", \"_\" and \"-\"",
        absent: Absent::Default(r#""provider""#),
        example: r#""provider""#,
        meaning: "Neutron's name for it.",
    },
    Key {
        table: "provider",
        name: "kind",
        expected: r#""flat" or "vlan""#,
        absent: Absent::Default(r#""flat""#),
        example: r#""flat""#,
        meaning: "Untagged, or with a VLAN tag.",
    },
    Key {
        table: "provider",
        name: "vlan_id",
        expected: "a number from 1 to 4094",
        absent: Absent::Nothing,
        example: "100",
        meaning: "The VLAN tag, where `kind` is `vlan`.",
    },
    Key {
        table: "provider",
        name: "network",
        expected: "an IPv4 network of /8 to /30",
        absent: Absent::Required,
        example: r#""203.0.113.0/24""#,
        meaning: "Addresses of the network.",
    },
    Key {
        table: "provider",
        name: "gateway",
        expected: ADDRESS,
        absent: Absent::Nothing,
        example: r#""203.0.113.1""#,
        meaning: "Its router, if it has one.",
    },
    Key {
        table: "provider",
        name: "allocation_start",
        expected: ADDRESS,
        absent: Absent::Required,
        example: r#""203.0.113.101""#,
        meaning: "First address that Neutron may give out.",
    },
    Key {
        table: "provider",
        name: "allocation_end",
        expected: ADDRESS,
        absent: Absent::Required,
        example: r#""203.0.113.250""#,
        meaning: "Last address that Neutron may give out.",
    },
    Key {
        table: "overlay",
        name: "vni_range",
        expected: "FIRST:LAST with numbers from 1 to 16777215",
        absent: Absent::Default(r#""1:1000""#),
        example: r#""1:1000""#,
        meaning: "VXLAN network identifiers of tenant networks.",
    },
    Key {
        table: "ssh",
        name: "authorized_keys",
        expected: "a list of public keys, each as in a .pub file",
        absent: Absent::Default("[]"),
        example: r#"["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB63z6mjQqXdMmq5AzQG/QsP7BSc/RYDQN4G1m4PAQno you@example.net"]"#,
        meaning: "Public keys.",
    },
    Key {
        table: "ssh",
        name: "authorized_key_files",
        expected: "a list of files of public keys, relative to site.toml or to ~",
        absent: Absent::Default("[]"),
        example: r#"["~/.ssh/id_ed25519.pub"]"#,
        meaning: "Files of public keys, read when seeds are written.",
    },
    Key {
        table: "join",
        name: "token_days",
        expected: "a number from 1 to 365",
        absent: Absent::Default("7"),
        example: "7",
        meaning: "For how many days the tokens in the seeds let their computes in. Tokens that \
                  exist keep their end; one that has ended is made again with the next seed.",
    },
    Key {
        table: "image",
        name: "disk_size_gib",
        expected: "a number from 10 to 16384",
        absent: Absent::Default("20"),
        example: "20",
        meaning: "Virtual size of the disk images in GiB. The file is as small as its content; \
                  the root file system grows into the disk at boot, and again if the disk grows.",
    },
];

/// The keys of a table, in order.
pub fn keys_of(table: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.table == table)
}

/// The key of this name.
pub(super) fn find(table: &str, name: &str) -> Option<&'static Key> {
    keys_of(table).find(|key| key.name == name)
}

#[cfg(test)]
mod tests;
