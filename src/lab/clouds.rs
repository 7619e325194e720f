//! A `clouds.yaml` for this host, made from the controller's own: same credentials, but every
//! service is reached through its door on loopback instead of the address in the catalogue.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// The services with the path that a client's override of their endpoint ends in.
const PATHS: [(&str, &str); 5] = [
    ("identity", "/v3"),
    ("image", ""),
    ("placement", ""),
    ("compute", "/v2.1"),
    ("network", ""),
];

/// The address of each service behind these doors (service name to port on loopback).
pub fn endpoints(doors: &BTreeMap<String, u16>) -> BTreeMap<String, String> {
    let mut endpoints = BTreeMap::new();
    for (service, path) in PATHS
        .into_iter()
        .chain([("dashboard", "/dashboard/"), ("console", "/")])
    {
        if let Some(port) = doors.get(service) {
            endpoints.insert(service.to_owned(), format!("http://127.0.0.1:{port}{path}"));
        }
    }
    endpoints
}

/// The controller's file with the addresses of `endpoints`.
///
/// The file is one that the agent rendered, so lines are edited where they stand: a YAML reader
/// would have to write it again and could not keep its comments.
pub fn rewrite(text: &str, endpoints: &BTreeMap<String, String>) -> Result<String> {
    let Some(identity) = endpoints.get("identity") else {
        bail!("the lab has no door to the identity service");
    };
    let mut out = String::new();
    let mut clouds = 0;
    for line in text.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        match line.trim() {
            // also `auth: &anchor` and `auth: *anchor`
            trimmed if trimmed.starts_with("auth:") => {
                clouds += 1;
                for (service, _) in PATHS {
                    if let Some(url) = endpoints.get(service) {
                        out += &format!("{indent}{service}_endpoint_override: {url}\n");
                    }
                }
                out += &format!("{line}\n");
            }
            trimmed if trimmed.starts_with("auth_url:") => {
                out += &format!("{indent}auth_url: {identity}\n");
            }
            _ => out += &format!("{line}\n"),
        }
    }
    if clouds == 0 {
        bail!("the controller's clouds.yaml describes no cloud");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_goes_through_its_door() {
        let doors = [("identity", 4001), ("compute", 4002), ("dashboard", 4003)]
            .map(|(name, port)| (name.to_owned(), port));
        let endpoints = endpoints(&doors.into());
        assert_eq!(endpoints["dashboard"], "http://127.0.0.1:4003/dashboard/");
        let text = "clouds:\n  one:\n    auth: &one\n      auth_url: http://10.0.0.1:5000/v3\n      \
                    username: admin\n    region_name: RegionOne\n  two:\n    auth: *one\n";
        assert_eq!(
            rewrite(text, &endpoints).unwrap(),
            "clouds:\n  one:\n    identity_endpoint_override: http://127.0.0.1:4001/v3\n    \
             compute_endpoint_override: http://127.0.0.1:4002/v2.1\n    auth: &one\n      \
             auth_url: http://127.0.0.1:4001/v3\n      username: admin\n    \
             region_name: RegionOne\n  two:\n    \
             identity_endpoint_override: http://127.0.0.1:4001/v3\n    \
             compute_endpoint_override: http://127.0.0.1:4002/v2.1\n    auth: *one\n"
        );
        let error = rewrite("clouds: {}\n", &endpoints).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the controller's clouds.yaml describes no cloud"
        );
    }
}
