//! The table against itself.

use super::*;

#[test]
fn every_key_is_in_a_table_and_there_once() {
    for (index, key) in KEYS.iter().enumerate() {
        assert!(
            TABLES.iter().any(|table| table.name == key.table),
            "{}",
            key.table
        );
        let same = KEYS[..index]
            .iter()
            .any(|other| (other.table, other.name) == (key.table, key.name));
        assert!(!same, "{}.{} is there twice", key.table, key.name);
    }
}

#[test]
fn every_example_and_default_is_toml() {
    for key in KEYS {
        let parses = |value: &str| toml::from_str::<toml::Table>(&format!("x = {value}"));
        assert!(parses(key.example).is_ok(), "{}", key.example);
        if let Absent::Default(value) = key.absent {
            assert!(parses(value).is_ok(), "{value}");
        }
    }
}

#[test]
fn the_services_are_those_of_the_reference() {
    let table = TABLES.iter().find(|table| table.name == "override");
    for service in SERVICES {
        assert!(table.is_some_and(|table| table.meaning.contains(&format!("`{service}`"))));
    }
}
