//! As much of HTTP/1.1 as the join needs: one request and one answer a connection, bodies of a
//! stated length, everything bounded.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::protocol::BODY_LIMIT_BYTES;

const HEAD_LIMIT_BYTES: usize = 8 * 1024;
const HEADERS: usize = 32;

/// A request without its headers: none of them means anything here but the length of the body.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// An answer, likewise.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Why nothing could be read.
#[derive(Debug)]
pub(crate) enum WireError {
    /// The connection failed, or ended too early.
    Io(io::Error),
    /// This is not what is spoken here.
    Malformed(&'static str),
    /// The head is larger than any that is meant.
    HeadTooLarge,
    /// The body is larger than any that is meant.
    BodyTooLarge,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Malformed(what) => f.write_str(what),
            Self::HeadTooLarge => write!(f, "the head is larger than {HEAD_LIMIT_BYTES} bytes"),
            Self::BodyTooLarge => write!(f, "the body is larger than {BODY_LIMIT_BYTES} bytes"),
        }
    }
}

impl std::error::Error for WireError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a request.
pub(crate) fn read_request(from: &mut impl Read) -> Result<Request, WireError> {
    let (head, rest) = read_head(from)?;
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(&head);
    if !parsed.is_ok_and(|status| status.is_complete()) {
        return Err(WireError::Malformed("this is no HTTP request"));
    }
    let (method, path) = (request.method, request.path);
    let length = body_length(request.headers)?;
    Ok(Request {
        method: method.unwrap_or_default().to_owned(),
        path: path.unwrap_or_default().to_owned(),
        body: read_body(from, rest, length)?,
    })
}

/// Reads an answer.
pub(super) fn read_answer(from: &mut impl Read) -> Result<Answer, WireError> {
    let (head, rest) = read_head(from)?;
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let parsed = answer.parse(&head);
    if !parsed.is_ok_and(|status| status.is_complete()) {
        return Err(WireError::Malformed("this is no HTTP answer"));
    }
    let status = answer.code.unwrap_or_default();
    let length = body_length(answer.headers)?;
    Ok(Answer {
        status,
        body: read_body(from, rest, length)?,
    })
}

/// Writes a request of these parts.
pub(super) fn write_request(
    to: &mut impl Write,
    method: &str,
    path: &str,
    host: &str,
    body: &[u8],
) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    to.write_all(&[head.as_bytes(), body].concat())?;
    to.flush()
}

/// Writes an answer of these parts.
pub(crate) fn write_answer(to: &mut impl Write, status: u16, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    // Programs read the number; the words after it are for nobody.
    let head = format!(
        "HTTP/1.1 {status} {status}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    to.write_all(&[head.as_bytes(), body].concat())?;
    to.flush()
}

/// The head with its empty line, and what was read beyond it.
fn read_head(from: &mut impl Read) -> Result<(Vec<u8>, Vec<u8>), WireError> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        bytes.extend_from_slice(&buffer[..count]);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let rest = bytes.split_off(end + 4);
            return Ok((bytes, rest));
        }
        if bytes.len() > HEAD_LIMIT_BYTES {
            return Err(WireError::HeadTooLarge);
        }
    }
}

fn body_length(headers: &[httparse::Header<'_>]) -> Result<usize, WireError> {
    let mut length = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(WireError::Malformed("the body has no stated length"));
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).unwrap_or_default();
            let number = text.parse::<usize>();
            match number {
                Ok(number) if length.is_none() => length = Some(number),
                _ => return Err(WireError::Malformed("the body's length is no number")),
            }
        }
    }
    match length.unwrap_or(0) {
        length if length > BODY_LIMIT_BYTES => Err(WireError::BodyTooLarge),
        length => Ok(length),
    }
}

fn read_body(from: &mut impl Read, rest: Vec<u8>, length: usize) -> Result<Vec<u8>, WireError> {
    if rest.len() > length {
        return Err(WireError::Malformed("there is more than one request"));
    }
    let mut body = rest;
    let begun = body.len();
    body.resize(length, 0);
    from.read_exact(&mut body[begun..])?;
    Ok(body)
}

/// A socket on which nothing takes longer than to a moment: however slowly the other end sends,
/// byte by byte, it comes to an end.
pub(crate) struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    /// The socket, until so long from now.
    pub(crate) fn new(stream: TcpStream, time: Duration) -> Self {
        Self {
            stream,
            deadline: Instant::now() + time,
        }
    }

    /// Moves the moment to so long from now.
    pub(crate) fn extend(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    /// The socket itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

/// A socket's own word for a time that ran out is the one for "try again".
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<Request, String> {
        read_request(&mut text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let mut sent = Vec::new();
        write_request(&mut sent, "POST", "/v1/enrol", "10.0.0.1", b"{}").unwrap();
        let request = read_request(&mut sent.as_slice()).unwrap();
        let parts = (request.method.as_str(), request.path.as_str());
        assert_eq!(parts, ("POST", "/v1/enrol"));
        assert_eq!(request.body, b"{}");
        let mut sent = Vec::new();
        write_answer(&mut sent, 409, b"[]").unwrap();
        let answer = read_answer(&mut sent.as_slice()).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (409, &b"[]"[..]));
    }

    #[test]
    fn what_is_not_spoken_here_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(10_000));
        let table = [
            ("hello\r\n\r\n", "this is no HTTP request"),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "the body has no stated length",
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\n{}",
                "the body's length is no number",
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                "the body's length is no number",
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n",
                "the body is larger than 1048576 bytes",
            ),
            (
                "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                "there is more than one request",
            ),
            (&long, "the head is larger than 8192 bytes"),
            ("GET / HTTP/1.1\r\n", "unexpected end of file"),
        ];
        for (text, expected) in table {
            assert_eq!(request(text).err().as_deref(), Some(expected), "{text:.40}");
        }
    }
}
