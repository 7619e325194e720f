//! The lab's networks: every address inside the site's own, every door on loopback.
//!
//! The management network is QEMU's user network with the site's prefix, cut off from the
//! outside, so that a cell that comes up here came up without the Internet. The controller's
//! machine carries it; every further machine has a wire to it, a pair of UDP ports on loopback. The provider
//! network is a wire with nothing at its other end (or the other machines).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::site::is_mac_address;

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

/// What is behind an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// The user network itself, with its doors, shared with other machines if there are any.
    Management {
        /// The site's management network.
        network: Ipv4Net,
        /// The host's own address in it: the gateway, where the site has one.
        host: Ipv4Addr,
        /// Addresses that no node has, for the user network's name server and the first that it
        /// would give out; nobody uses either.
        spare: [Ipv4Addr; 2],
        /// The doors of all nodes.
        forwards: Vec<Forward>,
    },
    /// Only what other machines are on.
    Bare,
}

/// One network interface of a machine, and its wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Unique within the machine.
    pub id: String,
    /// As the site names it: a MAC address, `enp0sN` or `ensN`.
    pub interface: String,
    /// MAC address for an interface that the site gives by name.
    pub fallback_mac: String,
    /// What is behind it.
    pub wire: Wire,
    /// The wires to other machines.
    pub links: Vec<Link>,
}

/// One end of a wire between two machines: UDP ports of loopback, so that either machine may be
/// turned off and on again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The port at this end.
    pub near: u16,
    /// The port at the other end.
    pub far: u16,
}

impl Link {
    /// The same wire, seen from its other end.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            near: self.far,
            far: self.near,
        }
    }
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

    /// QEMU's arguments for the interface and its wire: a hub with the interface, the user
    /// network and the other machines on it, as far as there are such.
    pub fn arguments(&self) -> Vec<String> {
        let id = &self.id;
        // QEMU numbers hubs; interfaces are few, so the identifier's first letter tells them apart.
        let hub = u32::from(id.as_bytes().first().copied().unwrap_or_default());
        let mut arguments = Vec::new();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-netdev", format!("hubport,id={id}-nic,hubid={hub}"));
        if let Wire::Management {
            network,
            host,
            spare,
            forwards,
        } = &self.wire
        {
            let mut user = format!(
                "user,id={id}-user,net={network},host={host},dns={},dhcpstart={},\
                 restrict=on,ipv6=off",
                spare[0], spare[1]
            );
            for Forward {
                host_port,
                address,
                port,
            } in forwards
            {
                user += &format!(",hostfwd=tcp:127.0.0.1:{host_port}-{address}:{port}");
            }
            add("-netdev", user);
            add(
                "-netdev",
                format!("hubport,id={id}-up,hubid={hub},netdev={id}-user"),
            );
        }
        for (number, Link { near, far }) in self.links.iter().enumerate() {
            let link = format!("{id}-link{number}");
            add(
                "-netdev",
                format!(
                    "dgram,id={link},local.type=inet,local.host=127.0.0.1,local.port={near},\
                     remote.type=inet,remote.host=127.0.0.1,remote.port={far}"
                ),
            );
            add(
                "-netdev",
                format!("hubport,id={link}-end,hubid={hub},netdev={link}"),
            );
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

/// The management network of a lab with these doors.
pub fn management(
    network: Ipv4Net,
    gateway: Option<Ipv4Addr>,
    nodes: &[Ipv4Addr],
    forwards: Vec<Forward>,
) -> Result<Wire> {
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
    Ok(Wire::Management {
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

/// A new wire.
pub fn link() -> Result<Link> {
    let context = "looking for two free ports";
    let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context(context);
    let ends = [bind()?, bind()?];
    let port = |end: &UdpSocket| Ok::<_, anyhow::Error>(end.local_addr().context(context)?.port());
    Ok(Link {
        near: port(&ends[0])?,
        far: port(&ends[1])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(interface: &str, wire: Wire, links: Vec<Link>) -> String {
        let port = Port {
            id: "management".into(),
            interface: interface.into(),
            fallback_mac: "52:54:00:00:00:01".into(),
            wire,
            links,
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
        let wire = management(network, None, &[address], vec![forward]).unwrap();
        assert_eq!(
            port("52:54:00:aa:bb:cc", wire, Vec::new()),
            "-netdev hubport,id=management-nic,hubid=109 \
             -netdev user,id=management-user,net=10.20.0.0/24,host=10.20.0.4,dns=10.20.0.2,\
             dhcpstart=10.20.0.3,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:40022-10.20.0.1:22 \
             -netdev hubport,id=management-up,hubid=109,netdev=management-user \
             -device virtio-net-pci,netdev=management-nic,mac=52:54:00:aa:bb:cc,romfile="
        );
    }

    #[test]
    fn an_interface_given_by_name_sits_where_udev_calls_it_so() {
        let device = port("enp0s9", Wire::Bare, Vec::new());
        assert!(
            device.ends_with("mac=52:54:00:00:00:01,romfile=,bus=pcie.0,addr=0x9"),
            "{device}"
        );
        let slot = port(
            "ens5",
            Wire::Bare,
            vec![Link {
                near: 5000,
                far: 5001,
            }],
        );
        assert!(
            slot.contains(
                "local.port=5000,remote.type=inet,remote.host=127.0.0.1,remote.port=5001"
            ),
            "{slot}"
        );
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
