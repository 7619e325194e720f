//! Waits for something to change in a directory, without looking again and again.

use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
        let events =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).with_context(context)?;
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

    /// Sleeps until a file with this name was written, replaced or removed, until one of the
    /// others can be read, or until `most` has passed.
    pub fn wait_or(
        &mut self,
        name: &str,
        others: &[BorrowedFd<'_>],
        most: Option<Duration>,
    ) -> Result<()> {
        let end = most.map(|most| Instant::now() + most);
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(());
            }
            let left = left.map(Timespec::try_from).transpose();
            let left = left.context("waiting for so long")?;
            let mut ready = vec![PollFd::new(&self.events, PollFlags::IN)];
            // poll itself takes what is closed for something to be read.
            for other in others {
                ready.push(PollFd::from_borrowed_fd(*other, PollFlags::IN));
            }
            match poll(&mut ready, left.as_ref()) {
                Err(Errno::INTR) => continue,
                other => other.with_context(|| format!("watching {}", self.directory.display()))?,
            };
            let [changed, others @ ..] = &ready[..] else {
                continue;
            };
            if others.iter().any(|fd| !fd.revents().is_empty()) {
                return Ok(());
            }
            if !changed.revents().is_empty() && self.has_happened(name)? {
                return Ok(());
            }
        }
    }

    /// Sleeps until a file with this name was written, replaced or removed.
    pub fn wait(&mut self, name: &str) -> Result<()> {
        self.wait_or(name, &[], None)
    }

    /// Takes what happened so far; true if it happened to a file with this name.
    fn has_happened(&mut self, name: &str) -> Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.events, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let file = event.file_name();
                    if file.is_some_and(|it| it.to_bytes() == name.as_bytes()) {
                        return Ok(true);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
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
