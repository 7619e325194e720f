//! What is refused by its path.

use anyhow::Result;

use super::Finding;
use crate::inspect::{Entry, Image, Kind};

/// What has to hold at a path for it to be no finding.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Must {
    /// Nothing is there: no file, no link. A directory is, if it is empty.
    BeAbsent,
    /// A file there has no content; a link is none of ours.
    BeEmpty,
    /// No file there or below has content.
    HoldNothing,
    /// No line of the file begins with this word and goes on with a value.
    NotSet(&'static str),
}

struct Rule {
    /// Absolute path; `*` stands for any part of the last name.
    path: &'static str,
    must: Must,
    what: &'static str,
    origin: &'static str,
}

const fn rule(path: &'static str, must: Must, what: &'static str, origin: &'static str) -> Rule {
    Rule {
        path,
        must,
        what,
        origin,
    }
}

const INSTALL: &str = "made when the package is installed";
const STARTED: &str = "made when the service starts: it ran during the build";
const BUILD: &str = "left by the build";
const NODE: &str = "made on a node: this image was booted";

use Must::{BeAbsent, BeEmpty, HoldNothing, NotSet};

const RULES: &[Rule] = &[
    // the machine
    rule("/etc/ssh/ssh_host_*", BeAbsent, "SSH host key", INSTALL),
    rule("/etc/machine-id", BeEmpty, "machine identity", INSTALL),
    rule(
        "/var/lib/dbus/machine-id",
        BeEmpty,
        "machine identity",
        INSTALL,
    ),
    rule("/etc/hostname", BeEmpty, "name of the build host", BUILD),
    rule(
        "/etc/resolv.conf",
        NotSet("nameserver"),
        "name servers of the build host",
        BUILD,
    ),
    rule(
        "/var/lib/systemd/random-seed",
        BeAbsent,
        "random seed",
        NODE,
    ),
    rule(
        "/var/lib/systemd/credential.secret",
        BeAbsent,
        "key of systemd's credentials",
        NODE,
    ),
    rule(
        "/boot/efi/loader/random-seed",
        BeAbsent,
        "random seed",
        NODE,
    ),
    rule(
        "/etc/iscsi/initiatorname.iscsi",
        BeAbsent,
        "iSCSI initiator name",
        INSTALL,
    ),
    rule("/etc/nvme/hostnqn", BeAbsent, "NVMe host name", INSTALL),
    rule("/etc/nvme/hostid", BeAbsent, "NVMe host identity", INSTALL),
    rule(
        "/etc/lvm/devices/system.devices",
        BeAbsent,
        "list of the build host's disks",
        BUILD,
    ),
    rule(
        "/var/lib/NetworkManager/secret_key",
        BeAbsent,
        "NetworkManager's key",
        STARTED,
    ),
    rule(
        "/var/lib/chrony/*",
        BeAbsent,
        "clock drift of one machine",
        STARTED,
    ),
    rule("/var/lib/dhcp/*", BeAbsent, "DHCP lease", STARTED),
    rule(
        "/var/lib/cloud/",
        HoldNothing,
        "data of a cloud-init instance",
        NODE,
    ),
    // cellboot
    rule(
        "/etc/cellboot/node.toml",
        BeAbsent,
        "configuration of one node",
        NODE,
    ),
    rule("/var/lib/cellboot/", HoldNothing, "state of one node", NODE),
    // services
    rule(
        "/var/lib/rabbitmq/.erlang.cookie",
        BeAbsent,
        "Erlang cookie",
        INSTALL,
    ),
    rule("/root/.erlang.cookie", BeAbsent, "Erlang cookie", STARTED),
    rule(
        "/var/lib/rabbitmq/mnesia/",
        HoldNothing,
        "RabbitMQ's database",
        STARTED,
    ),
    rule(
        "/etc/openvswitch/conf.db",
        BeAbsent,
        "Open vSwitch database",
        STARTED,
    ),
    rule(
        "/var/lib/openvswitch/conf.db",
        BeAbsent,
        "Open vSwitch database",
        STARTED,
    ),
    rule(
        "/etc/openvswitch/system-id.conf",
        BeAbsent,
        "Open vSwitch identity",
        STARTED,
    ),
    rule(
        "/etc/nova/compute_id",
        BeAbsent,
        "identity of a compute node",
        STARTED,
    ),
    rule(
        "/var/lib/nova/compute_id",
        BeAbsent,
        "identity of a compute node",
        STARTED,
    ),
    rule(
        "/etc/nova/nova.conf",
        NotSet("my_ip"),
        "address of the build host",
        INSTALL,
    ),
    rule(
        "/etc/keystone/fernet-keys/",
        HoldNothing,
        "fernet key",
        STARTED,
    ),
    rule(
        "/etc/keystone/credential-keys/",
        HoldNothing,
        "credential key",
        STARTED,
    ),
    rule(
        "/var/lib/openstack-dashboard/secret-key/",
        HoldNothing,
        "the dashboard's key",
        STARTED,
    ),
    rule(
        "/var/lib/openstack-dashboard/secret_key",
        BeEmpty,
        "the dashboard's key",
        STARTED,
    ),
    rule(
        "/var/lib/openstack-dashboard/.secret_key_store",
        BeEmpty,
        "the dashboard's key",
        STARTED,
    ),
    rule(
        "/etc/openstack-dashboard/local_settings",
        NotSet("SECRET_KEY"),
        "the dashboard's key",
        INSTALL,
    ),
    rule(
        "/etc/mysql/debian.cnf",
        NotSet("password"),
        "database password",
        INSTALL,
    ),
    rule(
        "/var/lib/mysql/gvwstate.dat",
        BeAbsent,
        "identity in a Galera cluster",
        STARTED,
    ),
    rule(
        "/var/lib/mysql/grastate.dat",
        BeAbsent,
        "identity in a Galera cluster",
        STARTED,
    ),
    rule(
        "/etc/libvirt/qemu/networks/default.xml",
        NotSet("<uuid>"),
        "identity of libvirt's \
         default network",
        STARTED,
    ),
    rule(
        "/etc/libvirt/secrets/",
        HoldNothing,
        "libvirt's secrets",
        STARTED,
    ),
    rule(
        "/var/cache/debconf/passwords.dat",
        NotSet("Value:"),
        "password",
        INSTALL,
    ),
    // people
    rule("/root/.*_history", BeEmpty, "shell history", BUILD),
    rule("/root/.lesshst", BeEmpty, "history", BUILD),
    rule("/root/.viminfo", BeEmpty, "history", BUILD),
    rule("/root/.wget-hsts", BeEmpty, "history", BUILD),
    rule(
        "/root/.ssh/authorized_keys",
        BeEmpty,
        "key that may log in",
        NODE,
    ),
    rule("/root/.ssh/known_hosts", BeEmpty, "history", BUILD),
    rule(
        "/root/admin-openrc",
        BeAbsent,
        "password of the cloud's administrator",
        NODE,
    ),
    rule(
        "/etc/openstack/clouds.yaml",
        BeAbsent,
        "password of the cloud's administrator",
        NODE,
    ),
    // logs and caches
    rule("/var/log/", HoldNothing, "log", BUILD),
    rule("/var/lib/apt/lists/", HoldNothing, "package list", BUILD),
    rule("/var/cache/apt/", HoldNothing, "package cache", BUILD),
    rule("/var/cache/dnf/", HoldNothing, "package cache", BUILD),
];

/// Histories in home directories are looked for in each of them.
const HISTORIES: &[&str] = &[".bash_history", ".python_history", ".ssh/authorized_keys"];

pub(super) fn findings(image: &Image) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for rule in RULES {
        for path in matching(image, rule.path)? {
            offenders(image, &path, rule.must, &mut |path| {
                findings.push(Finding::new(path, rule.what, rule.origin));
            })?;
        }
    }
    for home in image.list("/home")? {
        for name in HISTORIES {
            let path = format!("{}/{name}", home.path);
            offenders(image, &path, BeEmpty, &mut |path| {
                findings.push(Finding::new(path, "history or key of a user", BUILD));
            })?;
        }
    }
    Ok(findings)
}

/// The paths that a rule speaks of.
fn matching(image: &Image, pattern: &str) -> Result<Vec<String>> {
    let Some((before, after)) = pattern.split_once('*') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let directory = before.rfind('/').map_or("/", |at| &before[..at]);
    let entries = image.list(directory)?;
    let fits = |entry: &Entry| {
        entry.path.len() >= before.len() + after.len()
            && entry.path.starts_with(before)
            && entry.path.ends_with(after)
    };
    Ok(entries
        .into_iter()
        .filter(fits)
        .map(|entry| entry.path)
        .collect())
}

fn offenders(image: &Image, path: &str, must: Must, found: &mut dyn FnMut(&str)) -> Result<()> {
    let directory = path.trim_end_matches('/');
    let entry = image.entry(directory)?;
    if must == HoldNothing {
        if let Some(file) = entry.filter(|it| it.kind == Kind::File && it.size_bytes > 0) {
            found(&file.path);
        }
        return image.walk(directory, &mut |entry| {
            if entry.kind == Kind::File && entry.size_bytes > 0 {
                found(&entry.path);
            }
            Ok(())
        });
    }
    let Some(entry) = entry else {
        return Ok(());
    };
    let offends = match must {
        BeAbsent => entry.kind != Kind::Directory,
        BeEmpty => entry.kind == Kind::File && !blank(&image.read(path)?),
        NotSet(word) => entry.kind == Kind::File && sets(&image.read(path)?, word),
        HoldNothing => false,
    };
    if offends {
        found(path);
    }
    Ok(())
}

/// `uninitialized` is what systemd itself takes for an empty machine-id.
fn blank(content: &[u8]) -> bool {
    let content = content.trim_ascii();
    content.is_empty() || content == b"uninitialized"
}

fn sets(content: &[u8], word: &str) -> bool {
    let text = String::from_utf8_lossy(content);
    text.lines().any(|line| {
        let value = line.trim_start().strip_prefix(word);
        value.is_some_and(|value| !value.trim_matches([' ', '\t', '=']).is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_counts_only_with_a_value() {
        assert!(sets(b"# c\n my_ip = 10.0.0.1\n", "my_ip"));
        assert!(sets(b"nameserver 1.1.1.1", "nameserver"));
        assert!(!sets(b"#my_ip = 10.0.0.1\n", "my_ip"));
        assert!(!sets(b"password = \n", "password"));
        assert!(blank(b"uninitialized\n") && blank(b"") && !blank(b"0123"));
    }
}
