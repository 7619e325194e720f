//! One process at a time for what two must not do at once.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Held as long as it lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a verb of the agent, as in `apply`.
    ///
    /// # Errors
    /// When another process has it; the message names that process.
    pub fn take(path: &Path, verb: &str) -> Result<Self> {
        let mut file = open(path)?;
        match file.try_lock() {
            Ok(()) => Self::mark(file, path),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)
                    .with_context(|| format!("reading {}", path.display()))?;
                bail!(
                    "another `firstboot {verb}` is at work (process {})\n\
                     hint: wait for its end; `firstboot status --follow` shows how far an apply is",
                    holder.trim()
                );
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", path.display()))
            }
        }
    }

    /// Takes the lock as soon as whoever has it lets go.
    pub fn wait(path: &Path) -> Result<Self> {
        let file = open(path)?;
        file.lock()
            .with_context(|| format!("locking {}", path.display()))?;
        Self::mark(file, path)
    }

    fn mark(mut file: File, path: &Path) -> Result<Self> {
        let context = || format!("writing {}", path.display());
        file.set_len(0).with_context(context)?;
        writeln!(file, "{}", std::process::id()).with_context(context)?;
        Ok(Self { _file: file })
    }
}

fn open(path: &Path) -> Result<File> {
    let context = || format!("opening {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(context)?;
    }
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/apply.lock");
        let first = Lock::take(&path, "apply").unwrap();
        let error = Lock::take(&path, "apply").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "another `firstboot apply` is at work (process {})\n\
                 hint: wait for its end; `firstboot status --follow` shows how far an apply is",
                std::process::id()
            )
        );
        drop(first);
        Lock::wait(&path).unwrap();
    }
}
