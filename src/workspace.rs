//! The directory in which trees are made: in memory where there is enough of it, else on disk.
//!
//! Its name follows from the cache, whose lock protects it, so that the next build finds and
//! removes what a killed one left.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firstboot::hash::sha256;
use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::cache::remove_tree;
use crate::engine::namespace::Namespace;

const MEMORY: &str = "/dev/shm";
const DISK: &str = "/var/tmp";
/// Two trees with what is unpacked and written beside them.
const NEEDED_BYTES: u64 = 8 << 30;

/// Removes the directory when it goes.
pub struct Guard {
    namespace: Namespace,
    path: PathBuf,
}

/// An empty workspace for the build that holds the lock of this cache.
pub fn open(namespace: Namespace, cache: &Path) -> Result<(PathBuf, Guard)> {
    let user = rustix::process::geteuid().as_raw();
    let name = format!(
        "cellboot-{user}-{}",
        &sha256(cache.as_os_str().as_encoded_bytes())[..12]
    );
    for parent in [MEMORY, DISK] {
        let left = Path::new(parent).join(&name);
        if left.symlink_metadata().is_ok() {
            remove_tree(namespace, &left)?;
        }
    }
    let parent = if fits_in_memory()? { MEMORY } else { DISK };
    let path = Path::new(parent).join(name);
    let context = || format!("making {}", path.display());
    fs::create_dir(&path).with_context(context)?;
    // Other user ids of the namespace pass through; nobody lists it.
    fs::set_permissions(&path, Permissions::from_mode(0o711)).with_context(context)?;
    let guard = Guard {
        namespace,
        path: path.clone(),
    };
    Ok((path, guard))
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = remove_tree(self.namespace, &self.path);
    }
}

fn fits_in_memory() -> Result<bool> {
    let Ok(system) = statvfs(MEMORY) else {
        return Ok(false);
    };
    let executable = !system.f_flag.contains(StatVfsMountFlags::NOEXEC);
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let available = available_bytes(&text).unwrap_or(0);
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    Ok(executable && free.min(available) >= NEEDED_BYTES)
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opening_removes_what_the_first_left() {
        let namespace = Namespace::for_this_user().unwrap();
        let cache = tempfile::tempdir().unwrap();
        let (path, guard) = open(namespace, cache.path()).unwrap();
        fs::create_dir(path.join("left")).unwrap();
        std::mem::forget(guard);
        let (again, guard) = open(namespace, cache.path()).unwrap();
        assert_eq!(again, path);
        assert!(!path.join("left").exists());
        drop(guard);
        assert!(!path.exists());
    }

    #[test]
    fn available_memory_is_read() {
        let text = "MemTotal: 9 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available_bytes(text), Some(2 << 20));
    }
}
