//! Seeds: the small NoCloud volumes that make an image one particular node.
//!
//! A seed is a function of the node's configuration and of who may log in: the same inputs give
//! the same bytes. Everything in it is JSON, which is YAML to cloud-init and needs no quoting rules
//! of our own. The builder makes those of a site, the agent of a controller one for a new compute.

use std::io::{Cursor, Write};
use std::path::Path;

use anyhow::{Context, Result};
use fatfs::{Date, DateTime, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::{NodeConfig, is_mac_address};
use crate::files::{self, Ownership};
use crate::hash::sha256;
use crate::paths;

/// What cloud-init and the firmware of no machine confuse with another volume.
pub const LABEL: &str = "CIDATA";
/// The least size of a volume; one with hundreds of nodes needs no more.
const MINIMUM_BYTES: usize = 1 << 20;

/// The files of one seed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Who the node is.
    pub meta_data: String,
    /// What cloud-init does on it.
    pub user_data: String,
    /// Its interfaces, as network-config version 2.
    pub network_config: String,
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Volume(redacted)")
    }
}

impl Volume {
    /// The seed of a node, on which the holders of these keys may log in.
    ///
    /// # Errors
    /// When the configuration cannot be written as TOML.
    pub fn of(config: &NodeConfig, authorized_keys: &[&str]) -> Result<Self> {
        let user_data = text(&user_data(&config.to_toml()?, authorized_keys))?;
        let user_data = format!("#cloud-config\n{user_data}\n");
        let network_config = format!("{}\n", text(&network_config(config))?);
        // A new id makes cloud-init start over, so that it changes exactly when the content does.
        let content = sha256(format!("{user_data}\0{network_config}"));
        let content = &content[..16];
        let mut meta_data = json!({
            "instance-id": format!("{}-{content}", config.name),
            // All of cloud-init's work is done before the network comes up, in one process.
            "dsmode": "local",
        });
        if config.identify.is_none() {
            meta_data["local-hostname"] = json!(config.name);
        }
        Ok(Self {
            meta_data: format!("{}\n", text(&meta_data)?),
            user_data,
            network_config,
        })
    }

    /// Writes the volume: whole or not at all, and closed to others.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::replace(path, &self.image()?, Ownership::mode(0o600))
    }

    /// The volume: FAT without a partition table, labelled `CIDATA`.
    pub fn image(&self) -> Result<Vec<u8>> {
        let files = self.files();
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        fat(LABEL, &files).context("making the volume of a seed")
    }

    /// The same as a config drive, which some clouds and hypervisors hand out: labelled `config-2`.
    ///
    /// # Errors
    /// When an interface is not named by its MAC address: a config drive knows no other names.
    pub fn config_drive(&self) -> Result<Vec<u8>> {
        let meta_data: Value = serde_json::from_str(&self.meta_data)?;
        let id = &meta_data["instance-id"];
        let mut drive = json!({ "uuid": id, "dsmode": "local" });
        if let Some(name) = meta_data.get("local-hostname") {
            drive["hostname"] = name.clone();
        }
        let network: Value = serde_json::from_str(&self.network_config)?;
        let files = [
            ("meta_data.json", text(&drive)?),
            ("user_data", self.user_data.clone()),
            ("network_data.json", text(&network_data(&network)?)?),
        ];
        let files = files.map(|(name, text)| (format!("openstack/latest/{name}"), text));
        fat("config-2", &files).context("making the config drive of a seed")
    }

    /// The three files of the volume, by their names there.
    pub fn files(&self) -> [(&'static str, &str); 3] {
        [
            ("meta-data", &self.meta_data),
            ("user-data", &self.user_data),
            ("network-config", &self.network_config),
        ]
    }
}

/// A volume without a partition table that has this label and these files, a directory deep or two.
fn fat(label: &str, files: &[(String, String)]) -> std::io::Result<Vec<u8>> {
    let content: usize = files.iter().map(|(_, text)| text.len()).sum();
    let size = (content * 2)
        .next_multiple_of(MINIMUM_BYTES)
        .max(MINIMUM_BYTES);
    let mut disk = Cursor::new(vec![0; size]);
    let mut digest = Sha256::new();
    for (name, text) in files {
        digest.update(format!("{name}\0{text}\0"));
    }
    let digest = digest.finalize();
    let id = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let mut padded = [b' '; 11];
    padded[..label.len()].copy_from_slice(label.as_bytes());
    let options = FormatVolumeOptions::new();
    let options = options.volume_label(padded).volume_id(id);
    fatfs::format_volume(&mut disk, options)?;
    let system = FileSystem::new(&mut disk, FsOptions::new().time_provider(&NO_CLOCK))?;
    for (name, text) in files {
        let directories = name.match_indices('/').map(|(at, _)| &name[..at]);
        for directory in directories {
            system.root_dir().create_dir(directory)?;
        }
        let mut file = system.root_dir().create_file(name)?;
        file.write_all(text.as_bytes())?;
        file.flush()?;
    }
    system.unmount()?;
    Ok(disk.into_inner())
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
fn user_data(config: &str, authorized_keys: &[&str]) -> Value {
    json!({
        "write_files": [{
            "path": paths::NODE_CONFIG,
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
        "ssh_authorized_keys": authorized_keys,
    })
}

fn network_config(config: &NodeConfig) -> Value {
    let site = &config.site;
    let mut management = json!({
        "dhcp4": config.identify.is_some(),
        "dhcp6": false,
        "nameservers": { "addresses": site.dns_servers, "search": [site.domain] },
    });
    if config.identify.is_none() {
        management["addresses"] = json!([config.management.address]);
    }
    // The way out is DHCP's to say where addresses are.
    let gateway = config
        .management
        .gateway
        .filter(|_| config.identify.is_none());
    if let Some(gateway) = gateway {
        // Not "default": cloud-init 22.4, which Debian 12 has, takes that for an address.
        management["routes"] = json!([{ "to": "0.0.0.0/0", "via": gateway }]);
    }
    let mut ethernets = serde_json::Map::new();
    let interface = &config.management.interface;
    add(&mut ethernets, "management", interface, management);
    if let Some(provider) = &config.provider {
        // Only up: its addresses are Neutron's business.
        let up = json!({ "dhcp4": false, "dhcp6": false, "optional": true });
        add(&mut ethernets, "provider", &provider.interface, up);
    }
    json!({ "version": 2, "ethernets": ethernets })
}

/// The interfaces of a network-config as OpenStack's metadata describe them.
fn network_data(config: &Value) -> Result<Value> {
    let ethernets = config["ethernets"].as_object().context("no interfaces")?;
    let (mut links, mut networks) = (Vec::new(), Vec::new());
    let mut servers = Vec::new();
    for (role, interface) in ethernets {
        let mac = interface["match"]["macaddress"].as_str();
        let mac = mac.with_context(|| {
            format!(
                "the interface {role} is named as the kernel names it\n\
                 hint: name interfaces by MAC addresses in site.toml: a config drive knows no others"
            )
        })?;
        links.push(json!({ "id": role, "type": "phy", "ethernet_mac_address": mac }));
        if interface["dhcp4"] == json!(true) {
            networks.push(json!({ "id": role, "link": role, "type": "ipv4_dhcp" }));
        }
        for address in interface["addresses"].as_array().into_iter().flatten() {
            let address: Ipv4Net = address.as_str().unwrap_or_default().parse()?;
            let routes = interface["routes"].as_array().into_iter().flatten();
            let routes = routes.map(|route| {
                json!({ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": route["via"] })
            });
            networks.push(json!({
                "id": role,
                "link": role,
                "type": "ipv4",
                "ip_address": address.addr(),
                "netmask": address.netmask(),
                "routes": routes.collect::<Vec<_>>(),
            }));
        }
        let named = interface["nameservers"]["addresses"].as_array();
        servers.extend(named.into_iter().flatten().cloned());
    }
    let services = servers.iter();
    let services = services.map(|address| json!({ "type": "dns", "address": address }));
    Ok(json!({
        "links": links,
        "networks": networks,
        "services": services.collect::<Vec<_>>(),
    }))
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
