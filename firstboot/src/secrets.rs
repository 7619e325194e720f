//! Passwords that a node makes for itself, each exactly once.
//!
//! One file, 0600, whole and on the disk before any password in it is used. A name that a newer
//! agent knows is added; a value that exists is never changed, for a service already knows it.
//! Values come out only through [`Secrets::get`]: not through `Debug`, not through errors.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::files::{self, Ownership};

/// Every password of a controller, by what it opens.
pub const NAMES: [&str; 13] = [
    "database-keystone",
    "database-glance",
    "database-placement",
    "database-nova",
    "database-neutron",
    "service-glance",
    "service-placement",
    "service-nova",
    "service-neutron",
    "admin",
    "rabbitmq",
    "metadata",
    "dashboard",
];

/// Letters and digits only, so that no file format, URL or shell has to quote a password.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// 32 of 62 characters: 190 bits.
const LENGTH: usize = 32;

/// Passwords by name.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// No passwords: for a role that makes none.
    pub fn none() -> Self {
        Self::default()
    }

    /// The passwords in `path`; those missing are made and are on the disk when this returns.
    ///
    /// # Errors
    /// When the file cannot be read or written. A file that is there but damaged is an error and
    /// stays as it is: making new passwords would lock the node out of its own services.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        let (secrets, complete) = Self::completed(path)?;
        if !complete {
            let text = serde_json::to_vec_pretty(&secrets).context("writing secrets as JSON")?;
            files::replace(path, &text, Ownership::mode(0o600))?;
        }
        Ok(secrets)
    }

    /// The passwords in `path`; those missing are made up and forgotten again. For looking at a
    /// node without changing it: what they open does not exist yet.
    pub fn load_or_imagine(path: &Path) -> Result<Self> {
        Ok(Self::completed(path)?.0)
    }

    /// The password of this name.
    ///
    /// # Errors
    /// When this node has none of that name.
    pub fn get(&self, name: &str) -> Result<&str> {
        let found = self.0.get(name).map(String::as_str);
        found.with_context(|| format!("this node has no secret {name:?}"))
    }

    /// Name and value of each, for templates.
    pub(crate) fn values(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    fn completed(path: &Path) -> Result<(Self, bool)> {
        let mut secrets = match files::read_if_exists(path)? {
            // The parser's own message could quote a password, so only the place is told.
            Some(text) => serde_json::from_str(&text).map_err(|error: serde_json::Error| {
                let (line, column) = (error.line(), error.column());
                anyhow::anyhow!(
                    "reading {}: damaged at line {line}, column {column}",
                    path.display()
                )
            })?,
            None => Self::none(),
        };
        let mut complete = true;
        for name in NAMES {
            if !secrets.0.contains_key(name) {
                secrets.0.insert(name.to_owned(), generate()?);
                complete = false;
            }
        }
        Ok((secrets, complete))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} redacted)", self.0.len())
    }
}

/// A new password.
pub(crate) fn generate() -> Result<String> {
    let mut password = String::with_capacity(LENGTH);
    while password.len() < LENGTH {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).context("reading random bytes from the kernel")?;
        // Bytes beyond the largest multiple of 62 would favour the first letters: leave them out.
        let fair = bytes.iter().filter(|byte| **byte < 4 * 62);
        let letters = fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
        password.extend(letters.take(LENGTH - password.len()));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn each_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets.json");
        let first = Secrets::load_or_create(&path).unwrap();
        let second = Secrets::load_or_create(&path).unwrap();
        let mut distinct = BTreeSet::new();
        for name in NAMES {
            let value = first.get(name).unwrap();
            assert_eq!(value, second.get(name).unwrap());
            assert_eq!(value.len(), 32);
            assert!(value.chars().all(|c| c.is_ascii_alphanumeric()));
            assert!(distinct.insert(value), "{name} is not its own");
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_missing_name_is_added_and_the_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets.json");
        files::replace(&path, br#"{"admin":"kept"}"#, Ownership::mode(0o600)).unwrap();
        let secrets = Secrets::load_or_create(&path).unwrap();
        assert_eq!(secrets.get("admin").unwrap(), "kept");
        let again = Secrets::load_or_create(&path).unwrap();
        assert_eq!(
            secrets.get("rabbitmq").unwrap(),
            again.get("rabbitmq").unwrap()
        );
    }

    #[test]
    fn imagining_writes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets.json");
        let secrets = Secrets::load_or_imagine(&path).unwrap();
        assert_eq!(secrets.get("admin").unwrap().len(), 32);
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_file_is_refused_kept_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets.json");
        files::replace(&path, br#"{"admin":"hunter2"#, Ownership::mode(0o600)).unwrap();
        let error = Secrets::load_or_create(&path).unwrap_err();
        let expected = format!("reading {}: damaged at line 1, column 17", path.display());
        assert_eq!(format!("{error:#}"), expected);
        assert!(std::fs::read_to_string(&path).unwrap().contains("hunter2"));
    }

    #[test]
    fn debug_and_unknown_names_tell_nothing() {
        let secrets = Secrets(BTreeMap::from([("admin".into(), "hunter2".into())]));
        assert_eq!(format!("{secrets:?}"), "Secrets(1 redacted)");
        let error = secrets.get("root").unwrap_err();
        assert_eq!(error.to_string(), "this node has no secret \"root\"");
    }
}
