//! `manifest.json`: what was built, from what, how large it is and how long each stage took.
//! Written last: images without it are not finished.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use firstboot::config::Role;
use firstboot::files::{self, Ownership};
use firstboot::hash::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache::Inputs;
use crate::inspect::packages::Package;

/// Its name in the directory of results.
pub const NAME: &str = "manifest.json";
/// Name of the list of hashes beside it.
pub const SUMS: &str = "SHA256SUMS";
/// The version of this format.
const SCHEMA: u32 = 1;

/// The manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this format.
    pub schema: u32,
    /// The version of the builder.
    pub cellboot: String,
    /// The platform of the images.
    pub platform: String,
    /// Their OpenStack release.
    pub release: String,
    /// Images by role.
    pub images: BTreeMap<Role, Image>,
    /// How long the stages took of the build that wrote this.
    pub timings: Vec<Timing>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// The disk.
    pub disk: Hashed,
    /// Size of the disk as a machine sees it.
    pub virtual_bytes: u64,
    /// Hash of [`Image::inputs`]: an image with this key is not built again.
    pub key: String,
    /// What it was made from: names and hashes. `role` is the key of the packages below it.
    pub inputs: Inputs,
    /// Its bill of materials.
    pub sbom: Hashed,
    /// Every package in it.
    pub packages: Vec<Package>,
}

/// A file beside the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed {
    /// Its name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its hash, in hexadecimal.
    pub sha256: String,
}

/// How long a stage took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The stage.
    pub stage: String,
    /// Its duration.
    pub seconds: f64,
}

impl Hashed {
    /// Reads and hashes a file.
    pub fn of(path: &Path) -> Result<Self> {
        let context = || format!("reading {}", path.display());
        let mut file = File::open(path).with_context(context)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let count = file.read(&mut buffer).with_context(context)?;
            if count == 0 {
                break;
            }
            bytes += count as u64;
            hash.update(&buffer[..count]);
        }
        let name = path.file_name().unwrap_or_default();
        Ok(Self {
            file: name.to_string_lossy().into_owned(),
            bytes,
            sha256: hex(&hash.finalize()),
        })
    }

    /// True if the file is there with its length; its content is not read.
    pub fn is_in(&self, directory: &Path) -> bool {
        let found = std::fs::metadata(directory.join(&self.file));
        found.is_ok_and(|found| found.is_file() && found.len() == self.bytes)
    }
}

impl Manifest {
    /// A manifest without images.
    pub fn new(platform: &str, release: &str) -> Self {
        Self {
            schema: SCHEMA,
            cellboot: env!("CARGO_PKG_VERSION").to_owned(),
            platform: platform.to_owned(),
            release: release.to_owned(),
            images: BTreeMap::new(),
            timings: Vec::new(),
        }
    }

    /// The manifest in a directory of results; `None` if there is none that this version reads.
    pub fn load(directory: &Path) -> Result<Option<Self>> {
        let Some(text) = files::read_if_exists(&directory.join(NAME))? else {
            return Ok(None);
        };
        let manifest: Option<Self> = serde_json::from_str(&text).ok();
        Ok(manifest.filter(|manifest| manifest.schema == SCHEMA))
    }

    /// Writes the hashes, then the manifest.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let mut sums = String::new();
        for image in self.images.values() {
            for file in [&image.disk, &image.sbom] {
                sums.push_str(&format!("{}  {}\n", file.sha256, file.file));
            }
        }
        let public = Ownership::mode(0o644);
        files::replace(&directory.join(SUMS), sums.as_bytes(), public)?;
        let mut text = serde_json::to_vec_pretty(self).context("writing the manifest")?;
        text.push(b'\n');
        files::replace(&directory.join(NAME), &text, public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_wrote_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::load(directory.path()).unwrap(), None);
        let disk = directory.path().join("compute.qcow2");
        files::replace(&disk, b"abc", Ownership::mode(0o644)).unwrap();
        let hashed = Hashed::of(&disk).unwrap();
        assert!(hashed.is_in(directory.path()));
        let mut manifest = Manifest::new("debian-12", "zed");
        let image = Image {
            disk: hashed.clone(),
            virtual_bytes: 1 << 30,
            key: "k".to_owned(),
            inputs: Inputs::default(),
            sbom: hashed,
            packages: Vec::new(),
        };
        manifest.images.insert(Role::Compute, image);
        manifest.save(directory.path()).unwrap();
        assert_eq!(Manifest::load(directory.path()).unwrap(), Some(manifest));
        let sums = std::fs::read_to_string(directory.path().join(SUMS)).unwrap();
        // The hash of "abc" in FIPS 180-2, appendix B.1.
        let line =
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  compute.qcow2";
        assert_eq!(sums.lines().next(), Some(line));
        files::replace(&directory.path().join(NAME), b"{}", Ownership::mode(0o644)).unwrap();
        assert_eq!(Manifest::load(directory.path()).unwrap(), None);
    }
}
