//! Stub to compile against, until the module that makes the key is merged.

use std::path::Path;

use anyhow::Result;

use super::protocol::KeyHash;
use crate::files::{self, Ownership};

/// The key that a node is known by.
pub struct NodeKey(String);

impl NodeKey {
    /// The key in `path`, made if there is none.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        if let Some(key) = Self::read(path)? {
            return Ok(key);
        }
        files::replace(path, b"stub", Ownership::mode(0o600))?;
        Ok(Self("stub".into()))
    }

    /// The key in `path`.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        Ok(files::read_if_exists(path)?.map(Self))
    }

    /// What the registrar knows the node by.
    pub fn hash(&self) -> KeyHash {
        KeyHash(self.0.clone())
    }
}
