//! Files that are whole or absent: temporary name, fsync, rename, fsync of the directory.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Who owns a file and what others may do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// Permission bits, as in `0o640`.
    pub mode: u32,
    /// Numeric owner and group; `None` leaves those of this process.
    pub owner: Option<(u32, u32)>,
}

impl Ownership {
    /// The mode, owned by whoever runs this.
    pub const fn mode(mode: u32) -> Self {
        Self { mode, owner: None }
    }
}

/// Puts `content` at `path` so that a reader, or a machine that lost its power, sees the old
/// file or the new one. Makes missing parent directories (0755).
pub fn replace(path: &Path, content: &[u8], ownership: Ownership) -> Result<()> {
    let context = || format!("writing {}", path.display());
    let directory = parent(path);
    fs::create_dir_all(&directory).with_context(context)?;
    let mut file = tempfile::Builder::new()
        .prefix(".cellboot-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(&directory)
        .with_context(context)?;
    file.write_all(content).with_context(context)?;
    if let Some((user, group)) = ownership.owner {
        chown(file.path(), Some(user), Some(group)).with_context(context)?;
    }
    file.as_file()
        .set_permissions(Permissions::from_mode(ownership.mode))
        .with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    file.persist(path)
        .map_err(|error| error.error)
        .with_context(context)?;
    sync_directory(&directory)
}

/// True if `path` has exactly this content, mode and owner.
pub fn is(path: &Path, content: &[u8], ownership: Ownership) -> Result<bool> {
    let context = || format!("reading {}", path.display());
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        other => other.with_context(context)?,
    };
    let owner = ownership
        .owner
        .is_none_or(|owner| owner == (metadata.uid(), metadata.gid()));
    Ok(metadata.is_file()
        && metadata.mode() & 0o7777 == ownership.mode
        && owner
        && fs::read(path).with_context(context)? == content)
}

/// The content of a text file, or `None` where there is no such file.
pub fn read_if_exists(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Makes a rename or a removal in `directory` survive a power cut.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|handle| handle.sync_all())
        .with_context(|| format!("syncing {}", directory.display()))
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_content_and_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/file");
        replace(&path, b"one", Ownership::mode(0o640)).unwrap();
        assert!(is(&path, b"one", Ownership::mode(0o640)).unwrap());
        assert!(!is(&path, b"one", Ownership::mode(0o600)).unwrap());
        replace(&path, b"two", Ownership::mode(0o600)).unwrap();
        assert!(is(&path, b"two", Ownership::mode(0o600)).unwrap());
        assert_eq!(
            fs::read_dir(directory.path().join("new")).unwrap().count(),
            1
        );
    }

    #[test]
    fn an_error_names_the_path() {
        let error =
            replace(Path::new("/proc/cellboot/x"), b"", Ownership::mode(0o600)).unwrap_err();
        assert_eq!(error.to_string(), "writing /proc/cellboot/x");
    }
}
