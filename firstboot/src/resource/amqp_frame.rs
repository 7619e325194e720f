//! AMQP 0-9-1 method frames: how arguments are laid out in bytes (sections 4.2.3 and 4.2.5 of the
//! specification). What the methods mean is [`super::amqp`]'s.

use std::fmt;
use std::io::{ErrorKind, Read, Write};

use anyhow::{Context as _, Result, bail, ensure};

const METHOD_FRAME: u8 = 1;
const HEARTBEAT_FRAME: u8 = 8;
const FRAME_END: u8 = 0xce;
/// More than a broker ever sends in a method; a larger size means that it is no broker.
const LARGEST_FRAME: u32 = 1024 * 1024;

/// A method by class and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method(pub(super) u16, pub(super) u16);

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.0, self.1) {
            (10, 10) => "connection.start",
            (10, 30) => "connection.tune",
            (10, 41) => "connection.open-ok",
            (10, 51) => "connection.close-ok",
            (20, 11) => "channel.open-ok",
            (50, 11) => "queue.declare-ok",
            (class, number) => return write!(f, "{class}.{number}"),
        })
    }
}

/// The arguments of a method: written from the front, or read from the front.
pub(super) struct Arguments {
    bytes: Vec<u8>,
    read: usize,
}

impl Arguments {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            read: 0,
        }
    }

    pub(super) fn octet(mut self, value: u8) -> Self {
        self.bytes.push(value);
        self
    }

    pub(super) fn short(mut self, value: u16) -> Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, value: u32) -> Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    /// At most 255 bytes; what is longer is cut, and no broker knows a user or queue like that.
    pub(super) fn short_string(mut self, text: &str) -> Self {
        let bytes = &text.as_bytes()[..text.len().min(255)];
        self.bytes.push(bytes.len() as u8);
        self.bytes.extend(bytes);
        self
    }

    pub(super) fn long_string(self, bytes: &[u8]) -> Self {
        let mut with_size = self.long(bytes.len() as u32);
        with_size.bytes.extend(bytes);
        with_size
    }

    pub(super) fn empty_table(self) -> Self {
        self.long(0)
    }

    /// A table with one entry: a table in which each of `flags` is true.
    pub(super) fn table_of_flags(self, name: &str, flags: &[&str]) -> Self {
        let mut inner = Self::new();
        for flag in flags {
            inner = inner.short_string(flag).octet(b't').octet(1);
        }
        let outer = Self::new().short_string(name).octet(b'F');
        self.long_string(&outer.long_string(&inner.bytes).bytes)
    }

    pub(super) fn read_short_string(&mut self) -> Result<String> {
        let length = usize::from(self.take(1)?[0]);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    /// Reads a 16-bit number.
    pub(super) fn read_short(&mut self) -> Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Reads a 32-bit number.
    pub(super) fn read_long(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn take(&mut self, length: usize) -> Result<&[u8]> {
        let end = self.read + length;
        ensure!(end <= self.bytes.len(), "an AMQP method ends too early");
        let taken = &self.bytes[self.read..end];
        self.read = end;
        Ok(taken)
    }
}

/// Writes one method as a frame of its own.
pub(super) fn write_method(
    stream: &mut impl Write,
    channel: u16,
    method: Method,
    arguments: Arguments,
) -> Result<()> {
    let payload = Arguments::new().short(method.0).short(method.1);
    let mut frame = Arguments::new().octet(METHOD_FRAME).short(channel);
    frame = frame.long((payload.bytes.len() + arguments.bytes.len()) as u32);
    frame.bytes.extend(payload.bytes);
    frame.bytes.extend(arguments.bytes);
    stream
        .write_all(&frame.octet(FRAME_END).bytes)
        .context("writing to the broker")
}

/// Reads the next method, whatever its channel. Heartbeats are passed over.
pub(super) fn read_method(stream: &mut impl Read) -> Result<(Method, Arguments)> {
    loop {
        let mut head = [0; 7];
        read(stream, &mut head)?;
        let kind = head[0];
        if kind != METHOD_FRAME && kind != HEARTBEAT_FRAME {
            bail!("what came back is no AMQP method frame (it begins with {kind})");
        }
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        ensure!(size <= LARGEST_FRAME, "an AMQP frame claims {size} bytes");
        let mut payload = vec![0; size as usize];
        read(stream, &mut payload)?;
        let mut end = [0];
        read(stream, &mut end)?;
        ensure!(end[0] == FRAME_END, "an AMQP frame has no end mark");
        if kind == METHOD_FRAME {
            let mut arguments = Arguments {
                bytes: payload,
                read: 0,
            };
            let method = Method(arguments.read_short()?, arguments.read_short()?);
            return Ok((method, arguments));
        }
    }
}

fn read(stream: &mut impl Read, bytes: &mut [u8]) -> Result<()> {
    match stream.read_exact(bytes) {
        // How a socket says that its deadline passed.
        Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("no answer came in time"),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => bail!("it hung up"),
        other => other.context("reading from the broker"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_are_passed_over() {
        let bytes =
            b"\x08\x00\x00\x00\x00\x00\x00\xce\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x33\xce";
        let (method, _) = read_method(&mut &bytes[..]).unwrap();
        assert_eq!(method, Method(10, 51));
    }

    #[test]
    fn silence_and_an_end_are_told() {
        struct Silent;
        impl Read for Silent {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(ErrorKind::WouldBlock.into())
            }
        }
        let error = read_method(&mut Silent).err().unwrap();
        assert_eq!(error.to_string(), "no answer came in time");
        let error = read_method(&mut &b"\x01\x00"[..]).err().unwrap();
        assert_eq!(error.to_string(), "it hung up");
    }

    #[test]
    fn a_broken_frame_is_told() {
        let cases: [(&[u8], &str); 3] = [
            (
                b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x33\x00",
                "an AMQP frame has no end mark",
            ),
            (
                b"\x01\x00\x00\xff\xff\xff\xff\x00",
                "an AMQP frame claims 4294967295 bytes",
            ),
            (
                b"\x01\x00\x00\x00\x00\x00\x02\x00\x0a\xce",
                "an AMQP method ends too early",
            ),
        ];
        for (bytes, expected) in cases {
            let error = read_method(&mut &bytes[..]).err().unwrap();
            assert_eq!(error.to_string(), expected);
        }
    }
}
