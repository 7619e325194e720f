//! What nova says of its services, its hypervisors and its cells, and which services it uses.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use ureq::http::Method;

use super::session::Session;
use crate::node::Node;
use crate::resource::sql;

/// A service of nova as it reported itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ComputeService {
    /// The program, as in `nova-scheduler`.
    pub binary: String,
    /// The host it runs on.
    pub host: String,
    /// `enabled` or `disabled`: whether it is used.
    pub status: String,
    /// `up` or `down`: whether it reports.
    pub state: String,
}

#[derive(Deserialize)]
struct Services {
    services: Vec<ComputeService>,
}

/// All services of nova that have reported.
pub fn services(session: &Session) -> Result<Vec<ComputeService>> {
    let list: Services = session.get("compute", "/os-services", &[])?;
    Ok(list.services)
}

/// From here on services and hypervisors have UUIDs.
const VERSION: &str = "compute 2.53";

/// The nova-compute service of a host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Compute {
    /// Its UUID.
    pub id: String,
    /// The host it runs on.
    pub host: String,
    /// `enabled` or `disabled`: whether instances go there.
    pub status: String,
    /// `up` or `down`: whether it reports.
    pub state: String,
}

/// All nova-compute services.
pub fn computes(session: &Session) -> Result<Vec<Compute>> {
    #[derive(Deserialize)]
    struct Computes {
        services: Vec<Compute>,
    }
    let list: Computes = get(session, "/os-services", &[("binary", "nova-compute")])?;
    Ok(list.services)
}

/// UUID of the hypervisor of each host, which is that of its resource provider.
pub fn hypervisors(session: &Session) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Hypervisors {
        hypervisors: Vec<Hypervisor>,
    }
    #[derive(Deserialize)]
    struct Hypervisor {
        id: String,
        service: Host,
    }
    #[derive(Deserialize)]
    struct Host {
        host: String,
    }
    let list: Hypervisors = get(session, "/os-hypervisors/detail", &[])?;
    let of_host = |it: Hypervisor| (it.service.host, it.id);
    Ok(list.hypervisors.into_iter().map(of_host).collect())
}

/// Lets instances onto the host of a nova-compute service, or keeps new ones off it.
pub fn set_enabled(session: &Session, service: &str, enabled: bool) -> Result<()> {
    let status = if enabled { "enabled" } else { "disabled" };
    let call = session.call(Method::PUT, "compute", &format!("/os-services/{service}"))?;
    let call = call.header(VERSION_HEADER, VERSION);
    call.json(&json!({"status": status}))?
        .send()?
        .success()
        .map(drop)
}

/// Removes a nova-compute service, and with it the host's mapping and its resource provider; one
/// that is gone is no error.
///
/// # Errors
/// Nova refuses while instances are there.
pub fn delete_service(session: &Session, service: &str) -> Result<()> {
    let path = format!("/os-services/{service}");
    let call = session.call(Method::DELETE, "compute", &path)?;
    call.header(VERSION_HEADER, VERSION)
        .send()?
        .exists()
        .map(drop)
}

/// Names of the instances of a host, of every project.
pub fn servers_on(session: &Session, host: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Servers {
        servers: Vec<Server>,
    }
    #[derive(Deserialize)]
    struct Server {
        name: String,
    }
    let query = [("all_tenants", "1"), ("host", host)];
    let list: Servers = get(session, "/servers", &query)?;
    Ok(list.servers.into_iter().map(|server| server.name).collect())
}

const VERSION_HEADER: &str = "OpenStack-API-Version";

fn get<T: DeserializeOwned>(session: &Session, path: &str, query: &[(&str, &str)]) -> Result<T> {
    let call = session.call(Method::GET, "compute", path)?;
    call.header(VERSION_HEADER, VERSION)
        .query(query)
        .send()?
        .json()
}

/// A row of nova's table of cells.
#[derive(Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its name.
    pub name: String,
    /// Its identifier; cell0 has all zeros.
    pub uuid: String,
    /// Where its messages go. May hold a password where it is no template.
    pub transport_url: String,
    /// Where its database is. May hold a password where it is no template.
    pub database_connection: String,
    /// True if nothing is scheduled to it.
    pub is_disabled: bool,
}

/// All cells. Nova has no API for them: read from its database, without a Python start.
pub fn cells(node: &Node) -> Result<Vec<Cell>> {
    let rows = sql::query(
        node,
        "SELECT name, uuid, transport_url, database_connection, disabled \
         FROM nova_api.cell_mappings ORDER BY id",
    )?;
    rows.into_iter().map(cell).collect()
}

fn cell(row: Vec<String>) -> Result<Cell> {
    ensure!(
        row.len() == 5,
        "a row of nova_api.cell_mappings has {} columns instead of 5",
        row.len()
    );
    let mut columns = row.into_iter();
    let mut next = || columns.next().unwrap_or_default();
    Ok(Cell {
        name: next(),
        uuid: next(),
        transport_url: next(),
        database_connection: next(),
        is_disabled: next() != "0",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::openstack::scripted::{cloud, lines, no_content, ok};

    #[test]
    fn computes_are_asked_for_with_their_uuids() {
        // As in the compute API's reference (2.53).
        let services = ok(r#"{"services": [{"id": "u1", "binary": "nova-compute",
            "host": "one", "state": "up", "status": "disabled", "zone": "nova",
            "disabled_reason": null, "forced_down": false}]}"#);
        let hypervisors = ok(
            r#"{"hypervisors": [{"id": "p1", "state": "up", "status": "enabled",
            "hypervisor_hostname": "one.example.org",
            "service": {"host": "one", "id": "u1", "disabled_reason": null}}]}"#,
        );
        let servers = ok(r#"{"servers": [{"id": "s", "name": "web", "links": []}]}"#);
        let answers = vec![services, hypervisors, servers, ok("{}"), no_content()];
        let (session, peer) = cloud("compute", "/v2.1", answers);
        let found = computes(&session).unwrap();
        assert_eq!(
            (found[0].id.as_str(), found[0].host.as_str()),
            ("u1", "one")
        );
        assert_eq!(super::hypervisors(&session).unwrap()["one"], "p1");
        assert_eq!(servers_on(&session, "one").unwrap(), ["web"]);
        set_enabled(&session, "u1", true).unwrap();
        delete_service(&session, "u1").unwrap();
        let requests = peer.join();
        assert_eq!(
            lines(&requests)[1..],
            [
                "GET /v2.1/os-services?binary=nova-compute",
                "GET /v2.1/os-hypervisors/detail",
                "GET /v2.1/servers?all_tenants=1&host=one",
                "PUT /v2.1/os-services/u1",
                "DELETE /v2.1/os-services/u1"
            ]
        );
        for request in &requests[2..] {
            assert_eq!(
                request.header("openstack-api-version"),
                Some("compute 2.53")
            );
        }
        assert_eq!(requests[5].body, r#"{"status":"enabled"}"#);
    }

    #[test]
    fn services_are_read() {
        // As in the compute API's reference (2.1).
        let (session, peer) = cloud(
            "compute",
            "/v2.1",
            vec![ok(r#"{"services": [
            {"id": 1, "binary": "nova-scheduler", "disabled_reason": "test1", "host": "host1",
             "state": "up", "status": "disabled", "updated_at": "2012-10-29T13:42:02.000000",
             "zone": "internal"}]}"#)],
        );
        let expected = ComputeService {
            binary: "nova-scheduler".into(),
            host: "host1".into(),
            status: "disabled".into(),
            state: "up".into(),
        };
        assert_eq!(services(&session).unwrap(), [expected]);
        assert_eq!(lines(&peer.join())[1], "GET /v2.1/os-services");
    }

    #[test]
    fn a_row_is_a_cell() {
        let row = ["cell1", "u", "rabbit://", "mysql://", "0"];
        let cell = cell(row.map(str::to_owned).to_vec()).unwrap();
        assert!(!cell.is_disabled);
        assert_eq!(
            (cell.name.as_str(), cell.database_connection.as_str()),
            ("cell1", "mysql://")
        );
        let error = super::cell(vec![String::new()]).err().unwrap();
        assert_eq!(
            error.to_string(),
            "a row of nova_api.cell_mappings has 1 columns instead of 5"
        );
    }
}
