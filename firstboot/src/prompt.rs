//! What somebody types at the machine's own consoles while it has no seed.
//!
//! Nobody can log in at such a machine: no login prompt is started on it, and the consoles are
//! the agent's. A console that is not there, or is hung up, is left out.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::console::{DISPLAY, SERIAL};

/// The longest line that a terminal gives in one piece.
const LINE_BYTES: usize = 4096;

/// Consoles that are listened to.
#[derive(Debug, Default)]
pub struct Prompt {
    consoles: Vec<(File, Vec<u8>)>,
}

impl Prompt {
    /// The machine's consoles.
    pub fn machine() -> Self {
        Self::of(&[Path::new(SERIAL), Path::new(DISPLAY)])
    }

    /// These devices, as far as they can be opened.
    pub fn of(devices: &[&Path]) -> Self {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = |path: &&Path| {
            let mut options = OpenOptions::new();
            let options = options.read(true).custom_flags(flags.bits().cast_signed());
            options.open(path).ok().map(|file| (file, Vec::new()))
        };
        Self {
            consoles: devices.iter().filter_map(open).collect(),
        }
    }

    /// What to wait for until [`Prompt::lines`] may have something.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.consoles.iter().map(|(file, _)| file.as_fd()).collect()
    }

    /// The lines that were completed since the last look, without empty ones.
    pub fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        self.consoles
            .retain_mut(|(file, begun)| take(file, begun, &mut lines));
        lines
    }
}

/// Reads what is there; false if nothing more will come.
fn take(file: &mut File, begun: &mut Vec<u8>, lines: &mut Vec<String>) -> bool {
    let mut buffer = [0; LINE_BYTES];
    let goes_on = loop {
        match file.read(&mut buffer) {
            Ok(0) => break false,
            Ok(length) => begun.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break error.kind() == ErrorKind::WouldBlock,
        }
        if begun.len() > 2 * LINE_BYTES {
            break true;
        }
    };
    while let Some(end) = begun
        .iter()
        .position(|&byte| byte == b'\n' || byte == b'\r')
    {
        let line: Vec<u8> = begun.drain(..=end).collect();
        let line = String::from_utf8_lossy(&line[..end]).trim().to_owned();
        if !line.is_empty() {
            lines.push(line);
        }
    }
    if begun.len() > LINE_BYTES {
        begun.clear();
    }
    goes_on
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_come_whole_and_a_console_that_hangs_up_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console");
        crate::cmd::Cmd::new("mkfifo").path(&path).run().unwrap();
        let nowhere = Path::new("/no/console");
        let mut prompt = Prompt::of(&[&path, nowhere]);
        assert_eq!(prompt.descriptors().len(), 1);
        let mut keys = OpenOptions::new().write(true).open(&path).unwrap();
        keys.write_all(b"one\r\n\n tw").unwrap();
        assert_eq!(prompt.lines(), ["one"]);
        keys.write_all(b"o\nthree").unwrap();
        assert_eq!(prompt.lines(), ["two"]);
        drop(keys);
        assert!(prompt.lines().is_empty());
        assert!(prompt.descriptors().is_empty());
    }

    #[test]
    fn somebody_who_never_ends_a_line_fills_no_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console");
        crate::cmd::Cmd::new("mkfifo").path(&path).run().unwrap();
        let mut prompt = Prompt::of(&[&path]);
        let mut keys = OpenOptions::new().write(true).open(&path).unwrap();
        for _ in 0..20 {
            keys.write_all(&[b'x'; 2000]).unwrap();
            assert!(prompt.lines().is_empty());
            assert!(prompt.consoles[0].1.len() <= LINE_BYTES);
        }
    }
}
