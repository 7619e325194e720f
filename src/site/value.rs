//! Single values of `site.toml`: from text to a type, or to the words for what is wrong with it.
//!
//! The words go on after the value itself: `"Region One" holds " "`. What is expected instead
//! stands in [`super::key`]; what values mean to each other is [`super::check`]'s.

use std::net::Ipv4Addr;

use firstboot::config::{NameFrom, ProviderKind};
use firstboot::platform::Platform;
use ipnet::Ipv4Net;

/// A value, or what is wrong with its text.
pub(super) type Value<T> = Result<T, String>;

/// OVS bridges that the agent makes; no interface of a node may bear such a name.
const BRIDGES: [&str; 3] = ["br-int", "br-tun", "br-provider"];

/// Kernel interface names are at most this long (`IFNAMSIZ` less the final zero).
const INTERFACE_NAME_MAXIMUM: usize = 15;

/// A name of a cloud, a region or a physical network.
pub(super) fn label(text: &str) -> Value<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    length(text, 63)?;
    only(text, allowed)?;
    Ok(text.to_owned())
}

/// A host name of one label (RFC 1123), in lower case because Nova compares names byte by byte.
pub(super) fn host_name(text: &str) -> Value<String> {
    length(text, 63)?;
    only(text, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    })?;
    if text.starts_with('-') || text.ends_with('-') {
        return Err("begins or ends with a hyphen".into());
    }
    if text == "localhost" {
        return Err("is every machine's name for itself".into());
    }
    if text.chars().all(|c| c.is_ascii_digit()) {
        return Err("is all digits, which programs take for an address".into());
    }
    Ok(text.to_owned())
}

/// The start of host names that a number completes.
pub(super) fn name_prefix(text: &str) -> Value<String> {
    length(text, 60)?;
    only(text, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    })?;
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err("does not begin with a letter".into());
    }
    Ok(text.to_owned())
}

/// A DNS domain.
pub(super) fn domain(text: &str) -> Value<String> {
    // Leaves room for the longest host name and the dot before the domain.
    length(text, 253 - 64)?;
    if text.ends_with('.') {
        return Err("ends with a dot".into());
    }
    let labels: Vec<_> = text.split('.').collect();
    for part in &labels {
        if part.is_empty() {
            return Err("has an empty part".into());
        }
        let digits = part.chars().all(|c| c.is_ascii_digit());
        if !digits {
            host_name(part).map_err(|wrong| format!("has the part {part:?}, which {wrong}"))?;
        }
    }
    let last = labels.last().copied().unwrap_or_default();
    if last.chars().all(|c| c.is_ascii_digit()) {
        return Err("ends in a number".into());
    }
    Ok(text.to_owned())
}

/// A time zone's name; whether the node knows it is seen there.
pub(super) fn time_zone(text: &str) -> Value<String> {
    length(text, 64)?;
    only(text, |c| {
        c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '+' | '-')
    })?;
    let starts_well = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic());
    if !text.split('/').all(starts_well) {
        return Err("has a part that begins with no letter".into());
    }
    Ok(text.to_owned())
}

/// A server by name or address.
pub(super) fn server(text: &str) -> Value<String> {
    if text.parse::<std::net::IpAddr>().is_err() {
        domain(text)?;
    }
    Ok(text.to_owned())
}

/// An IPv4 address that a machine can have.
pub(super) fn address(text: &str) -> Value<Ipv4Addr> {
    if text.contains('/') {
        return Err("has a prefix length".into());
    }
    let address: Ipv4Addr = text.parse().map_err(|_| "is none".to_owned())?;
    usable(address)?;
    Ok(address)
}

/// An IPv4 network that machines can be in.
pub(super) fn network(text: &str) -> Value<Ipv4Net> {
    let network: Ipv4Net = text.parse().map_err(|_| "is none".to_owned())?;
    if !(8..=30).contains(&network.prefix_len()) {
        return Err(format!("has a prefix of /{}", network.prefix_len()));
    }
    if network.addr() != network.network() {
        return Err(format!("is an address in {}", network.trunc()));
    }
    usable(network.addr())?;
    Ok(network)
}

fn usable(address: Ipv4Addr) -> Value<()> {
    let first = address.octets()[0];
    if address.is_loopback() {
        Err("is a loopback address".into())
    } else if address.is_link_local() {
        Err("is link-local, where the metadata service lives".into())
    } else if first == 0 || first >= 224 {
        Err("is no address of one machine".into())
    } else {
        Ok(())
    }
}

/// An interface: a kernel name, or a MAC address, which is made lower case.
pub(super) fn interface(text: &str) -> Value<String> {
    if text.contains(':') {
        return mac_address(text);
    }
    let parts: Vec<_> = text.split('-').collect();
    if parts.len() == 6 && parts.iter().all(|part| part.len() == 2) {
        return Err("is a MAC address with hyphens instead of colons".into());
    }
    length(text, INTERFACE_NAME_MAXIMUM)?;
    only(text, |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@')
    })?;
    if text == "lo" || text.chars().all(|c| c == '.') || BRIDGES.contains(&text) {
        return Err("is not a network card".into());
    }
    Ok(text.to_owned())
}

fn mac_address(text: &str) -> Value<String> {
    let lower = text.to_ascii_lowercase();
    if !firstboot::config::is_mac_address(&lower) {
        return Err("is not six pairs of hexadecimal digits with colons between them".into());
    }
    let first = u8::from_str_radix(&lower[..2], 16).unwrap_or_default();
    if first & 1 == 1 {
        return Err("is a multicast MAC address, which no card has".into());
    }
    if lower == "00:00:00:00:00:00" {
        return Err("is the MAC address of no card".into());
    }
    Ok(lower)
}

/// Whether the provider network is tagged.
pub(super) fn provider_kind(text: &str) -> Value<ProviderKind> {
    match text {
        "flat" => Ok(ProviderKind::Flat),
        "vlan" => Ok(ProviderKind::Vlan),
        _ => Err("is neither".into()),
    }
}

/// What names of computes are made of, or `None` for numbers.
pub(super) fn name_from(text: &str) -> Value<Option<NameFrom>> {
    match text {
        "number" => Ok(None),
        "mac" => Ok(Some(NameFrom::Mac)),
        "dmi" => Ok(Some(NameFrom::Dmi)),
        _ => Err("is none of them".into()),
    }
}

/// A platform's name, or `None` for `auto`.
pub(super) fn platform(text: &str) -> Value<Option<String>> {
    if text == "auto" {
        return Ok(None);
    }
    if Platform::names().any(|name| name == text) {
        return Ok(Some(text.to_owned()));
    }
    Err(match super::suggest::nearest(text, Platform::names()) {
        Some(near) => format!("is not known (nearest: {near:?})"),
        None => "is not known".into(),
    })
}

/// An OpenStack release, whatever the platform.
pub(super) fn release(text: &str) -> Value<String> {
    Ok(text.to_owned())
}

/// Where packages come from.
pub(super) fn url(text: &str) -> Value<String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else {
        return Err("does not begin with http:// or https://".into());
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Err("holds a user name or a password, which would get into the images".into());
    }
    if host.is_empty() {
        return Err("names no host".into());
    }
    only(text, |c| {
        c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '[' | ']')
    })?;
    Ok(text.trim_end_matches('/').to_owned())
}

/// The first and last VXLAN network identifier.
pub(super) fn vni_range(text: &str) -> Value<(u32, u32)> {
    let (first, last) = text.split_once(':').ok_or("has no colon")?;
    let number = |part: &str| match part.parse::<u32>() {
        Ok(number @ 1..=0x00ff_ffff) => Ok(number),
        _ => Err(format!("has {part:?} for a number")),
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err("ends before it begins".into());
    }
    Ok((first, last))
}

/// Text that a configuration file can hold on one line.
pub(super) fn line(text: &str) -> Value<String> {
    if text.chars().any(char::is_control) {
        return Err("holds a line break or another control character".into());
    }
    Ok(text.to_owned())
}

fn length(text: &str, maximum: usize) -> Value<()> {
    match text.chars().count() {
        0 => Err("is empty".into()),
        count if count > maximum => Err(format!("has {count} characters")),
        _ => Ok(()),
    }
}

fn only(text: &str, allowed: impl Fn(char) -> bool) -> Value<()> {
    match text.chars().find(|c| !allowed(*c)) {
        Some(found) => Err(format!("holds {:?}", found.to_string())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong<T: std::fmt::Debug>(value: Value<T>) -> String {
        value.unwrap_err()
    }

    #[test]
    fn host_names_are_those_of_rfc_1123_in_lower_case() {
        assert_eq!(host_name("rack1-a").unwrap(), "rack1-a");
        assert_eq!(wrong(host_name("Rack")), r#"holds "R""#);
        assert_eq!(wrong(host_name("-a")), "begins or ends with a hyphen");
        assert_eq!(wrong(host_name("a.b")), r#"holds ".""#);
        assert_eq!(wrong(host_name("")), "is empty");
        assert_eq!(wrong(host_name(&"a".repeat(64))), "has 64 characters");
        assert!(host_name("localhost").is_err() && host_name("12").is_err());
    }

    #[test]
    fn domains_and_servers() {
        assert!(domain("cell.internal").is_ok() && domain("0.pool.ntp.org").is_ok());
        assert_eq!(wrong(domain("cell.internal.")), "ends with a dot");
        assert_eq!(wrong(domain("a..b")), "has an empty part");
        assert_eq!(wrong(domain("10.20")), "ends in a number");
        assert!(server("2001:db8::1").is_ok() && server("192.0.2.1").is_ok());
        assert!(server("300.0.2.1").is_err());
    }

    #[test]
    fn addresses_are_of_one_machine() {
        assert_eq!(address("10.0.0.1").unwrap(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(wrong(address("10.0.0.1/24")), "has a prefix length");
        assert_eq!(wrong(address("10.0.0.300")), "is none");
        assert_eq!(wrong(address("224.0.0.1")), "is no address of one machine");
        assert!(address("127.0.0.1").is_err() && address("169.254.1.1").is_err());
    }

    #[test]
    fn networks_have_no_host_bits() {
        assert!(network("10.0.0.0/24").is_ok());
        assert_eq!(
            wrong(network("10.0.0.5/24")),
            "is an address in 10.0.0.0/24"
        );
        assert_eq!(wrong(network("10.0.0.0/31")), "has a prefix of /31");
        assert_eq!(wrong(network("10.0.0.0")), "is none");
    }

    #[test]
    fn interfaces_are_names_or_mac_addresses() {
        assert_eq!(interface("ens3").unwrap(), "ens3");
        assert_eq!(interface("52:54:00:AB:00:01").unwrap(), "52:54:00:ab:00:01");
        for bad in [
            "52:54:00:ab:00",
            "53:54:00:ab:00:01",
            "52-54-00-ab-00-01",
            "lo",
            "br-int",
            "a b",
            "averylonginterface",
            "00:00:00:00:00:00",
            "+2:54:00:ab:00:01",
        ] {
            assert!(interface(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_carry_no_password() {
        assert_eq!(
            url("https://deb.debian.org/debian/").unwrap(),
            "https://deb.debian.org/debian"
        );
        assert!(url("https://me:secret@example.net/").is_err());
        assert!(url("ftp://example.net/").is_err() && url("https:///x").is_err());
    }

    #[test]
    fn vni_ranges() {
        assert_eq!(vni_range("1:1000").unwrap(), (1, 1000));
        for bad in ["1", "0:5", "5:1", "1:16777216", "a:b", "1:2:3"] {
            assert!(vni_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn time_zones() {
        assert!(time_zone("Etc/GMT+5").is_ok() && time_zone("UTC").is_ok());
        assert!(time_zone("../etc/passwd").is_err() && time_zone("/UTC").is_err());
    }
}
