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
use crate::site::{Node, Site};

/// Writes the seeds of some nodes, or of all when none is named, to `directory/NODE.img`.
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
    let nodes: Vec<&Node> = if nodes.is_empty() {
        site.nodes.iter().collect()
    } else {
        let named: Result<_> = nodes.iter().map(|name| site.node(name)).collect();
        named?
    };
    let mut paths = Vec::new();
    for node in nodes {
        let path = directory.join(format!("{}.img", node.name));
        write(site, platform, keys, &node.name, &path)?;
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
    let mut config = site.node_config(node, platform, release)?;
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
