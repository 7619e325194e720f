//! What the lab knows about its machines between two commands: `lab.json` in its directory.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firstboot::config::Role;
use firstboot::files::{self, Ownership};
use serde::{Deserialize, Serialize};

use super::accel::Accelerator;
use super::machine::{Firmware, Machine};
use super::network::Forward;

/// Everything that outlives a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// How the processors are run.
    pub accelerator: Accelerator,
    /// What the machines start with.
    pub firmware: Firmware,
    /// The site's private key.
    pub key: PathBuf,
    /// The nodes, controller first.
    pub nodes: Vec<Node>,
}

/// One node of the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What it is for.
    pub role: Role,
    /// Its management address.
    pub address: Ipv4Addr,
    /// The machine that is it.
    pub machine: Machine,
    /// Its doors on loopback, by the name of what is behind them.
    pub doors: BTreeMap<String, Forward>,
    /// Where in the serial log its present boot begins.
    pub boot_begins: u64,
    /// The image that its disk is laid over.
    pub image: Image,
}

impl Node {
    /// True if its machine runs.
    pub fn is_on(&self) -> bool {
        matches!(self.machine.process().pid(), Ok(Some(_)))
    }
}

/// An image file, as it was when a disk was laid over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Where it is.
    pub path: PathBuf,
    size: u64,
    changed_ns: i128,
}

impl Image {
    /// The file as it is now.
    pub fn at(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path)
            .with_context(|| format!("looking for the image {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            size: metadata.size(),
            changed_ns: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
        })
    }

    /// True if the file is still the one that the disk was laid over.
    pub fn is_unchanged(&self) -> bool {
        Self::at(&self.path).is_ok_and(|now| now == *self)
    }
}

impl State {
    fn path(directory: &Path) -> PathBuf {
        directory.join("lab.json")
    }

    /// The state of the lab in a directory, if there is one.
    pub fn load(directory: &Path) -> Result<Option<Self>> {
        let path = Self::path(directory);
        let Some(text) = files::read_if_exists(&path)? else {
            return Ok(None);
        };
        let state = serde_json::from_str(&text).with_context(|| {
            format!(
                "reading {}\nhint: another version of cellboot made this lab; end its QEMU and \
                 remove {}",
                path.display(),
                directory.display()
            )
        })?;
        Ok(Some(state))
    }

    /// Keeps it.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("writing the lab's state")?;
        files::replace(&Self::path(directory), &text, Ownership::mode(0o600))
    }
}
