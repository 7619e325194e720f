//! `cellboot init`: a first `site.toml`, commented, that works as it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firstboot::files::{self, Ownership};

use crate::fault::Class;
use crate::site::starter::Starter;

/// Where it goes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site to write
    #[arg(long, default_value = "site.toml")]
    pub site: PathBuf,
}

/// Writes the site, unless there is one.
pub fn run(arguments: &Arguments) -> Result<()> {
    let path = &arguments.site;
    if path.symlink_metadata().is_ok() {
        return Err(Class::BadInput.error(format!(
            "there is a {} already\nhint: edit it, move it away, or give another path with --site",
            path.display()
        )));
    }
    let mut id = [0; 2];
    getrandom::fill(&mut id).context("asking the kernel for random bytes")?;
    let starter = Starter {
        id,
        authorized_key_files: public_keys(std::env::home_dir().as_deref()),
    };
    files::replace(path, starter.text().as_bytes(), Ownership::mode(0o644))?;
    eprintln!("{} is written; next:", path.display());
    let site = match path.to_str() {
        Some("site.toml") | None => String::new(),
        Some(other) => format!(" --site {other}"),
    };
    let make = site.replace(" --site ", " SITE=");
    eprintln!("  cellboot check{site}    what is wrong with it, if anything");
    eprintln!("  make images{make}       builds both images and the seeds");
    Ok(())
}

/// The owner's public keys, as `site.toml` names them; only those that a site would accept.
fn public_keys(home: Option<&Path>) -> Vec<String> {
    let Some(entries) = home.and_then(|home| home.join(".ssh").read_dir().ok()) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".pub"))
        .map(|name| format!("~/.ssh/{name}"))
        .filter(|name| crate::site::is_public_key_file(name))
        .collect();
    found.sort();
    found
}
