//! `firstboot node`: the computes of a controller's cell.

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;

use super::Verdict;
use super::registrar::controller;
use crate::registrar::removal;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the computes that were let in
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a compute out of its cell, with all that its join made
    Remove {
        /// Its name
        name: String,
    },
}

pub(super) fn run(verb: &Verb) -> Result<Verdict> {
    let (node, _, store) = controller()?;
    match verb {
        Verb::List { json } => {
            let rows: Vec<NodeRow> = store
                .read()?
                .nodes
                .into_iter()
                .map(|(name, member)| NodeRow {
                    name,
                    address: member.address.to_string(),
                    state: match member.membership {
                        Some(_) => "joined",
                        None => "enrolled",
                    },
                    mapped_seconds: member
                        .membership
                        .as_ref()
                        .map(|it| it.milliseconds as f64 / 1000.0),
                    cell: member.membership.map(|it| it.cell),
                    compute_id: member.compute_id,
                    key: member.key.0,
                })
                .collect();
            if *json {
                super::print_json(&rows)?;
            } else {
                for row in &rows {
                    super::print(&row.text())?;
                }
            }
        }
        Verb::Remove { name } => {
            removal::remove(&node, &store, name, |text| eprintln!("{text}"))?;
            super::print(&format!("{name} is no member any more"))?;
        }
    }
    Ok(Verdict::Good)
}

/// A node as it is listed.
#[derive(Serialize)]
struct NodeRow {
    name: String,
    address: String,
    state: &'static str,
    cell: Option<String>,
    /// From its service's first report to mapped and enabled.
    mapped_seconds: Option<f64>,
    compute_id: String,
    key: String,
}

impl NodeRow {
    fn text(&self) -> String {
        let cell = self.cell.as_deref().unwrap_or("-");
        let key = self.key.get(..12).unwrap_or(&self.key);
        let mapped = self
            .mapped_seconds
            .map_or_else(String::new, |seconds| format!("  mapped in {seconds:.1} s"));
        format!(
            "{:16} {:15} {:8} {cell:8} key {key}{mapped}",
            self.name, self.address, self.state
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_listed_by_how_far_it_is() {
        let row = NodeRow {
            name: "one".into(),
            address: "10.20.0.21".into(),
            state: "enrolled",
            cell: None,
            mapped_seconds: None,
            compute_id: "c".into(),
            key: "0123456789abcdef".into(),
        };
        let expected = "one              10.20.0.21      enrolled -        key 0123456789ab";
        assert_eq!(row.text(), expected);
        let joined = NodeRow {
            state: "joined",
            cell: Some("cell1".into()),
            mapped_seconds: Some(21.04),
            ..row
        };
        let expected =
            "one              10.20.0.21      joined   cell1    key 0123456789ab  mapped in 21.0 s";
        assert_eq!(joined.text(), expected);
    }
}
