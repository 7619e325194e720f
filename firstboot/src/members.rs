//! What a controller remembers of tokens and computes: one file, whole at every instant.
//!
//! The service and the commands share it: each change takes the lock, reads, decides, and replaces
//! the file before anybody is told. A power cut leaves the state before or the state after.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::DirBuilder;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

use crate::config::{Peer, Role, TokenGrant};
use crate::files::{self, Ownership};
use crate::join::protocol::{KeyHash, Membership};
use crate::lock::Lock;

/// The version of the file's format.
const SCHEMA: u32 = 1;

/// Everything that the registrar knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    schema: u32,
    /// Tokens by their public half.
    pub tokens: BTreeMap<String, Known>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Member>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            tokens: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }
}

/// A token, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// What it is good for.
    pub grant: TokenGrant,
    /// True if somebody took it back.
    pub revoked: bool,
    /// The keys that used it.
    pub bound: Vec<KeyHash>,
}

/// A node that was let in.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// What it is known by.
    pub key: KeyHash,
    /// Its management address.
    pub address: Ipv4Addr,
    /// The UUID of its machine, where that tells one.
    pub machine: Option<String>,
    /// What its `/etc/nova/compute_id` holds; outlives its key.
    pub compute_id: String,
    /// The password of its own account at the broker.
    pub broker_password: String,
    /// When it was let in, in seconds since 1970.
    pub enrolled_at: u64,
    /// Its place in its cell, once it has one.
    pub membership: Option<Membership>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({} at {}, redacted)", self.key, self.address)
    }
}

impl State {
    /// Takes in the tokens that the controller's seed brought. One that is known stays as it is:
    /// its uses and its revocation outlive the seed.
    pub fn take_in(&mut self, grants: &[TokenGrant]) {
        for grant in grants {
            let known = Known {
                grant: grant.clone(),
                revoked: false,
                bound: Vec::new(),
            };
            self.tokens.entry(grant.id.clone()).or_insert(known);
        }
    }

    /// The computes that were let in, as other nodes see them.
    pub fn peers(&self) -> impl Iterator<Item = Peer> {
        self.nodes.iter().map(|(name, member)| Peer {
            name: name.clone(),
            role: Role::Compute,
            address: member.address,
        })
    }

    /// The node of this key.
    pub fn node_of(&self, key: &KeyHash) -> Option<(&str, &Member)> {
        let found = self.nodes.iter().find(|(_, member)| member.key == *key);
        found.map(|(name, member)| (name.as_str(), member))
    }
}

/// The file, and the lock beside it.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// What is known in a directory, which need not be there: nothing is made.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn look(directory: &Path) -> Result<State> {
        let directory = directory.to_owned();
        Self { directory }.read()
    }

    /// The store in a directory; it is made, closed to others, where there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(directory: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("making {}", directory.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// What is known now.
    ///
    /// # Errors
    /// When the file cannot be read. A damaged one stays as it is, and is not quoted.
    pub fn read(&self) -> Result<State> {
        let path = self.path();
        let Some(text) = files::read_if_exists(&path)? else {
            return Ok(State::default());
        };
        let state: State = serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            anyhow!(
                "reading {}: damaged at line {line}, column {column}\n\
                 hint: restore it from a backup; without it every compute has to join again",
                path.display()
            )
        })?;
        ensure!(
            state.schema == SCHEMA,
            "{} is of schema {}, this agent reads schema {SCHEMA}",
            path.display(),
            state.schema
        );
        Ok(state)
    }

    /// Changes what is known. It is on the disk when this returns; nobody else changes it
    /// meanwhile. When `change` fails, nothing has changed.
    ///
    /// # Errors
    /// As [`Store::read`], when the file cannot be written, or what `change` says.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let _lock = Lock::wait(&self.directory.join("state.lock"))?;
        let before = self.read()?;
        let mut state = before.clone();
        let value = change(&mut state)?;
        if state != before {
            let text = serde_json::to_vec_pretty(&state).context("writing JSON")?;
            files::replace(&self.path(), &text, Ownership::mode(0o600))?;
        }
        Ok(value)
    }

    fn path(&self) -> PathBuf {
        self.directory.join("state.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn grant(id: &str, uses: u32) -> TokenGrant {
        TokenGrant {
            id: id.into(),
            hash: "h".into(),
            expires_at: 1,
            uses,
            node: None,
            rejoin: false,
        }
    }

    #[test]
    fn what_was_changed_is_found_again_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("registrar");
        let store = Store::open(&place).unwrap();
        let take = |state: &mut State| {
            state.take_in(&[grant("a", 1)]);
            Ok(())
        };
        store.change(take).unwrap();
        let inode = || std::fs::metadata(place.join("state.json")).unwrap().ino();
        let before = inode();
        store.change(take).unwrap();
        assert_eq!(inode(), before);
        assert_eq!(Store::open(&place).unwrap().read().unwrap().tokens.len(), 1);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&place), 0o700);
        assert_eq!(mode(&place.join("state.json")), 0o600);
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let failed: Result<()> = store.change(|state| {
            state.take_in(&[grant("a", 1)]);
            bail!("no")
        });
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert_eq!(store.read().unwrap(), State::default());
    }

    #[test]
    fn a_token_that_is_known_keeps_what_became_of_it() {
        let mut state = State::default();
        state.take_in(&[grant("a", 1)]);
        state.tokens.get_mut("a").unwrap().revoked = true;
        state.take_in(&[grant("a", 9), grant("b", 2)]);
        assert!(state.tokens["a"].revoked);
        assert_eq!(state.tokens["a"].grant.uses, 1);
        assert_eq!(state.tokens["b"].grant.uses, 2);
    }

    #[test]
    fn a_damaged_file_is_kept_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let path = directory.path().join("state.json");
        files::replace(&path, br#"{"hunter2": 1}"#, Ownership::mode(0o600)).unwrap();
        let error = store.change(|_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("damaged at line 1"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(std::fs::read_to_string(&path).unwrap().contains("hunter2"));
    }
}
