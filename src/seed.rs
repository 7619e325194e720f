//! The seeds of a site: what each says, and where they are written.
//!
//! How a seed becomes a volume is [`firstboot::volume`]'s business.

use std::path::{Path, PathBuf};

use anyhow::Result;
use firstboot::config::Role;
use firstboot::files::{Ownership, replace};
use firstboot::platform::Platform;
use firstboot::volume::Volume;

use crate::keys::Keys;
use crate::membership::Membership;
use crate::site::{SHARED_SEED, Site};

/// What carries a seed to its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Carrier {
    /// A FAT volume labelled CIDATA: NODE.img
    Volume,
    /// A config drive, labelled config-2: NODE-config-2.img
    ConfigDrive,
    /// Three files, as Proxmox's --cicustom takes them: NODE.user-data, NODE.meta-data,
    /// NODE.network-config
    Files,
}

impl Carrier {
    /// The files of a seed: what their names end in after the node's, and their content.
    fn files(self, seed: &Volume) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(match self {
            Self::Volume => vec![(".img".to_owned(), seed.image()?)],
            Self::ConfigDrive => vec![("-config-2.img".to_owned(), seed.config_drive()?)],
            Self::Files => {
                let files = seed.files().into_iter();
                files
                    .map(|(name, text)| (format!(".{name}"), text.into()))
                    .collect()
            }
        })
    }
}

/// Writes the seeds of some nodes, or of all when none is named, into `directory`. That which
/// computes share goes by [`SHARED_SEED`].
///
/// # Errors
/// When the site has no such node, its keys cannot be read, or a file cannot be written.
pub fn write_all(
    site: &Site,
    platform: &Platform,
    keys: &Keys,
    nodes: &[String],
    carrier: Carrier,
    directory: &Path,
) -> Result<Vec<PathBuf>> {
    let shared = site.shared.as_ref().map(|_| SHARED_SEED.to_owned());
    let all = || site.nodes.iter().map(|node| node.name.clone());
    let names: Vec<String> = match nodes {
        [] => all().chain(shared).collect(),
        named => named.to_vec(),
    };
    // Nothing is written if one of them does not exist.
    let mut files = Vec::new();
    for name in &names {
        for (end, content) in carrier.files(&of(site, platform, keys, name)?)? {
            files.push((directory.join(format!("{name}{end}")), content));
        }
    }
    for (path, content) in &files {
        replace(path, content, Ownership::mode(0o600))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
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
