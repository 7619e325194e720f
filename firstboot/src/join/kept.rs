//! What a join leaves on a compute's disk, each under the key that it was given to: a node that
//! made itself a new key is a new node to the registrar, and has nothing.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::key::NodeKey;
use super::protocol::{Bundle, KeyHash, Membership};
use crate::files::{self, Ownership};
use crate::paths;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept<T> {
    key: KeyHash,
    given: T,
}

/// What the registrar gave the node of this name and of the key on this disk.
///
/// # Errors
/// When the key or the file is damaged.
pub fn bundle(name: &str) -> Result<Option<Bundle>> {
    let bundle: Option<Bundle> = of_this_key(Path::new(paths::JOIN_BUNDLE))?;
    Ok(bundle.filter(|bundle| bundle.name == name))
}

/// The node's place in its cell, if the node of this key was given one.
///
/// # Errors
/// When the key or the file is damaged.
pub fn membership() -> Result<Option<Membership>> {
    of_this_key(Path::new(paths::JOINED))
}

/// Puts at `path` what the registrar gave to the node of this key; only root can read it.
pub fn write(path: &Path, key: &KeyHash, given: &impl Serialize) -> Result<()> {
    let key = key.clone();
    let text = serde_json::to_vec_pretty(&Kept { key, given })
        .with_context(|| format!("writing {} as JSON", path.display()))?;
    files::replace(path, &text, Ownership::mode(0o600))
}

fn of_this_key<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match NodeKey::read(Path::new(paths::JOIN_KEY))? {
        Some(key) => read(path, &key.hash()),
        None => Ok(None),
    }
}

fn read<T: DeserializeOwned>(path: &Path, key: &KeyHash) -> Result<Option<T>> {
    let Some(text) = files::read_if_exists(path)? else {
        return Ok(None);
    };
    // The parser's own message could quote a password, so only the place is told.
    let kept: Kept<T> = serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        anyhow!(
            "reading {}: damaged at line {line}, column {column}\n\
             hint: remove the file and run `firstboot apply`: the registrar gives it again",
            path.display()
        )
    })?;
    Ok((kept.key == *key).then_some(kept.given))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_given_to_another_key_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("join/bundle.json");
        let key = |text: &str| KeyHash(text.into());
        assert_eq!(read::<String>(&path, &key("a")).unwrap(), None);
        write(&path, &key("a"), &"hunter2").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let found: Option<String> = read(&path, &key("a")).unwrap();
        assert_eq!(found.as_deref(), Some("hunter2"));
        assert_eq!(read::<String>(&path, &key("b")).unwrap(), None);
    }

    #[test]
    fn a_damaged_file_is_told_by_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bundle.json");
        let text = br#"{"key":"a","given":"hunter2"}"#;
        files::replace(&path, text, Ownership::mode(0o600)).unwrap();
        let error = read::<u32>(&path, &KeyHash("a".into())).unwrap_err();
        let expected = format!(
            "reading {}: damaged at line 1, column 28\n\
             hint: remove the file and run `firstboot apply`: the registrar gives it again",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
    }
}
