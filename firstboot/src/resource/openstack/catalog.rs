//! Where each service of the cloud is: keystone's catalog, as one region's internal addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Deserialize;

use crate::config::NodeConfig;

/// Keystone's answer to `GET /v3/auth/catalog`.
#[derive(Debug, Deserialize)]
pub(super) struct Catalog {
    catalog: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    interface: String,
    region_id: String,
    url: String,
}

impl Catalog {
    /// The internal URL of a service in a region, without a slash at its end.
    pub(super) fn internal(&self, kind: &str, region: &str) -> Option<&str> {
        let services = self.catalog.iter().filter(|entry| entry.kind == kind);
        let mut endpoints = services.flat_map(|entry| &entry.endpoints);
        let found = endpoints
            .find(|endpoint| endpoint.interface == "internal" && endpoint.region_id == region);
        found.map(|endpoint| endpoint.url.trim_end_matches('/'))
    }
}

/// Addresses of the site's nodes by name. The agent is a static program and so asks no resolver
/// of the system; the seed told it all names that a catalog of ours contains.
pub(super) struct Hosts(BTreeMap<String, Ipv4Addr>);

impl Hosts {
    pub(super) fn of(config: &NodeConfig) -> Self {
        let mut hosts = BTreeMap::new();
        for node in &config.nodes {
            hosts.insert(node.name.clone(), node.address);
            hosts.insert(config.fqdn(&node.name), node.address);
        }
        Self(hosts)
    }

    /// The URL with a node's name replaced by its address.
    pub(super) fn resolve(&self, url: &str) -> String {
        let Some((scheme, rest)) = url.split_once("://") else {
            return url.to_owned();
        };
        let end = rest.find([':', '/']).unwrap_or(rest.len());
        let (host, tail) = rest.split_at(end);
        match self.0.get(host) {
            Some(address) => format!("{scheme}://{address}{tail}"),
            None => url.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use crate::node::Node;

    #[test]
    fn the_internal_address_of_the_region_is_meant() {
        // As in the identity API's reference.
        let catalog: Catalog = serde_json::from_str(
            r#"{"catalog": [{"id": "1", "name": "nova", "type": "compute", "endpoints": [
                {"id": "a", "interface": "public", "region": "RegionOne",
                 "region_id": "RegionOne", "url": "http://out:8774/v2.1"},
                {"id": "b", "interface": "internal", "region": "RegionTwo",
                 "region_id": "RegionTwo", "url": "http://two:8774/v2.1"},
                {"id": "c", "interface": "internal", "region": "RegionOne",
                 "region_id": "RegionOne", "url": "http://in:8774/v2.1/"}]}],
                "links": {"next": null}}"#,
        )
        .unwrap();
        assert_eq!(
            catalog.internal("compute", "RegionOne"),
            Some("http://in:8774/v2.1")
        );
        assert_eq!(catalog.internal("compute", "RegionThree"), None);
        assert_eq!(catalog.internal("image", "RegionOne"), None);
    }

    #[test]
    fn names_of_nodes_become_addresses_and_others_stay() {
        let hosts = Hosts::of(&Node::example(Role::Controller).config);
        let cases = [
            ("http://control:8774/v2.1", "http://10.20.0.11:8774/v2.1"),
            ("http://control.example.org/x", "http://10.20.0.11/x"),
            ("http://compute1", "http://10.20.0.21"),
            ("http://control2:80", "http://control2:80"),
            ("http://10.0.0.1:80/control", "http://10.0.0.1:80/control"),
        ];
        for (url, expected) in cases {
            assert_eq!(hosts.resolve(url), expected);
        }
    }
}
