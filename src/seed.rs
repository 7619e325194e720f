//! The seeds of a site: what each says, and where they are written.
//!
//! How a seed becomes a volume is [`firstboot::volume`]'s business.

use std::path::{Path, PathBuf};

use anyhow::Result;
use firstboot::config::Role;
use firstboot::platform::Platform;
use firstboot::volume::Volume;

use crate::keys::Keys;
use crate::membership::Membership;
use crate::site::{SHARED_SEED, Site};

/// Writes the seeds of some nodes, or of all when none is named, to `directory/NODE.img`. That
/// which computes share goes by [`SHARED_SEED`].
///
/// # Errors
/// When the site has no such node, its keys cannot be read, or a file cannot be written.
pub fn write_all(
    site: &Site,
    platform: &Platform,
    keys: &Keys,
    nodes: &[String],
    directory: &Path,
) -> Result<Vec<PathBuf>> {
    let shared = site.shared.as_ref().map(|_| SHARED_SEED.to_owned());
    let all = || site.nodes.iter().map(|node| node.name.clone());
    let names: Vec<String> = match nodes {
        [] => all().chain(shared).collect(),
        named => named.to_vec(),
    };
    // Nothing is written if one of them does not exist.
    let seeds: Result<Vec<Volume>> = names
        .iter()
        .map(|name| of(site, platform, keys, name))
        .collect();
    let mut paths = Vec::new();
    for (name, seed) in names.iter().zip(seeds?) {
        let path = directory.join(format!("{name}.img"));
        seed.write(&path)?;
        paths.push(path);
    }
    Ok(paths)
}

/// Writes the seed of one node: whole or not at all, and closed to others.
///
/// # Errors
/// As [`of`], or when the file cannot be written.
pub fn write(site: &Site, platform: &Platform, keys: &Keys, node: &str, path: &Path) -> Result<()> {
    of(site, platform, keys, node)?.write(path)
}

/// The seed of a node. The site's own key always may log in.
///
/// # Errors
/// When the site has no such node, or its secrets cannot be read.
pub fn of(site: &Site, platform: &Platform, keys: &Keys, node: &str) -> Result<Volume> {
    let release = site.release_on(platform);
    let mut config = match &site.shared {
        Some(shared) if node == SHARED_SEED => site.shared_config(shared, platform, release),
        _ => site.node_config(node, platform, release)?,
    };
    let membership = Membership::of(site, keys.directory())?;
    match config.role {
        Role::Controller => config.registrar = Some(membership.registrar()),
        Role::Compute => config.join = membership.join(&config.name),
    }
    let own = keys.ssh_public_key()?;
    let mut authorized = vec![own.as_str()];
    authorized.extend(site.authorized_keys.iter().map(String::as_str));
    Volume::of(&config, &authorized)
}
