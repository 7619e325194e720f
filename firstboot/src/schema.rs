//! The databases of a controller and the programs that give each its tables.
//!
//! The build runs every [`Schema`] once, so that an image has empty tables and its record
//! [`RECORD`]; the agent compares the databases of a node with the record and runs the same
//! commands where they differ. Nothing here connects to a database.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cmd::Cmd;
use crate::platform::Platform;

/// Where an image keeps the [`Record`] of the schemas that it was built with.
pub const RECORD: &str = "/usr/share/cellboot/schemas.json";

/// Database, then the sorted revisions that its `alembic_version` holds.
pub type Record = BTreeMap<String, Vec<String>>;

/// A database, and how its tables are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Name of the database.
    pub database: &'static str,
    /// Name of the account that owns it, and of the service in `secrets`.
    pub account: &'static str,
    /// The service in `platforms/*.toml` whose user runs the program.
    pub service: &'static str,
    /// The program in `platforms/*.toml` that makes the tables.
    pub program: &'static str,
    /// The section of the program's configuration that holds the connection.
    pub section: &'static str,
    /// Arguments after the configuration file.
    pub arguments: &'static [&'static str],
    /// What the program's configuration must hold besides the connection.
    pub preamble: &'static str,
}

const fn schema(
    database: &'static str,
    service: &'static str,
    program: &'static str,
    section: &'static str,
    arguments: &'static [&'static str],
) -> Schema {
    Schema {
        database,
        account: service,
        service,
        program,
        section,
        arguments,
        preamble: "",
    }
}

/// Nova keeps three databases under one account; its programs run as the user of its API.
const fn nova(
    database: &'static str,
    section: &'static str,
    arguments: &'static [&'static str],
) -> Schema {
    Schema {
        account: "nova",
        ..schema(database, "nova-api", "nova-manage", section, arguments)
    }
}

const ALL: [Schema; 7] = [
    schema(
        "keystone",
        "keystone",
        "keystone-manage",
        "database",
        &["db_sync"],
    ),
    schema(
        "glance",
        "glance",
        "glance-manage",
        "database",
        &["db", "sync"],
    ),
    schema(
        "placement",
        "placement",
        "placement-manage",
        "placement_database",
        &["db", "sync"],
    ),
    nova("nova_api", "api_database", &["api_db", "sync"]),
    // One cell at a time: without the flag nova-manage looks for cell0 in nova_api's mappings,
    // which hold no addresses yet when the image is built.
    nova("nova", "database", &["db", "sync", "--local_cell"]),
    nova("nova_cell0", "database", &["db", "sync", "--local_cell"]),
    Schema {
        account: "neutron",
        preamble: "[DEFAULT]\ncore_plugin = ml2\n",
        ..schema(
            "neutron",
            "neutron-api",
            "neutron-db-manage",
            "database",
            &["upgrade", "heads"],
        )
    },
];

/// Every database of a controller, in an order in which they can be made.
pub fn all() -> &'static [Schema] {
    &ALL
}

/// The schema of this database.
pub fn of(database: &str) -> Result<&'static Schema> {
    let found = ALL.iter().find(|schema| schema.database == database);
    found.with_context(|| format!("there is no schema for a database {database:?}"))
}

impl Schema {
    /// SQL that makes the empty database unless it exists.
    pub fn create(&self) -> String {
        format!(
            "CREATE DATABASE IF NOT EXISTS `{}` CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci;\n",
            self.database
        )
    }

    /// SQL that lists the revisions of the database, sorted, one a row.
    pub fn revisions(&self) -> String {
        format!(
            "SELECT version_num FROM `{}`.alembic_version ORDER BY version_num;\n",
            self.database
        )
    }

    /// The text of a configuration file with which the program finds the database. It holds the
    /// password of the URL: give it to nobody but the program's user.
    pub fn config(&self, url: &str) -> String {
        format!("{}[{}]\nconnection = {url}\n", self.preamble, self.section)
    }

    /// The program and its arguments, to be run as [`Schema::user`] wherever the image's file
    /// system is the root.
    pub fn argument_vector(&self, platform: &Platform, config: &Path) -> Result<Vec<String>> {
        let program = platform.program(self.program)?;
        let mut vector = vec![
            program.to_string_lossy().into_owned(),
            "--config-file".to_owned(),
            config.to_string_lossy().into_owned(),
        ];
        vector.extend(self.arguments.iter().map(|&argument| argument.to_owned()));
        Ok(vector)
    }

    /// The user that runs the program: a log that root made would be closed to the service.
    pub fn user<'a>(&self, platform: &'a Platform) -> Result<&'a str> {
        Ok(&platform.service(self.service)?.user)
    }

    /// The command that makes or upgrades the tables, as the service's user.
    pub fn command(&self, platform: &Platform, config: &Path) -> Result<Cmd> {
        let mut vector = self.argument_vector(platform, config)?.into_iter();
        let program = vector.next().context("an argument vector has a program")?;
        Ok(Cmd::new(program).args(vector).as_user(self.user(platform)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_finds_its_program_and_user_on_every_platform() {
        for name in Platform::names() {
            let platform = Platform::load(name).unwrap();
            for schema in all() {
                schema.command(&platform, Path::new("/x")).unwrap();
            }
        }
    }

    #[test]
    fn the_command_is_what_one_would_type() {
        let platform = Platform::load("debian-12").unwrap();
        let command = of("nova_cell0").unwrap();
        let command = command
            .command(&platform, Path::new("/run/a.conf"))
            .unwrap();
        assert_eq!(
            command.to_string(),
            "setpriv --reuid=nova --regid=nova --init-groups -- /usr/bin/nova-manage \
             --config-file /run/a.conf db sync --local_cell"
        );
    }

    #[test]
    fn neutron_is_told_its_plugin_or_it_would_make_no_tables() {
        assert_eq!(
            of("neutron").unwrap().config("mysql+pymysql://u@h/d"),
            "[DEFAULT]\ncore_plugin = ml2\n[database]\nconnection = mysql+pymysql://u@h/d\n"
        );
    }

    #[test]
    fn an_unknown_database_is_named() {
        assert_eq!(
            of("cinder").unwrap_err().to_string(),
            "there is no schema for a database \"cinder\""
        );
    }
}
