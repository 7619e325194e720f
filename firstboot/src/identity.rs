//! A seed for any number of computes: each machine finds out which one it is.
//!
//! Its name comes from the MAC address of its management interface or from the serial number that
//! its maker gave it, its address from the DHCP server of the management network. What was found
//! replaces the seed's description, so that from then on the machine is a node like any other.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ipnet::Ipv4Net;

use crate::config::{Identify, NameFrom, NodeConfig, Peer, Role};
use crate::files::{self, Ownership};
use crate::resource::network;

/// Serial number of the machine, as its firmware tells the kernel (SMBIOS type 1); root alone may
/// read it.
const SERIAL: &str = "/sys/class/dmi/id/product_serial";
/// A name with fewer letters and digits of its own than this tells no machines apart.
const LEAST_OWN: usize = 4;
const LONGEST_NAME: usize = 63;

/// What a machine knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// MAC address of the management interface, in lower case.
    pub mac_address: String,
    /// The maker's serial number, where there is one.
    pub serial: Option<String>,
    /// The address from which it reaches the controller, or why it has none yet.
    pub address: std::result::Result<Ipv4Addr, String>,
}

/// Who a machine turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// This node.
    Node(Box<NodeConfig>),
    /// Nobody before it has an address; and why it has none.
    NoAddress(String),
}

impl Machine {
    /// This machine, with the interface and the network that its seed names.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn this(config: &NodeConfig) -> Result<Self> {
        let interface = network::find_interface(&config.management.interface)
            .context("finding the management interface")?;
        let serial = files::read_if_exists(Path::new(SERIAL))?;
        Ok(Self {
            mac_address: network::mac_address(&interface)?,
            serial: serial.map(|text| text.trim().to_owned()),
            address: source_address(
                config.controller()?.address,
                config.management.address.trunc(),
            ),
        })
    }

    /// Which of the computes of this seed it is.
    ///
    /// # Errors
    /// When its serial number is one that other machines have as well.
    pub fn identify(&self, config: &NodeConfig, by: &Identify) -> Result<Found> {
        let name = self.name(by)?;
        let address = match &self.address {
            Ok(address) => *address,
            Err(why) => return Ok(Found::NoAddress(why.clone())),
        };
        let mut config = config.clone();
        config.identify = None;
        config.nodes.push(Peer {
            name: name.clone(),
            role: Role::Compute,
            address,
        });
        config.name = name;
        config.management.address = Ipv4Net::new(address, config.management.address.prefix_len())
            .context("joining address and prefix length")?;
        Ok(Found::Node(Box::new(config)))
    }

    fn name(&self, by: &Identify) -> Result<String> {
        let own = match by.name_from {
            NameFrom::Mac => self.mac_address.replace(':', ""),
            NameFrom::Dmi => {
                let serial = self.serial.as_deref().unwrap_or_default();
                if !tells_machines_apart(serial) {
                    bail!(
                        "this machine's serial number is {serial:?}, which others have as well\n\
                         hint: take computes.name_from = \"mac\" in site.toml and make the seed again"
                    );
                }
                host_name(serial)
            }
        };
        let name = format!("{}-{own}", by.name_prefix.trim_end_matches('-'));
        // What is cut off might be all that tells two machines apart.
        ensure!(
            name.len() <= LONGEST_NAME,
            "{name} is too long for a host name by {} characters\n\
             hint: shorten computes.name_prefix in site.toml, or take name_from = \"mac\"",
            name.len() - LONGEST_NAME
        );
        Ok(name)
    }
}

/// Finds out which node this machine is, and keeps that in place of the seed's description.
///
/// # Errors
/// When the machine cannot be told from others, or the file not be written.
pub fn settle(config: &NodeConfig, by: &Identify, path: &Path) -> Result<Found> {
    let found = Machine::this(config)?.identify(config, by)?;
    if let Found::Node(config) = &found {
        files::replace(path, config.to_toml()?.as_bytes(), Ownership::mode(0o600))?;
    }
    Ok(found)
}

/// The address that packets to the controller would come from. Nothing is sent.
fn source_address(controller: Ipv4Addr, network: Ipv4Net) -> std::result::Result<Ipv4Addr, String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|error| error.to_string())?;
    let asked = socket.connect((controller, 9));
    let address = asked.and_then(|()| socket.local_addr());
    match address.map(|address| address.ip()) {
        Ok(IpAddr::V4(address)) if network.contains(&address) => Ok(address),
        Ok(other) => Err(format!("{other} is not in {network}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a maker's serial number is one. Boards that nobody gave a number carry what their
/// firmware was delivered with: nothing, one repeated character, or words.
fn tells_machines_apart(serial: &str) -> bool {
    const DELIVERED: [&str; 8] = [
        "to be filled by o.e.m.",
        "default string",
        "system serial number",
        "not specified",
        "not applicable",
        "0123456789",
        "123456789",
        "1234567890",
    ];
    let own: Vec<char> = serial.chars().filter(char::is_ascii_alphanumeric).collect();
    own.len() >= LEAST_OWN
        && own.iter().any(|c| *c != own[0])
        && own.iter().any(char::is_ascii_digit)
        && !DELIVERED.contains(&serial.to_ascii_lowercase().as_str())
}

/// The characters of a serial number that a host name may have.
fn host_name(serial: &str) -> String {
    let own = serial.chars().filter(char::is_ascii_alphanumeric);
    own.map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;

    fn shared(name_from: NameFrom) -> (NodeConfig, Identify) {
        let identify = Identify {
            name_prefix: "rack1".into(),
            name_from,
        };
        let mut config = Node::example(Role::Compute).config;
        config.name = "computes".into();
        config.nodes.retain(|peer| peer.role == Role::Controller);
        config.management.address = "10.20.0.0/24".parse().unwrap();
        config.identify = Some(identify.clone());
        (config, identify)
    }

    fn machine(serial: &str) -> Machine {
        Machine {
            mac_address: "52:54:00:b1:25:10".into(),
            serial: Some(serial.into()),
            address: Ok(Ipv4Addr::new(10, 20, 0, 57)),
        }
    }

    #[test]
    fn a_machine_becomes_a_node_like_any_other() {
        let (config, by) = shared(NameFrom::Mac);
        let Found::Node(found) = machine("").identify(&config, &by).unwrap() else {
            panic!("it has an address");
        };
        assert_eq!(found.name, "rack1-525400b12510");
        assert_eq!(found.management.address.to_string(), "10.20.0.57/24");
        assert_eq!(found.identify, None);
        let own = found.nodes.last().unwrap();
        assert_eq!(
            (own.name.as_str(), own.role),
            (found.name.as_str(), Role::Compute)
        );
        assert_eq!(
            NodeConfig::parse(&found.to_toml().unwrap()).unwrap(),
            *found
        );
    }

    #[test]
    fn a_serial_number_makes_a_host_name() {
        let (_, by) = shared(NameFrom::Dmi);
        for (serial, expected) in [
            ("7XK2W13", "rack1-7xk2w13"),
            ("VMware-42 1d/9c_", "rack1-vmware421d9c"),
        ] {
            assert_eq!(machine(serial).name(&by).unwrap(), expected);
        }
        let long = machine(&"A1".repeat(29)).name(&by).unwrap_err();
        assert_eq!(
            long.to_string(),
            format!(
                "rack1-{} is too long for a host name by 1 characters\n\
                 hint: shorten computes.name_prefix in site.toml, or take name_from = \"mac\"",
                "a1".repeat(29)
            )
        );
    }

    #[test]
    fn a_serial_number_that_everybody_has_is_refused() {
        let (_, by) = shared(NameFrom::Dmi);
        for serial in [
            "",
            "0",
            "00000000",
            "Default string",
            "To be filled by O.E.M.",
            "None",
        ] {
            let error = machine(serial).name(&by).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "this machine's serial number is {serial:?}, which others have as well\n\
                     hint: take computes.name_from = \"mac\" in site.toml and make the seed again"
                )
            );
        }
        let unknown = Machine {
            serial: None,
            ..machine("")
        };
        assert!(unknown.name(&by).is_err());
    }

    #[test]
    fn without_an_address_it_is_nobody_yet() {
        let (config, by) = shared(NameFrom::Mac);
        let early = Machine {
            address: Err("Network is unreachable".into()),
            ..machine("")
        };
        let found = early.identify(&config, &by).unwrap();
        assert_eq!(found, Found::NoAddress("Network is unreachable".into()));
    }

    #[test]
    fn an_address_of_another_network_is_none() {
        let loopback = "127.0.0.0/8".parse().unwrap();
        let here = Ipv4Addr::LOCALHOST;
        assert_eq!(source_address(here, loopback), Ok(here));
        let other = "10.20.0.0/24".parse().unwrap();
        let told = source_address(here, other).unwrap_err();
        assert_eq!(told, "127.0.0.1 is not in 10.20.0.0/24");
    }
}
