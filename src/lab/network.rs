//! The lab's networks: every address inside the site's own, every door on loopback.
//!
//! ```text
//! doors on loopback ─▶ user network (in the controller's QEMU) ─▶ switch ◀─ every machine
//! ```
//!
//! Each network is a switch ([`super::switch`]). That of the management network has QEMU's user
//! network on it, with the site's prefix and cut off from the outside, so that a cell that comes up
//! here came up without the Internet. That of the provider network has the machines alone.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};
use firstboot::config::is_mac_address;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::switch::Switch;

/// The services of a controller that are reached from outside, with their ports.
pub const CONTROLLER_PORTS: [(&str, u16); 8] = [
    ("ssh", 22),
    ("dashboard", 80),
    ("identity", 5000),
    ("console", 6080),
    ("compute", 8774),
    ("placement", 8778),
    ("image", 9292),
    ("network", 9696),
];
/// What of a compute is reached from outside.
pub const COMPUTE_PORTS: [(&str, u16); 1] = [("ssh", 22)];

/// A door on loopback to a port of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Port on this host's loopback.
    pub host_port: u16,
    /// The node's management address.
    pub address: Ipv4Addr,
    /// The node's port.
    pub port: u16,
}

/// QEMU's user network, with its doors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The site's management network.
    pub network: Ipv4Net,
    /// The host's own address in it: the gateway, where the site has one.
    pub host: Ipv4Addr,
    /// Addresses that no node has, for the user network's name server and the first that it
    /// would give out; nobody uses either.
    pub spare: [Ipv4Addr; 2],
    /// The doors of all nodes.
    pub forwards: Vec<Forward>,
}

/// One network interface of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The network, which is also the name of its switch.
    pub id: String,
    /// As the site names it: a MAC address, `enp0sN` or `ensN`.
    pub interface: String,
    /// MAC address for an interface that the site gives by name.
    pub fallback_mac: String,
    /// What this machine puts on the switch besides itself.
    pub gate: Option<Gate>,
}

/// Where an interface has to sit so that the guest's udev gives it the site's name.
#[derive(Debug, PartialEq, Eq)]
enum Seat {
    Any,
    /// `enp0sN`: device N of the root bus.
    Device(u8),
    /// `ensN`: hot-plug slot N.
    Slot(u8),
}

impl Seat {
    fn of(interface: &str) -> Result<Self> {
        let number = |text: &str| text.parse::<u8>().ok();
        if is_mac_address(interface) {
            return Ok(Self::Any);
        }
        if let Some(n @ 8..=30) = interface.strip_prefix("enp0s").and_then(number) {
            return Ok(Self::Device(n));
        }
        if let Some(n @ 1..=30) = interface.strip_prefix("ens").and_then(number) {
            return Ok(Self::Slot(n));
        }
        bail!(
            "no machine of the lab can have an interface called {interface:?}\n\
             hint: name interfaces in site.toml by MAC address, as enp0s8 to enp0s30, or as ensN"
        );
    }
}

impl Port {
    /// Fails if no machine can have this interface; [`Port::arguments`] needs it checked.
    pub fn check(&self) -> Result<()> {
        Seat::of(&self.interface).map(drop)
    }

    /// QEMU's arguments for the interface and for what else the machine puts on its switch.
    pub fn arguments(&self) -> Vec<String> {
        let id = &self.id;
        let switch = Switch::socket(id);
        let mut arguments = Vec::new();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-netdev", format!("vde,id={id}-nic,sock={switch}"));
        if let Some(gate) = &self.gate {
            let mut user = format!(
                "user,id={id}-user,net={},host={},dns={},dhcpstart={},restrict=on,ipv6=off",
                gate.network, gate.host, gate.spare[0], gate.spare[1]
            );
            for Forward {
                host_port,
                address,
                port,
            } in &gate.forwards
            {
                user += &format!(",hostfwd=tcp:127.0.0.1:{host_port}-{address}:{port}");
            }
            // A hub is QEMU's way to connect two of its network backends.
            let hub = format!("hubport,hubid=0,id={id}");
            add("-netdev", user);
            add("-netdev", format!("{hub}-inside,netdev={id}-user"));
            add("-netdev", format!("vde,id={id}-up,sock={switch}"));
            add("-netdev", format!("{hub}-outside,netdev={id}-up"));
        }
        let mac = if is_mac_address(&self.interface) {
            &self.interface
        } else {
            &self.fallback_mac
        };
        let device = format!("virtio-net-pci,netdev={id}-nic,mac={mac},romfile=");
        match Seat::of(&self.interface).unwrap_or(Seat::Any) {
            Seat::Any => add("-device", device),
            Seat::Device(n) => add("-device", format!("{device},bus=pcie.0,addr={n:#x}")),
            Seat::Slot(n) => {
                add(
                    "-device",
                    format!("pcie-root-port,id={id}-slot,slot={n},chassis={n}"),
                );
                add("-device", format!("{device},bus={id}-slot"));
            }
        }
        arguments
    }
}

/// The way into the management network of a lab, with these doors.
pub fn gate(
    network: Ipv4Net,
    gateway: Option<Ipv4Addr>,
    nodes: &[Ipv4Addr],
    forwards: Vec<Forward>,
) -> Result<Gate> {
    let mut free = network
        .hosts()
        .filter(|address| !nodes.contains(address) && Some(*address) != gateway);
    let mut next = || {
        free.next()
            .context("finding free addresses in the management network")
    };
    let spare = [next()?, next()?];
    let host = match gateway {
        Some(gateway) => gateway,
        None => next()?,
    };
    Ok(Gate {
        network,
        host,
        spare,
        forwards,
    })
}

/// A free port of loopback for each of the node's ports.
pub fn doors(address: Ipv4Addr, ports: &[u16]) -> Result<BTreeMap<u16, Forward>> {
    // All are held until the last is found, so that no two are the same.
    let mut held = Vec::new();
    let mut doors = BTreeMap::new();
    for &port in ports {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
        let host_port = listener
            .local_addr()
            .context("looking for a free port")?
            .port();
        held.push(listener);
        doors.insert(
            port,
            Forward {
                host_port,
                address,
                port,
            },
        );
    }
    Ok(doors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(interface: &str, gate: Option<Gate>) -> String {
        let port = Port {
            id: "management".into(),
            interface: interface.into(),
            fallback_mac: "52:54:00:00:00:01".into(),
            gate,
        };
        port.arguments().join(" ")
    }

    #[test]
    fn the_management_network_is_the_sites_and_closed() {
        let network = "10.20.0.0/24".parse().unwrap();
        let address = Ipv4Addr::new(10, 20, 0, 1);
        let forward = Forward {
            host_port: 40022,
            address,
            port: 22,
        };
        let gate = gate(network, None, &[address], vec![forward]).unwrap();
        assert_eq!(
            port("52:54:00:aa:bb:cc", Some(gate)),
            "-netdev vde,id=management-nic,sock=management.switch \
             -netdev user,id=management-user,net=10.20.0.0/24,host=10.20.0.4,dns=10.20.0.2,\
             dhcpstart=10.20.0.3,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:40022-10.20.0.1:22 \
             -netdev hubport,hubid=0,id=management-inside,netdev=management-user \
             -netdev vde,id=management-up,sock=management.switch \
             -netdev hubport,hubid=0,id=management-outside,netdev=management-up \
             -device virtio-net-pci,netdev=management-nic,mac=52:54:00:aa:bb:cc,romfile="
        );
    }

    #[test]
    fn an_interface_given_by_name_sits_where_udev_calls_it_so() {
        let device = port("enp0s9", None);
        assert!(
            device.ends_with("mac=52:54:00:00:00:01,romfile=,bus=pcie.0,addr=0x9"),
            "{device}"
        );
        let slot = port("ens5", None);
        assert!(
            slot.contains("pcie-root-port,id=management-slot,slot=5,chassis=5"),
            "{slot}"
        );
        let error = Seat::of("eth0").unwrap_err().to_string();
        assert_eq!(
            error,
            "no machine of the lab can have an interface called \"eth0\"\n\
             hint: name interfaces in site.toml by MAC address, as enp0s8 to enp0s30, or as ensN"
        );
    }

    #[test]
    fn doors_are_all_different() {
        let doors = doors(Ipv4Addr::LOCALHOST, &[22, 80, 5000]).unwrap();
        let ports: std::collections::BTreeSet<u16> =
            doors.values().map(|door| door.host_port).collect();
        assert_eq!(ports.len(), 3);
    }
}
