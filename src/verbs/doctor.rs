//! `cellboot doctor`: what this host has and lacks.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use firstboot::platform::Platform;

use crate::cache::Cache;
use crate::doctor::{self, Item, Standing, Subject};
use crate::engine::Mirrors;
use crate::fault::Class;
use crate::kickstart;
use crate::lab::start;
use crate::site::Site;
use crate::verbs::build::DEFAULT_PLATFORM;

/// Arguments of `cellboot doctor`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where images are built to
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// The site, whose mirror is asked; the platform's own if there is no site
    #[arg(long, value_name = "FILE", default_value = "site.toml")]
    site: PathBuf,
    /// As JSON on standard output
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let cache = Cache::default_directory()?;
    let site = arguments.site.exists().then(|| Site::load(&arguments.site));
    let site = site.transpose()?;
    let chosen = site
        .as_ref()
        .and_then(|site| site.platform.name.as_deref())
        .filter(|name| Platform::names().any(|known| known == *name));
    let platform = Platform::load(chosen.unwrap_or(DEFAULT_PLATFORM))?;
    let mirror = match (&platform.tree, &site) {
        (Some(tree), Some(site)) => kickstart::Mirrors::of(tree, site).main,
        (Some(tree), None) => tree.main.clone(),
        (None, site) => Mirrors::of(&platform, site.as_ref())?.main,
    };
    let subject = Subject {
        directories: &[arguments.out.clone(), cache.clone()],
        mirror: &mirror,
        kernel: start::any_kernel(&arguments.out),
        cache: &cache,
    };
    let items = doctor::examine(&subject)?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&items).context("writing what was found")? + "\n"
    } else {
        table(&items)
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")?;
    let lacking = items
        .iter()
        .filter(|item| item.standing == Standing::Lacking);
    let names: Vec<&str> = lacking.map(|item| item.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Class::MissingOnHost.error(format!("this host lacks: {}", names.join(", "))))
}

fn table(items: &[Item]) -> String {
    let width = items.iter().map(|item| item.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for item in items {
        let mark = match item.standing {
            Standing::Good => "ok",
            Standing::Poor => "slow",
            Standing::Lacking => "LACKS",
        };
        text += &format!("{mark:<5} {:<width$}  {}\n", item.name, item.found);
        if !item.fix.is_empty() {
            text += &format!("      {:<width$}  fix: {}\n", "", item.fix);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fix_stands_below_what_it_mends() {
        let item = |name: &str, standing, fix: &str| Item {
            name: name.into(),
            standing,
            found: "found".into(),
            fix: fix.into(),
        };
        let items = [
            item("ssh", Standing::Good, ""),
            item("mirror", Standing::Lacking, "mend it"),
        ];
        assert_eq!(
            table(&items),
            "ok    ssh     found\n\
             LACKS mirror  found\n\
             \u{20}             fix: mend it\n"
        );
    }
}
