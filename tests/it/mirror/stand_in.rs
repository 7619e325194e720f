//! A mirror on loopback: a stand-in for those of CentOS, which cannot be reached here. It serves a
//! tree that lorax could have made, and misbehaves where it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};

use cellboot::kickstart::Mirrors;
use firstboot::files::{Ownership, replace};
use firstboot::platform::Platform;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};

/// What is done with a request for one path.
#[derive(Debug, Clone)]
pub(super) enum Conduct {
    /// The whole file, or the range that was asked for.
    Serve(Vec<u8>),
    /// The head of the whole file and so many of its bytes, then the connection is closed.
    CloseAfter(Vec<u8>, usize),
    /// The same, and then nothing, with the connection open.
    StallAfter(Vec<u8>, usize),
    /// This status and no content.
    Status(u16),
    /// The whole file, whatever range was asked for.
    IgnoreRange(Vec<u8>),
    /// Somewhere else.
    Redirect(String),
}

/// A mirror that runs until the test ends.
pub(super) struct Mirror {
    pub(super) address: SocketAddr,
    paths: Arc<Mutex<BTreeMap<String, Conduct>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    /// Over plain HTTP.
    pub(super) fn plain() -> Self {
        Self::start(None)
    }

    /// Over TLS, with a certificate whose own authority is written to `authority`.
    pub(super) fn secure(authority: &Path) -> Self {
        let names = vec!["127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        replace(
            authority,
            made.cert.pem().as_bytes(),
            Ownership::mode(0o644),
        )
        .unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
                .unwrap();
        Self::start(Some(Arc::new(config)))
    }

    fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mirror = Self {
            address: listener.local_addr().unwrap(),
            paths: Arc::default(),
            requests: Arc::default(),
        };
        let (paths, requests) = (Arc::clone(&mirror.paths), Arc::clone(&mirror.requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, paths, requests) = (tls.clone(), paths.clone(), requests.clone());
                std::thread::spawn(move || match tls {
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        answer(StreamOwned::new(connection, stream), &paths, &requests)
                    }
                    None => answer(stream, &paths, &requests),
                });
            }
        });
        mirror
    }

    pub(super) fn set(&self, path: &str, conduct: Conduct) {
        self.paths.lock().unwrap().insert(path.to_owned(), conduct);
    }

    /// What was asked for so far, as `PATH` or `PATH RANGE`.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// A tree below `/9-stream/BaseOS/x86_64/os/`, whose three parts hold these bytes.
    pub(super) fn tree(&self, kernel: &[u8], initrd: &[u8], stage2: &[u8]) {
        let parts = [
            ("images/pxeboot/vmlinuz", kernel),
            ("images/pxeboot/initrd.img", initrd),
            ("images/install.img", stage2),
        ];
        let mut sums = String::from("[checksums]\n");
        for (path, content) in parts {
            let digest = Sha256::digest(content);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            sums += &format!("{path} = sha256:{hex}\n");
            self.set(&format!("{TREE}{path}"), Conduct::Serve(content.to_vec()));
        }
        let info = format!(
            "{sums}\n[general]\narch = x86_64\nversion = 9\n\n[images-x86_64]\n\
             initrd = images/pxeboot/initrd.img\nkernel = images/pxeboot/vmlinuz\n\n\
             [release]\nname = CentOS Stream\nversion = 9\n\n\
             [stage2]\nmainimage = images/install.img\n\n[tree]\narch = x86_64\n"
        );
        self.set(
            &format!("{TREE}.treeinfo"),
            Conduct::Serve(info.into_bytes()),
        );
    }

    /// The descriptions of the repositories of a platform's own release; there are no packages.
    pub(super) fn repositories(&self) {
        let platform = Platform::load("centos-stream-9").unwrap();
        let mirrors = Mirrors {
            main: "/9-stream".to_owned(),
            sigs: SIGS.to_owned(),
        };
        let all = mirrors.repositories(&platform, &platform.release).unwrap();
        for repository in all {
            let path = format!("{}repodata/repomd.xml", repository.url);
            self.set(&path, Conduct::Serve(b"<repomd/>".to_vec()));
        }
    }
}

/// Where the tree is.
pub(super) const TREE: &str = "/9-stream/BaseOS/x86_64/os/";
/// Where the repositories of the special interest groups are.
pub(super) const SIGS: &str = "/SIGs";

/// One request and its answer; the connection ends with it.
fn answer<S: Read + Write>(
    mut stream: S,
    paths: &Mutex<BTreeMap<String, Conduct>>,
    requests: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    {
        let mut reader = BufReader::with_capacity(1, &mut stream);
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(count) if count > 0 && line.trim() != "" => head.push(line.trim().to_owned()),
                _ => break,
            }
        }
    }
    let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else {
        return;
    };
    let range = head.iter().find_map(|line| {
        let value = line.to_ascii_lowercase();
        let first = value.strip_prefix("range: bytes=")?.strip_suffix('-')?;
        first.parse::<usize>().ok()
    });
    let asked = match range {
        Some(first) => format!("{path} {first}-"),
        None => path.to_owned(),
    };
    requests.lock().unwrap().push(asked);
    let conduct = paths.lock().unwrap().get(path).cloned();
    // A client may leave when it has heard enough.
    let _ = match conduct.unwrap_or(Conduct::Status(404)) {
        Conduct::Serve(content) => serve(&mut stream, &content, range),
        Conduct::IgnoreRange(content) => serve(&mut stream, &content, None),
        Conduct::CloseAfter(content, count) => begin(&mut stream, &content, count),
        Conduct::StallAfter(content, count) => {
            let begun = begin(&mut stream, &content, count);
            // Until the client gives up and hangs up.
            let _ = stream.read(&mut [0]);
            begun
        }
        Conduct::Status(status) => write!(
            stream,
            "HTTP/1.1 {status} Status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        Conduct::Redirect(to) => write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        ),
    };
    let _ = stream.flush();
}

fn serve(stream: &mut impl Write, content: &[u8], range: Option<usize>) -> std::io::Result<()> {
    let total = content.len();
    let (status, rest, extra) = match range {
        Some(first) if first >= total => {
            return write!(
                stream,
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{total}\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        Some(first) => (
            "206 Partial Content",
            &content[first..],
            format!("Content-Range: bytes {first}-{}/{total}\r\n", total - 1),
        ),
        None => ("200 OK", content, String::new()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{extra}Connection: close\r\n\r\n",
        rest.len()
    )?;
    stream.write_all(rest)
}

fn begin(stream: &mut impl Write, content: &[u8], count: usize) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        content.len()
    )?;
    stream.write_all(&content[..count])?;
    stream.flush()
}

/// A listener that accepts and never says a word.
pub(super) fn mute() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address of loopback where nobody listens.
pub(super) fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
