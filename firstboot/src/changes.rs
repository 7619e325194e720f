//! Waits for something to change in a directory, without looking again and again.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// A watched directory. What happens after it was made is not missed, so: make it, then look.
#[derive(Debug)]
pub struct Changes {
    directory: PathBuf,
    events: OwnedFd,
}

impl Changes {
    /// Watches the files directly in `directory`.
    ///
    /// # Errors
    /// When there is no such directory, or the kernel refuses another watch.
    pub fn of(directory: &Path) -> Result<Self> {
        let context = || format!("watching {}", directory.display());
        let events = inotify::init(CreateFlags::CLOEXEC).with_context(context)?;
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE;
        inotify::add_watch(&events, directory, flags).with_context(context)?;
        Ok(Self {
            directory: directory.to_owned(),
            events,
        })
    }

    /// Sleeps until a file with this name was written, replaced or removed.
    pub fn wait(&mut self, name: &str) -> Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.events, &mut buffer);
        loop {
            match reader.next() {
                Ok(event)
                    if event
                        .file_name()
                        .is_some_and(|it| it.to_bytes() == name.as_bytes()) =>
                {
                    return Ok(());
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("watching {}", self.directory.display()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{self, Ownership};

    #[test]
    fn a_change_before_the_wait_is_not_missed() {
        let directory = tempfile::tempdir().unwrap();
        let mut changes = Changes::of(directory.path()).unwrap();
        let write = |name: &str| {
            files::replace(&directory.path().join(name), b"", Ownership::mode(0o600)).unwrap();
        };
        write("other");
        write("mine");
        changes.wait("mine").unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = Changes::of(Path::new("/no/such")).unwrap_err();
        assert_eq!(error.to_string(), "watching /no/such");
    }
}
