//! A scripted peer on loopback, for the tests of what talks: it checks what it is sent and gives
//! the answers it was told to give. Exists in tests only.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// Nothing in a test takes this long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// What the peer expects to read next, to the byte, and what it then writes.
pub(crate) struct Exchange {
    expected: Vec<u8>,
    answer: Vec<u8>,
}

/// An exchange of these bytes.
pub(crate) fn exchange(expected: impl Into<Vec<u8>>, answer: impl Into<Vec<u8>>) -> Exchange {
    Exchange {
        expected: expected.into(),
        answer: answer.into(),
    }
}

/// A running peer; `T` is what it has to tell at the end.
pub(crate) struct Peer<T> {
    address: SocketAddr,
    thread: JoinHandle<T>,
}

impl<T> Peer<T> {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for its end. Fails the test if something else was sent than expected.
    pub(crate) fn join(self) -> T {
        self.thread
            .join()
            .expect("the peer was sent something else")
    }
}

/// Takes one connection and goes through the exchanges.
pub(crate) fn script(exchanges: Vec<Exchange>) -> Peer<()> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    serve(listener, move |listener| {
        let mut stream = accept(listener);
        for exchange in exchanges {
            let mut seen = vec![0; exchange.expected.len()];
            stream.read_exact(&mut seen).unwrap();
            assert_eq!(seen, exchange.expected);
            stream.write_all(&exchange.answer).unwrap();
        }
    })
}

/// One HTTP request as the peer read it.
#[derive(Debug)]
pub(crate) struct Request {
    /// Method and path, as in `GET /v3`.
    pub(crate) line: String,
    /// Header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body as text.
    pub(crate) body: String,
}

impl Request {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// An HTTP answer: the end of its status line (`200 OK`), more header lines, and a body.
pub(crate) type Reply = (&'static str, Vec<String>, String);

/// Answers one HTTP request after the other, each on its own connection.
pub(crate) fn http(answers: Vec<Reply>) -> Peer<Vec<Request>> {
    http_at(|_| answers)
}

/// The same, for answers that contain the peer's own address.
pub(crate) fn http_at(answers: impl FnOnce(SocketAddr) -> Vec<Reply>) -> Peer<Vec<Request>> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let answers: Vec<String> = answers(listener.local_addr().unwrap())
        .into_iter()
        .map(|(status, headers, body)| {
            let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
            let length = body.len();
            format!(
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\
                 \r\n{body}"
            )
        })
        .collect();
    serve(listener, move |listener| {
        let mut requests = Vec::new();
        for answer in answers {
            let mut stream = accept(listener);
            requests.push(read_request(&stream));
            stream.write_all(answer.as_bytes()).unwrap();
        }
        requests
    })
}

/// An address at which nothing listens.
pub(crate) fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn serve<T: Send + 'static>(
    listener: TcpListener,
    work: impl FnOnce(&TcpListener) -> T + Send + 'static,
) -> Peer<T> {
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || work(&listener));
    Peer { address, thread }
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn read_request(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let first = line().trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = Vec::new();
    loop {
        let line = line();
        match line.split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let mut request = Request {
        line: first,
        headers,
        body: String::new(),
    };
    // mod_wsgi, in which Keystone and Placement run on EL9, refuses such a request with 411.
    assert_eq!(request.header("transfer-encoding"), None, "{request:?}");
    let length = request
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request.body = String::from_utf8(body).unwrap();
    request
}
