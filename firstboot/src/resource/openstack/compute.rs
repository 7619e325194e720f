//! What nova says of its services, and its cells. Reads only.

use anyhow::{Result, ensure};
use serde::Deserialize;

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
    use crate::resource::openstack::scripted::{cloud, lines, ok};

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
