//! The machine's own displays: a line an event on the serial port, a live view on the first
//! virtual terminal.
//!
//! A console may be absent, unplugged, stopped or taken over by a login prompt (which hangs up
//! everybody else): writing never waits and never fails, except that [`Console::last`] gives the
//! final line a moment to get out.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use crate::wait::{self, Probe};

pub(crate) const SERIAL: &str = "/dev/ttyS0";
pub(crate) const DISPLAY: &str = "/dev/tty1";
/// How much a console that takes nothing may owe before lines are dropped.
const PENDING_BYTES: usize = 64 * 1024;
/// How long the final lines may take to leave; a serial port of 9600 baud takes 1 KiB a second.
const DRAIN: Duration = Duration::from_secs(3);

/// How a console is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One line after the other.
    Lines,
    /// Redrawn from the top.
    Screen,
}

/// All consoles of the machine.
#[derive(Debug, Default)]
pub struct Console {
    sinks: Vec<Sink>,
    /// Lines also go to standard error.
    talk: bool,
}

impl Console {
    /// The machine's consoles.
    pub fn machine() -> Self {
        Self::of(&[
            (Path::new(SERIAL), Style::Lines),
            (Path::new(DISPLAY), Style::Screen),
        ])
    }

    /// Standard error, for a run by hand.
    pub fn by_hand() -> Self {
        Self {
            sinks: Vec::new(),
            talk: true,
        }
    }

    /// These devices, as far as they can be opened.
    pub fn of(devices: &[(&Path, Style)]) -> Self {
        let sinks = devices
            .iter()
            .filter_map(|(path, style)| Sink::open(path, *style));
        Self {
            sinks: sinks.collect(),
            talk: false,
        }
    }

    /// True if some console is redrawn, so that time should be seen to pass.
    pub fn has_screen(&self) -> bool {
        self.sinks.iter().any(|sink| sink.style == Style::Screen)
    }

    /// Writes a line where lines are written.
    pub fn line(&mut self, line: &str) {
        if self.talk {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
        for sink in &mut self.sinks {
            if sink.style == Style::Lines {
                sink.put(line);
            }
        }
    }

    /// Redraws the screens.
    pub fn redraw(&mut self, screen: &str) {
        for sink in &mut self.sinks {
            // A display that still owes the last screen gets the next one.
            if sink.style == Style::Screen && sink.flush() {
                sink.send(&frame(screen));
            }
        }
    }

    /// Writes a final line everywhere, below the screen if there is one, and gives it a moment.
    pub fn last(&mut self, line: &str) {
        if self.talk {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
        for sink in &mut self.sinks {
            sink.put(line);
        }
        let _ = wait::until("the consoles", DRAIN, || {
            let mut drained = true;
            for sink in &mut self.sinks {
                drained &= sink.flush();
            }
            Ok(match drained {
                true => Probe::Ready(()),
                false => Probe::NotYet("they take no more".into()),
            })
        });
    }
}

/// Home, the lines each cleared to its end, then the rest of the screen cleared: no flicker.
fn frame(screen: &str) -> Vec<u8> {
    let mut bytes = b"\x1b[H".to_vec();
    for line in screen.lines() {
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\x1b[K\r\n");
    }
    bytes.extend_from_slice(b"\x1b[J");
    bytes
}

#[derive(Debug)]
struct Sink {
    path: PathBuf,
    style: Style,
    file: Option<File>,
    pending: Vec<u8>,
}

impl Sink {
    fn open(path: &Path, style: Style) -> Option<Self> {
        let file = open(path)?;
        Some(Self {
            path: path.to_owned(),
            style,
            file: Some(file),
            pending: Vec::new(),
        })
    }

    fn put(&mut self, line: &str) {
        let mut bytes = line.as_bytes().to_vec();
        bytes.extend_from_slice(b"\r\n");
        self.send(&bytes);
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.pending.len() + bytes.len() <= PENDING_BYTES {
            self.pending.extend_from_slice(bytes);
        }
        self.flush();
    }

    /// Writes what the device takes now; true when it owes nothing.
    fn flush(&mut self) -> bool {
        let mut reopened = false;
        while !self.pending.is_empty() {
            let Some(file) = &mut self.file else {
                self.pending.clear();
                break;
            };
            match file.write(&self.pending) {
                Ok(written) if written > 0 => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // A login prompt that starts hangs up whoever had the terminal before.
                _ if !reopened => {
                    reopened = true;
                    self.file = open(&self.path);
                }
                _ => self.file = None,
            }
        }
        true
    }
}

fn open(path: &Path) -> Option<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// A named pipe: it refuses to be opened without a reader and fills up with a lazy one.
    fn pipe(directory: &Path) -> PathBuf {
        let path = directory.join("serial");
        crate::cmd::Cmd::new("mkfifo").path(&path).run().unwrap();
        path
    }

    fn reader(path: &Path) -> File {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .unwrap()
    }

    #[test]
    fn a_console_that_is_not_there_is_no_console() {
        let directory = tempfile::tempdir().unwrap();
        let path = pipe(directory.path());
        let mut console =
            Console::of(&[(&path, Style::Lines), (Path::new("/no/tty"), Style::Screen)]);
        assert!(console.sinks.is_empty());
        console.last("nobody hears this");
    }

    #[test]
    fn lines_end_as_terminals_want_and_screens_get_the_last_line_too() {
        let directory = tempfile::tempdir().unwrap();
        let serial = pipe(directory.path());
        let mut end = reader(&serial);
        let screen = directory.path().join("screen");
        File::create(&screen).unwrap();
        let mut console = Console::of(&[(&serial, Style::Lines), (&screen, Style::Screen)]);
        console.line("one");
        console.redraw("a\nb\n");
        console.last("two");
        drop(console);
        let mut text = String::new();
        end.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\r\ntwo\r\n");
        assert_eq!(
            std::fs::read_to_string(&screen).unwrap(),
            "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[Jtwo\r\n"
        );
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nothing_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = pipe(directory.path());
        let mut end = reader(&path);
        let mut console = Console::of(&[(&path, Style::Lines)]);
        let line = "x".repeat(1000);
        // More than the pipe and the backlog hold together; the test ends or it does not.
        for _ in 0..300 {
            console.line(&line);
        }
        let owed = console.sinks[0].pending.len();
        assert!(owed > 0 && owed <= PENDING_BYTES, "{owed}");
        let mut taken = vec![0; 1 << 20];
        assert!(end.read(&mut taken).unwrap() > 0);
        console.line("later");
        assert!(console.sinks[0].pending.len() < owed + 10);
    }

    #[test]
    fn a_hung_up_console_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = pipe(directory.path());
        let first = reader(&path);
        let mut console = Console::of(&[(&path, Style::Lines)]);
        let mut second = reader(&path);
        console.line("one");
        drop(first);
        console.line("two");
        let mut text = vec![0; 100];
        let length = second.read(&mut text).unwrap();
        assert_eq!(&text[..length], b"one\r\ntwo\r\n");
        drop(second);
        console.line("nobody");
        assert!(console.sinks[0].file.is_none());
    }
}
