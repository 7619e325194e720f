//! The catalog that users see: services, each with its public, internal and admin endpoint.

use std::fmt;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;

use super::session::Session;
use crate::step::Check;

const INTERFACES: [&str; 3] = ["public", "internal", "admin"];

/// A service of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service<'a> {
    /// Its type, as in `compute`.
    pub kind: &'a str,
    /// Its name, as in `nova`.
    pub name: &'a str,
    /// What people read about it.
    pub description: &'a str,
    /// The region of its endpoints.
    pub region: &'a str,
    /// The URL of all three endpoints.
    pub url: &'a str,
}

#[derive(Deserialize)]
struct Services {
    services: Vec<FoundService>,
}

#[derive(Deserialize)]
struct FoundService {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    enabled: bool,
}

#[derive(Deserialize)]
struct Endpoints {
    endpoints: Vec<FoundEndpoint>,
}

#[derive(Deserialize)]
struct FoundEndpoint {
    id: String,
    service_id: String,
    interface: String,
    region_id: Option<String>,
    url: String,
    #[serde(default)]
    enabled: bool,
}

#[derive(Deserialize)]
struct Made {
    service: FoundService,
}

/// One thing in which the catalog differs from what it should be.
struct Difference<'a> {
    service: &'a Service<'a>,
    what: What,
}

enum What {
    NoService,
    /// The service with this identifier is named otherwise, or disabled.
    OtherService(String),
    /// No endpoint of this interface; the identifier of the service where it has one.
    NoEndpoint(&'static str, Option<String>),
    /// The endpoint of this interface and identifier leads elsewhere, or is disabled.
    OtherEndpoint(&'static str, String),
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.service.kind;
        match &self.what {
            What::NoService => write!(f, "the catalog has no service {kind}"),
            What::OtherService(_) => {
                write!(
                    f,
                    "the service {kind} is disabled or not {}",
                    self.service.name
                )
            }
            What::NoEndpoint(interface, _) => {
                write!(f, "the service {kind} has no {interface} endpoint")
            }
            What::OtherEndpoint(interface, _) => {
                let url = self.service.url;
                write!(
                    f,
                    "the {interface} endpoint of {kind} is disabled or not {url}"
                )
            }
        }
    }
}

/// Whether the catalog has these services and their endpoints. Two calls, however many they are.
pub fn check_services(session: &Session, wanted: &[Service]) -> Result<Check> {
    let differences = differences(session, wanted)?;
    Ok(match differences.first() {
        None => Check::Done,
        Some(first) => Check::Todo(first.to_string()),
    })
}

/// Makes or corrects what of these services and endpoints is not as it should be.
pub fn ensure_services(session: &Session, wanted: &[Service]) -> Result<()> {
    let mut made: Option<(&str, String)> = None;
    for Difference { service, what } in differences(session, wanted)? {
        let Service { kind, name, .. } = service;
        match what {
            What::NoService => {
                let body = json!({"service": {
                    "type": kind, "name": name, "description": service.description,
                    "enabled": true,
                }});
                let call = session.call(Method::POST, "identity", "/services")?;
                let answer: Made = call.json(&body)?.send()?.json()?;
                made = Some((kind, answer.service.id));
            }
            What::OtherService(id) => {
                let body = json!({"service": {"name": name, "enabled": true}});
                change(session, Method::PATCH, &format!("/services/{id}"), &body)?;
            }
            What::NoEndpoint(interface, id) => {
                // A missing service comes before its endpoints.
                let just_made = made.iter().find(|(known, _)| known == kind);
                let id = id.or_else(|| just_made.map(|(_, id)| id.clone()));
                let id = id.with_context(|| format!("the service {kind} has no identifier"))?;
                let body = json!({"endpoint": {
                    "service_id": id, "interface": interface, "region_id": service.region,
                    "url": service.url, "enabled": true,
                }});
                change(session, Method::POST, "/endpoints", &body)?;
            }
            What::OtherEndpoint(_, id) => {
                let body = json!({"endpoint": {"url": service.url, "enabled": true}});
                change(session, Method::PATCH, &format!("/endpoints/{id}"), &body)?;
            }
        }
        session.forget_catalog();
    }
    Ok(())
}

fn differences<'a>(session: &Session, wanted: &'a [Service<'a>]) -> Result<Vec<Difference<'a>>> {
    let Services { services } = session.get("identity", "/services", &[])?;
    let Endpoints { endpoints } = session.get("identity", "/endpoints", &[])?;
    let mut differences = Vec::new();
    for service in wanted {
        let mut note = |what| differences.push(Difference { service, what });
        let found = services.iter().find(|found| found.kind == service.kind);
        match found {
            None => note(What::NoService),
            Some(found) if found.name != service.name || !found.enabled => {
                note(What::OtherService(found.id.clone()));
            }
            Some(_) => {}
        }
        for interface in INTERFACES {
            let endpoint = endpoints.iter().find(|endpoint| {
                found.is_some_and(|found| found.id == endpoint.service_id)
                    && endpoint.interface == interface
                    && endpoint.region_id.as_deref() == Some(service.region)
            });
            match endpoint {
                None => note(What::NoEndpoint(
                    interface,
                    found.map(|found| found.id.clone()),
                )),
                Some(endpoint) if endpoint.url != service.url || !endpoint.enabled => {
                    note(What::OtherEndpoint(interface, endpoint.id.clone()));
                }
                Some(_) => {}
            }
        }
    }
    Ok(differences)
}

fn change(session: &Session, method: Method, path: &str, body: &Value) -> Result<()> {
    let call = session.call(method, "identity", path)?.json(body)?;
    call.send()?.success().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::openstack::scripted::{Reply, keystone, lines, ok};

    const NOVA: Service = Service {
        kind: "compute",
        name: "nova",
        description: "Compute",
        region: "RegionOne",
        url: "http://control:8774/v2.1",
    };

    fn services() -> Reply {
        ok(r#"{"links": {"next": null}, "services": [
            {"id": "s1", "type": "compute", "name": "nova", "enabled": true, "links": {}},
            {"id": "s2", "type": "network", "name": "quantum", "enabled": true, "links": {}}]}"#)
    }

    fn endpoints(of: &[(&str, &str, &str)]) -> Reply {
        let rows: Vec<_> = of
            .iter()
            .map(|(interface, region, url)| {
                json!({"id": format!("e-{interface}"), "service_id": "s1", "enabled": true,
                       "interface": interface, "region": region, "region_id": region,
                       "url": url, "links": {}})
            })
            .collect();
        ok(&json!({"endpoints": rows, "links": {"next": null}}).to_string())
    }

    fn complete() -> Reply {
        endpoints(&[
            ("public", "RegionOne", NOVA.url),
            ("internal", "RegionOne", NOVA.url),
            ("admin", "RegionOne", NOVA.url),
        ])
    }

    #[test]
    fn a_complete_catalog_is_left_alone() {
        let (session, peer) = keystone(vec![services(), complete()]);
        ensure_services(&session, &[NOVA]).unwrap();
        assert_eq!(
            lines(&peer.join()),
            ["GET /v3/services", "GET /v3/endpoints"]
        );
    }

    #[test]
    fn each_difference_is_told() {
        let network = Service {
            kind: "network",
            name: "neutron",
            ..NOVA
        };
        let image = Service {
            kind: "image",
            name: "glance",
            ..NOVA
        };
        let moved = Service {
            url: "http://other",
            ..NOVA
        };
        let elsewhere = Service {
            region: "RegionTwo",
            ..NOVA
        };
        let cases = [
            (image, "the catalog has no service image"),
            (network, "the service network is disabled or not neutron"),
            (
                moved,
                "the public endpoint of compute is disabled or not http://other",
            ),
            (elsewhere, "the service compute has no public endpoint"),
        ];
        for (service, expected) in cases {
            let (session, peer) = keystone(vec![services(), complete()]);
            assert_eq!(
                check_services(&session, &[NOVA, service]).unwrap(),
                Check::Todo(expected.into())
            );
            peer.join();
        }
    }

    #[test]
    fn a_missing_service_is_made_with_its_endpoints() {
        let image = Service {
            kind: "image",
            name: "glance",
            description: "Images",
            region: "RegionOne",
            url: "http://control:9292",
        };
        let (session, peer) = keystone(vec![
            services(),
            complete(),
            ok(r#"{"service": {"id": "s9", "type": "image", "name": "glance"}}"#),
            ok(r#"{"endpoint": {}}"#),
            ok(r#"{"endpoint": {}}"#),
            ok(r#"{"endpoint": {}}"#),
        ]);
        ensure_services(&session, &[NOVA, image]).unwrap();
        let requests = peer.join();
        assert_eq!(
            lines(&requests)[2..],
            [
                "POST /v3/services",
                "POST /v3/endpoints",
                "POST /v3/endpoints",
                "POST /v3/endpoints"
            ]
        );
        let body: Value = serde_json::from_str(&requests[4].body).unwrap();
        assert_eq!(
            body,
            json!({"endpoint": {"service_id": "s9", "interface": "public",
                "region_id": "RegionOne", "url": "http://control:9292", "enabled": true}})
        );
    }

    #[test]
    fn a_lost_endpoint_is_made_and_a_wrong_one_is_corrected() {
        let (session, peer) = keystone(vec![
            services(),
            endpoints(&[
                ("public", "RegionOne", "http://old:8774"),
                ("internal", "RegionOne", NOVA.url),
            ]),
            ok(r#"{"endpoint": {}}"#),
            ok(r#"{"endpoint": {}}"#),
        ]);
        ensure_services(&session, &[NOVA]).unwrap();
        let requests = peer.join();
        assert_eq!(
            lines(&requests)[2..],
            ["PATCH /v3/endpoints/e-public", "POST /v3/endpoints"]
        );
        let body: Value = serde_json::from_str(&requests[4].body).unwrap();
        assert_eq!(body["endpoint"]["interface"], "admin");
        assert_eq!(body["endpoint"]["service_id"], "s1");
    }
}
