//! `cellboot check`: everything that is wrong with a site, or what it describes. Writes nothing.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::fault::Class;
use crate::site::{Problem, Site};

/// What to check.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site
    #[arg(long, default_value = "site.toml")]
    pub site: PathBuf,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// The answer for programs.
#[derive(Serialize)]
struct Answer<'a> {
    file: &'a PathBuf,
    good: bool,
    problems: &'a [Problem],
}

/// Checks the site.
pub fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.json {
        let site = Site::load(&arguments.site)?;
        println!("{} is good", arguments.site.display());
        for node in &site.nodes {
            println!("  {:10}  {:15}  {}", node.role, node.address, node.name);
        }
        if let Some(shared) = &site.shared {
            let (count, prefix) = (shared.count, &shared.identify.name_prefix);
            println!("  compute     by DHCP          {count} with one seed, {prefix}-...");
        }
        return Ok(());
    }
    let examined = Site::examine(&arguments.site)?;
    let problems = examined.as_ref().err();
    let answer = Answer {
        file: &arguments.site,
        good: problems.is_none(),
        problems: problems.map_or(&[], |found| &found.problems),
    };
    let text = serde_json::to_string_pretty(&answer).context("writing the answer")?;
    println!("{text}");
    match problems {
        Some(found) => Err(Class::BadInput.error(found.to_string())),
        None => Ok(()),
    }
}
