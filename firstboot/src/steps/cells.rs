//! The rows that tell Nova's API where its cells are.
//!
//! `nova-manage cell_v2` would write the same rows in three Python starts. The addresses are
//! templates that Nova fills in from its own configuration, so that no password is stored in the
//! database and a new one needs no command.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::files;
use crate::node::Node;
use crate::resource::sql::{self, quote};
use crate::step::{Check, Step};

const CELL0_UUID: &str = "00000000-0000-0000-0000-000000000000";
const KERNEL_UUID: &str = "/proc/sys/kernel/random/uuid";

struct Cell {
    name: &'static str,
    transport: &'static str,
    database: &'static str,
}

const CELLS: [Cell; 2] = [
    // Where instances go that no compute could take; nobody listens there.
    Cell {
        name: "cell0",
        transport: "none:///",
        database: "{scheme}://{username}:{password}@{hostname}:{port}/nova_cell0?{query}",
    },
    Cell {
        name: "cell1",
        transport: "{scheme}://{username}:{password}@{hostname}:{port}/{path}?{query}",
        database: "{scheme}://{username}:{password}@{hostname}:{port}/{path}?{query}",
    },
];

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step::new("nova/cells", "cell0 is mapped and cell1 exists")
            .needs(["nova/schema-api"])
            .hint("look at the cells: `nova-manage cell_v2 list_cells`")
            .check(|context| check(context))
            .apply(|context| sql::execute(context, &statements(&new_uuid()?))),
    ]
}

fn check(node: &Node) -> Result<Check> {
    let rows = sql::query(
        node,
        "SELECT name, transport_url, database_connection FROM nova_api.cell_mappings \
         WHERE disabled = 0 ORDER BY name;",
    )?;
    for cell in CELLS {
        let expected = [cell.name, cell.transport, cell.database];
        let count = rows.iter().filter(|row| row[0] == cell.name).count();
        if count != 1 || !rows.iter().any(|row| row.iter().eq(expected)) {
            return Ok(Check::Todo(format!(
                "{} is not mapped as it should be",
                cell.name
            )));
        }
    }
    Ok(Check::Done)
}

/// One transaction that makes what is missing and mends what is there.
fn statements(uuid_of_cell1: &str) -> String {
    let mut text = String::from("START TRANSACTION;\n");
    for cell in CELLS {
        let (name, transport, database) = (
            quote(cell.name),
            quote(cell.transport),
            quote(cell.database),
        );
        let uuid = quote(if cell.name == "cell0" {
            CELL0_UUID
        } else {
            uuid_of_cell1
        });
        text.push_str(&format!(
            "INSERT INTO nova_api.cell_mappings \
             (created_at, uuid, name, transport_url, database_connection, disabled) \
             SELECT UTC_TIMESTAMP(), {uuid}, {name}, {transport}, {database}, 0 FROM DUAL \
             WHERE NOT EXISTS (SELECT 1 FROM nova_api.cell_mappings WHERE name = {name});\n\
             UPDATE nova_api.cell_mappings \
             SET transport_url = {transport}, database_connection = {database}, disabled = 0 \
             WHERE name = {name};\n"
        ));
    }
    text.push_str("COMMIT;\n");
    text
}

fn new_uuid() -> Result<String> {
    let text = files::read_if_exists(Path::new(KERNEL_UUID))?;
    let uuid = text.with_context(|| format!("reading {KERNEL_UUID}"))?;
    Ok(uuid.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_of_a_cell_holds_a_password() {
        for cell in CELLS {
            assert!(!cell.database.contains("mysql"), "{}", cell.name);
            assert!(cell.database.contains("{password}"), "{}", cell.name);
        }
    }

    #[test]
    fn the_kernel_gives_a_new_uuid_each_time() {
        let uuid = new_uuid().unwrap();
        assert_eq!(uuid.len(), 36);
        assert_ne!(uuid, new_uuid().unwrap());
    }

    #[test]
    fn cell0_has_the_uuid_that_nova_expects() {
        assert!(statements("u").contains("'00000000-0000-0000-0000-000000000000', 'cell0'"));
    }
}
