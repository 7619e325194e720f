//! What earlier builds made, under the hash of what it was made from.
//!
//! An entry is a directory that appears whole, by a rename, and is never changed afterwards. One
//! build at a time may add to a cache; looking needs no lock.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use firstboot::cmd::Cmd;
use firstboot::files::{self, Ownership};
use firstboot::hash::{hex, sha256};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::namespace::Namespace;

const INPUTS: &str = "inputs.json";
const PENDING: &str = ".pending-";
const TAG: &str = "CACHEDIR.TAG";
const TAG_TEXT: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n";
/// How many entries of a kind survive a build.
const KEPT: usize = 2;

/// What something is made from: names that people understand, and the hash of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs(BTreeMap<String, String>);

impl Inputs {
    /// Adds an input.
    pub fn add(&mut self, name: impl Into<String>, content: impl AsRef<[u8]>) {
        self.0.insert(name.into(), sha256(content.as_ref()));
    }

    /// The hash of all of them.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        for (name, value) in &self.0 {
            hash.update(format!("{name}\0{value}\n"));
        }
        hex(&hash.finalize())[..32].to_owned()
    }

    /// The names of what differs from `other`.
    pub fn differences(&self, other: &Inputs) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys());
        let mut changed: Vec<String> = names
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .cloned()
            .collect();
        changed.sort();
        changed.dedup();
        changed
    }

    /// Names and hashes.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }
}

/// A directory of entries.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// The right to add to a cache, for as long as it lives.
pub struct Lock {
    _file: File,
}

impl Cache {
    /// The cache in this directory, which need not exist.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// `${XDG_CACHE_HOME:-~/.cache}/cellboot`.
    pub fn default_directory() -> Result<PathBuf> {
        let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
            Some(directory) => PathBuf::from(directory),
            None => std::env::home_dir()
                .context("finding a place for the cache: there is no HOME\nhint: give --cache")?
                .join(".cache"),
        };
        Ok(base.join("cellboot"))
    }

    /// The directory that somebody named, or else [`Cache::default_directory`].
    ///
    /// # Errors
    /// When there is no home to have one in.
    pub fn directory_or_default(named: Option<&Path>) -> Result<PathBuf> {
        named.map_or_else(
            Self::default_directory,
            |directory| Ok(directory.to_owned()),
        )
    }

    /// A directory of the cache that is not an entry, such as that of downloaded packages.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// Takes the lock and removes what a killed build left.
    ///
    /// # Errors
    /// When another build holds it.
    pub fn lock(&self, namespace: Namespace) -> Result<Lock> {
        let path = self.directory("")?.join("lock");
        let context = || format!("locking {}", path.display());
        files::replace(&self.root.join(TAG), TAG_TEXT, Ownership::mode(0o644))?;
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(context)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            file.read_to_string(&mut holder).with_context(context)?;
            bail!(
                "the cache {} is in use by process {}\n\
                 hint: wait for it, or build with another cache: --cache DIRECTORY",
                self.root.display(),
                holder.trim()
            );
        }
        file.set_len(0).with_context(context)?;
        file.seek(SeekFrom::Start(0)).with_context(context)?;
        writeln!(file, "{}", std::process::id()).with_context(context)?;
        for kind in self.kinds()? {
            for path in self.listing(&kind)? {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if name.starts_with(PENDING) {
                    remove_tree(namespace, &path)?;
                }
            }
        }
        Ok(Lock { _file: file })
    }

    fn kinds(&self) -> Result<Vec<String>> {
        let entries = self.root.join("entries");
        let listing = list(&entries)?;
        Ok(listing
            .iter()
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect())
    }

    fn listing(&self, kind: &str) -> Result<Vec<PathBuf>> {
        list(&self.root.join("entries").join(kind))
    }

    /// The entry of this kind and key, if there is one.
    pub fn find(&self, kind: &str, key: &str) -> Option<PathBuf> {
        let path = self.root.join("entries").join(kind).join(key);
        path.join(INPUTS).is_file().then_some(path)
    }

    /// What the newest entry of this kind was made from.
    pub fn newest_inputs(&self, kind: &str) -> Result<Option<Inputs>> {
        let Some(newest) = self.by_age(kind)?.into_iter().next() else {
            return Ok(None);
        };
        let path = newest.join(INPUTS);
        let context = || format!("reading {}", path.display());
        let text = fs::read(&path).with_context(context)?;
        Ok(Some(serde_json::from_slice(&text).with_context(context)?))
    }

    /// Whole entries, the newest first.
    fn by_age(&self, kind: &str) -> Result<Vec<PathBuf>> {
        let mut entries: Vec<(SystemTime, PathBuf)> = self
            .listing(kind)?
            .into_iter()
            .filter_map(|path| {
                let time = fs::metadata(path.join(INPUTS)).ok()?.modified().ok()?;
                Some((time, path))
            })
            .collect();
        entries.sort_by(|one, other| other.cmp(one));
        Ok(entries.into_iter().map(|(_, path)| path).collect())
    }

    /// Makes an entry: `make` fills a directory, which becomes the entry if it succeeds.
    pub fn add(
        &self,
        _lock: &Lock,
        kind: &str,
        inputs: &Inputs,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let parent = self.directory(&format!("entries/{kind}"))?;
        let pending = tempfile::Builder::new()
            .prefix(PENDING)
            .tempdir_in(&parent)
            .with_context(|| format!("making a directory in {}", parent.display()))?;
        make(pending.path())?;
        let text = serde_json::to_vec_pretty(inputs).context("writing the inputs of an entry")?;
        files::replace(&pending.path().join(INPUTS), &text, Ownership::mode(0o644))?;
        sync_all(pending.path())?;
        let entry = parent.join(inputs.key());
        let context = || format!("adding {} to the cache", entry.display());
        if entry.exists() {
            fs::remove_dir_all(&entry).with_context(context)?;
        }
        fs::rename(pending.keep(), &entry).with_context(context)?;
        files::sync_directory(&parent)?;
        Ok(entry)
    }

    /// Says that an entry was of use, so that it outlives others.
    pub fn touch(&self, entry: &Path) -> Result<()> {
        let path = entry.join(INPUTS);
        let context = || format!("touching {}", path.display());
        let file = File::options()
            .append(true)
            .open(&path)
            .with_context(context)?;
        file.set_modified(SystemTime::now()).with_context(context)
    }

    /// Removes all but the newest entries of each kind.
    pub fn prune(&self, _lock: &Lock) -> Result<()> {
        for kind in self.kinds()? {
            for old in self.by_age(&kind)?.into_iter().skip(KEPT) {
                fs::remove_dir_all(&old).with_context(|| format!("removing {}", old.display()))?;
            }
        }
        Ok(())
    }
}

/// Removes a tree that may belong to other user ids.
pub fn remove_tree(namespace: Namespace, path: &Path) -> Result<()> {
    let remove = Cmd::new("rm").args(["-rf", "--"]).path(path);
    namespace.enter(remove).even_when_interrupted().run()
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("reading {}", directory.display());
    match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .with_context(context)?
            .map(|entry| Ok(entry.with_context(context)?.path()))
            .collect(),
    }
}

/// Makes every file below a directory survive a power cut.
fn sync_all(directory: &Path) -> Result<()> {
    for path in list(directory)? {
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            File::open(&path)
                .and_then(|file| file.sync_all())
                .with_context(|| format!("syncing {}", path.display()))?;
        }
    }
    files::sync_directory(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(value: &str) -> Inputs {
        let mut inputs = Inputs::default();
        inputs.add("packages", "a b");
        inputs.add("mirror", value);
        inputs
    }

    fn locked(root: &Path) -> (Cache, Lock) {
        let cache = Cache::at(root);
        let lock = cache.lock(Namespace::for_this_user().unwrap()).unwrap();
        (cache, lock)
    }

    #[test]
    fn a_key_depends_on_every_input_and_a_difference_has_a_name() {
        assert_eq!(inputs("x").key(), inputs("x").key());
        assert_ne!(inputs("x").key(), inputs("y").key());
        assert_eq!(inputs("x").differences(&inputs("y")), ["mirror"]);
        let mut more = inputs("x");
        more.add("new", "");
        assert_eq!(inputs("x").differences(&more), ["new"]);
    }

    #[test]
    fn an_entry_is_there_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let (cache, lock) = locked(root.path());
        let error = cache
            .add(&lock, "base", &inputs("x"), |_| bail!("no mirror"))
            .unwrap_err();
        assert_eq!(error.to_string(), "no mirror");
        assert_eq!(cache.find("base", &inputs("x").key()), None);
        assert!(cache.listing("base").unwrap().is_empty());
        let made = cache.add(&lock, "base", &inputs("x"), |directory| {
            files::replace(&directory.join("f"), b"1", Ownership::mode(0o644))
        });
        let entry = cache.find("base", &inputs("x").key()).unwrap();
        assert_eq!(made.unwrap(), entry);
        assert_eq!(fs::read(entry.join("f")).unwrap(), b"1");
        assert_eq!(cache.newest_inputs("base").unwrap(), Some(inputs("x")));
    }

    #[test]
    fn the_newest_entries_survive() {
        let root = tempfile::tempdir().unwrap();
        let (cache, lock) = locked(root.path());
        for value in ["1", "2", "3"] {
            cache
                .add(&lock, "base", &inputs(value), |_| Ok(()))
                .unwrap();
        }
        let first = cache.find("base", &inputs("1").key()).unwrap();
        cache.touch(&first).unwrap();
        cache.prune(&lock).unwrap();
        let kept = |value| cache.find("base", &inputs(value).key()).is_some();
        assert_eq!([kept("1"), kept("2"), kept("3")], [true, false, true]);
    }

    #[test]
    fn a_second_build_is_told_who_holds_the_cache() {
        let root = tempfile::tempdir().unwrap();
        let (cache, _lock) = locked(root.path());
        let Err(error) = cache.lock(Namespace::for_this_user().unwrap()) else {
            panic!("two builds hold one lock");
        };
        let text = error.to_string();
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            format!(
                "the cache {} is in use by process {}",
                root.path().display(),
                std::process::id()
            )
        );
    }

    #[test]
    fn what_a_killed_build_left_is_removed_by_the_next() {
        let root = tempfile::tempdir().unwrap();
        let left = root.path().join("entries/base/.pending-x/deep");
        fs::create_dir_all(&left).unwrap();
        let _held = locked(root.path());
        assert!(!left.exists());
    }
}
