//! Which network interface a site means: by kernel name or by MAC address.
//!
//! Reads `/sys/class/net` only; configuring interfaces is cloud-init's and systemd-networkd's.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

const INTERFACES: &str = "/sys/class/net";

/// One interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    name: String,
    address: String,
    /// Backed by a device, and so no bridge, VLAN or tunnel that took over a card's address.
    is_device: bool,
}

/// The kernel's name of the interface that `wanted` (a kernel name or a MAC address) describes.
///
/// # Errors
/// When there is none; the error lists those that there are.
pub fn find_interface(wanted: &str) -> Result<String> {
    find(&list(Path::new(INTERFACES))?, wanted)
}

/// The MAC address of an interface, in lower case.
///
/// # Errors
/// When there is no such interface.
pub fn mac_address(name: &str) -> Result<String> {
    let path = Path::new(INTERFACES).join(name).join("address");
    let text = fs::read_to_string(&path);
    let text = text.with_context(|| format!("reading {}", path.display()))?;
    Ok(text.trim().to_lowercase())
}

fn list(directory: &Path) -> Result<Vec<Interface>> {
    let context = || format!("reading {}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(context)? {
        let path = entry.with_context(context)?.path();
        // An interface may go away while we look, and `bonding_masters` here is none.
        let Ok(address) = fs::read_to_string(path.join("address")) else {
            continue;
        };
        found.push(Interface {
            name: path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            address: address.trim().to_lowercase(),
            is_device: path.join("device").exists(),
        });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn find(interfaces: &[Interface], wanted: &str) -> Result<String> {
    let wanted = wanted.to_lowercase();
    if let Some(named) = interfaces
        .iter()
        .find(|found| found.name.to_lowercase() == wanted)
    {
        return Ok(named.name.clone());
    }
    // A bridge has the address of its first port: the card is the one that is meant.
    let mut matching: Vec<_> = interfaces
        .iter()
        .filter(|found| found.address == wanted)
        .collect();
    matching.sort_by_key(|found| !found.is_device);
    match matching[..] {
        [only] => Ok(only.name.clone()),
        [first, second, ..] if first.is_device && !second.is_device => Ok(first.name.clone()),
        [first, second, ..] => bail!(
            "two interfaces have the address {wanted}: {} and {}\n\
             hint: name the interface in site.toml instead",
            first.name,
            second.name
        ),
        [] => bail!(
            "no interface {wanted}; this machine has {}",
            names(interfaces)
        ),
    }
}

fn names(interfaces: &[Interface]) -> String {
    let listed: Vec<_> = interfaces
        .iter()
        .filter(|found| found.name != "lo")
        .map(|found| format!("{} ({})", found.name, found.address))
        .collect();
    if listed.is_empty() {
        "none".to_owned()
    } else {
        listed.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, address: &str, is_device: bool) -> Interface {
        Interface {
            name: name.into(),
            address: address.into(),
            is_device,
        }
    }

    fn machine() -> Vec<Interface> {
        vec![
            interface("br-provider", "52:54:00:00:00:02", false),
            interface("ens3", "52:54:00:00:00:01", true),
            interface("ens4", "52:54:00:00:00:02", true),
            interface("lo", "00:00:00:00:00:00", false),
        ]
    }

    #[test]
    fn finds_by_name_and_by_address_in_any_case() {
        assert_eq!(find(&machine(), "ens3").unwrap(), "ens3");
        assert_eq!(find(&machine(), "52:54:00:00:00:01").unwrap(), "ens3");
        let tap = [interface("tapAB", "02:00:00:00:00:0a", false)];
        assert_eq!(find(&tap, "02:00:00:00:00:0A").unwrap(), "tapAB");
        assert_eq!(find(&tap, "tapAB").unwrap(), "tapAB");
    }

    #[test]
    fn a_card_is_preferred_to_the_bridge_that_took_its_address() {
        assert_eq!(find(&machine(), "52:54:00:00:00:02").unwrap(), "ens4");
    }

    #[test]
    fn two_cards_with_one_address_are_not_guessed_between() {
        let cards = [
            interface("ens3", "02::", true),
            interface("ens4", "02::", true),
        ];
        assert_eq!(
            find(&cards, "02::").unwrap_err().to_string(),
            "two interfaces have the address 02::: ens3 and ens4\n\
             hint: name the interface in site.toml instead"
        );
    }

    #[test]
    fn an_unknown_one_is_answered_with_those_there_are() {
        assert_eq!(
            find(&machine(), "eth0").unwrap_err().to_string(),
            "no interface eth0; this machine has br-provider (52:54:00:00:00:02), \
             ens3 (52:54:00:00:00:01), ens4 (52:54:00:00:00:02)"
        );
        assert_eq!(
            find(&[interface("lo", "00", false)], "eth0")
                .unwrap_err()
                .to_string(),
            "no interface eth0; this machine has none"
        );
    }

    #[test]
    fn reads_a_directory_like_the_kernels() {
        let sys = tempfile::tempdir().unwrap();
        for (name, device) in [("ens3", true), ("br0", false)] {
            let directory = sys.path().join(name);
            fs::create_dir_all(&directory).unwrap();
            crate::files::replace(
                &directory.join("address"),
                b"52:54:00:AA:00:01\n",
                crate::files::Ownership::mode(0o644),
            )
            .unwrap();
            if device {
                fs::create_dir(directory.join("device")).unwrap();
            }
        }
        fs::create_dir(sys.path().join("bonding_masters")).unwrap();
        assert_eq!(
            list(sys.path()).unwrap(),
            [
                interface("br0", "52:54:00:aa:00:01", false),
                interface("ens3", "52:54:00:aa:00:01", true),
            ]
        );
    }
}
