//! Seeds: the small NoCloud volumes that make an image one particular node.
//!
//! A seed is a function of the site, the platform and the site's keys: the same inputs give the
//! same bytes. Everything in it is JSON, which is YAML to cloud-init and needs no quoting rules of
//! our own.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fatfs::{Date, DateTime, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use firstboot::config::Role;
use firstboot::files::{self, Ownership};
use firstboot::platform::Platform;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::keys::Keys;
use crate::membership::Membership;
use crate::site::{Node, Site, hex, is_mac_address};

/// Where the agent reads what the seed says.
const NODE_CONFIG: &str = "/etc/cellboot/node.toml";
/// What cloud-init and the firmware of no machine confuse with another volume.
const LABEL: [u8; 11] = *b"CIDATA     ";
/// The least size of a volume; one with hundreds of nodes needs no more.
const MINIMUM_BYTES: usize = 1 << 20;

/// The files of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Who the node is.
    pub meta_data: String,
    /// What cloud-init does on it.
    pub user_data: String,
    /// Its interfaces, as network-config version 2.
    pub network_config: String,
}

/// Writes the seeds of some nodes, or of all when none is named, to `directory/NODE.img`.
///
/// # Errors
/// When the site has no such node, its keys cannot be read, or a file cannot be written.
pub fn write_all(
    site: &Site,
    platform: &Platform,
    keys: &Keys,
    nodes: &[String],
    directory: &Path,
) -> Result<Vec<PathBuf>> {
    let nodes: Vec<&Node> = if nodes.is_empty() {
        site.nodes.iter().collect()
    } else {
        let named: Result<_> = nodes.iter().map(|name| site.node(name)).collect();
        named?
    };
    let mut paths = Vec::new();
    for node in nodes {
        let path = directory.join(format!("{}.img", node.name));
        write(site, platform, keys, &node.name, &path)?;
        paths.push(path);
    }
    Ok(paths)
}

/// Writes the seed of one node: whole or not at all, and closed to others.
pub fn write(site: &Site, platform: &Platform, keys: &Keys, node: &str, path: &Path) -> Result<()> {
    let image = Seed::of(site, platform, keys, node)?.image()?;
    files::replace(path, &image, Ownership::mode(0o600))
}

impl Seed {
    /// The seed of a node. The site's own key always may log in.
    ///
    /// # Errors
    /// When the site has no such node, or its secrets cannot be read.
    pub fn of(site: &Site, platform: &Platform, keys: &Keys, node: &str) -> Result<Self> {
        let release = site.release_on(platform);
        let mut config = site.node_config(node, platform, release)?;
        let node = site.node(node)?;
        let membership = Membership::of(site, keys.directory())?;
        match node.role {
            Role::Controller => config.registrar = Some(membership.registrar()),
            Role::Compute => config.join = membership.join(&node.name),
        }
        let config = config.to_toml()?;
        let user_data = format!(
            "#cloud-config\n{}\n",
            text(&user_data(site, &keys.ssh_public_key()?, &config))?
        );
        let network_config = format!("{}\n", text(&network_config(site, node))?);
        // A new id makes cloud-init start over, so that it changes exactly when the content does.
        let content = Sha256::digest(format!("{user_data}\0{network_config}"));
        let meta_data = json!({
            "instance-id": format!("{}-{}", node.name, &hex(&content)[..16]),
            "local-hostname": node.name,
            // All of cloud-init's work is done before the network comes up, in one process.
            "dsmode": "local",
        });
        Ok(Self {
            meta_data: format!("{}\n", text(&meta_data)?),
            user_data,
            network_config,
        })
    }

    /// The volume: FAT without a partition table, labelled `CIDATA`.
    pub fn image(&self) -> Result<Vec<u8>> {
        self.volume().context("making the volume of a seed")
    }

    fn volume(&self) -> std::io::Result<Vec<u8>> {
        let files = [
            ("meta-data", &self.meta_data),
            ("user-data", &self.user_data),
            ("network-config", &self.network_config),
        ];
        let content: usize = files.iter().map(|(_, text)| text.len()).sum();
        let size = (content * 2)
            .next_multiple_of(MINIMUM_BYTES)
            .max(MINIMUM_BYTES);
        let mut disk = Cursor::new(vec![0; size]);
        let digest = Sha256::digest(&self.meta_data);
        let id = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
        let options = FormatVolumeOptions::new().volume_label(LABEL).volume_id(id);
        fatfs::format_volume(&mut disk, options)?;
        let system = FileSystem::new(&mut disk, FsOptions::new().time_provider(&NO_CLOCK))?;
        for (name, text) in files {
            let mut file = system.root_dir().create_file(name)?;
            file.write_all(text.as_bytes())?;
            file.flush()?;
        }
        system.unmount()?;
        Ok(disk.into_inner())
    }
}

/// The first day that FAT knows, so that no clock gets into a seed.
#[derive(Debug)]
struct NoClock;

static NO_CLOCK: NoClock = NoClock;

impl TimeProvider for NoClock {
    fn get_current_date(&self) -> Date {
        Date {
            year: 1980,
            month: 1,
            day: 1,
        }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime {
            date: self.get_current_date(),
            time: Time {
                hour: 0,
                min: 0,
                sec: 0,
                millis: 0,
            },
        }
    }
}

/// No packages, no users, no commands: a file, and who may log in.
fn user_data(site: &Site, site_key: &str, config: &str) -> Value {
    let mut keys = vec![site_key];
    keys.extend(site.authorized_keys.iter().map(String::as_str));
    json!({
        "write_files": [{
            "path": NODE_CONFIG,
            "owner": "root:root",
            "permissions": "0600",
            "content": config,
        }],
        // Named, so that cloud-init adds no user of its own.
        "users": ["root"],
        "disable_root": false,
        "ssh_pwauth": false,
        // Host keys belong to the machine: a changed seed must not change them.
        "ssh_deletekeys": false,
        "ssh_authorized_keys": keys,
    })
}

fn network_config(site: &Site, node: &Node) -> Value {
    let mut management = json!({
        "dhcp4": false,
        "dhcp6": false,
        "addresses": [format!("{}/{}", node.address, site.management.network.prefix_len())],
        "nameservers": { "addresses": site.dns_servers, "search": [site.domain] },
    });
    if let Some(gateway) = site.management.gateway {
        // Not "default": cloud-init 22.4, which Debian 12 has, takes that for an address.
        management["routes"] = json!([{ "to": "0.0.0.0/0", "via": gateway }]);
    }
    let mut ethernets = serde_json::Map::new();
    add(&mut ethernets, "management", &node.interface, management);
    if let Some(interface) = &node.provider_interface {
        // Only up: its addresses are Neutron's business.
        let provider = json!({ "dhcp4": false, "dhcp6": false, "optional": true });
        add(&mut ethernets, "provider", interface, provider);
    }
    json!({ "version": 2, "ethernets": ethernets })
}

/// Adds an interface, found by its MAC address under `role`, or by its name.
fn add(
    ethernets: &mut serde_json::Map<String, Value>,
    role: &str,
    interface: &str,
    mut config: Value,
) {
    if is_mac_address(interface) {
        config["match"] = json!({ "macaddress": interface });
        ethernets.insert(role.to_owned(), config);
    } else {
        ethernets.insert(interface.to_owned(), config);
    }
}

/// JSON that a YAML reader reads as the same thing. YAML folds a few line separators of Unicode
/// and refuses other characters; escaped, all of them pass. What lies beyond 16 bits stays as it
/// is: YAML knows no surrogate pairs.
fn text(value: &Value) -> Result<String> {
    let plain = serde_json::to_string_pretty(value).context("writing a seed's JSON")?;
    let mut escaped = String::with_capacity(plain.len());
    for c in plain.chars() {
        match u32::from(c) {
            code @ 0x7f..=0xffff => escaped += &format!("\\u{code:04x}"),
            _ => escaped.push(c),
        }
    }
    Ok(escaped)
}
