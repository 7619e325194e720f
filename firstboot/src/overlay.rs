//! `overlay.toml`: owner and mode of every file in an overlay tree.
//!
//! The path in a tree is the path on the node. A plain file is laid over the packages by the
//! build. A file that ends in `.j2` is a template: the build puts it below [`TEMPLATES`] with the
//! catalogue [`CATALOGUE`], and the agent renders it to its path without the ending.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where an image keeps its templates; the path below is the path of the rendered file + `.j2`.
pub const TEMPLATES: &str = "/usr/share/cellboot/templates";
/// Where an image keeps the [`Overlay`] of its templates, all trees of its role in one.
pub const CATALOGUE: &str = "/usr/share/cellboot/templates.toml";

/// An `overlay.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// One entry for each file of the tree.
    #[serde(default, rename = "file")]
    pub files: Vec<Entry>,
}

/// One file of an overlay tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Path on the node (for a template: of the rendered file).
    pub path: PathBuf,
    /// Permission bits in octal, as in `"0640"`.
    pub mode: String,
    /// Path in the tree, where it is another: one file serves platforms that have it in
    /// different places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// `user:group` by name, as in `"root:nova"`.
    pub owner: String,
    /// The service whose `[override.SERVICE.SECTION]` keys of `site.toml` go into this file.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overrides: Option<String>,
    /// Platforms that have this file; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<String>>,
}

impl Entry {
    /// The permission bits as a number.
    pub fn mode_bits(&self) -> anyhow::Result<u32> {
        u32::from_str_radix(&self.mode, 8).map_err(|_| {
            anyhow::anyhow!("{}: mode {:?} is not octal", self.path.display(), self.mode)
        })
    }

    /// True if images of this platform have the file.
    pub fn is_for(&self, platform: &str) -> bool {
        self.platforms
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name == platform))
    }
}
