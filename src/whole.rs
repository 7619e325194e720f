//! Files that are whole under their names, or not there: for content that is not held in memory.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use firstboot::files;

/// How the names begin of files that are not whole yet.
pub const UNFINISHED: &str = ".cellboot-";

/// Writes a file with these permission bits by `fill`, which gets it empty.
///
/// # Errors
/// When `fill` fails or the directory does not take the file; nothing is left of it then.
pub fn write(output: &Path, mode: u32, fill: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let context = || format!("writing {}", output.display());
    let directory = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory)
        .with_context(context)?;
    fill(temporary.as_file()).with_context(context)?;
    temporary.as_file().sync_all().with_context(context)?;
    temporary
        .persist(output)
        .map_err(|error| error.error)
        .with_context(context)?;
    files::sync_directory(directory)
}
