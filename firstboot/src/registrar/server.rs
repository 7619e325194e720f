//! The registrar's side of the wire: who connects, what is asked, and what may be answered to whom.
//!
//! A thread a connection, bounded in number and time. What is decided, the [`Desk`] decides.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ServerConfig, ServerConnection};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::join::protocol::{
    Bundle, Cause, DescribeRequest, EnrolRequest, Enrolled, Health, KeyHash, ReadyAnswer,
    ReadyRequest, Refusal, VERSION, path,
};
use crate::join::tls::peer_key;
use crate::join::wire::{self, Timed, WireError};
use crate::volume::Volume;
use crate::{interrupt, wait};

/// More than that many nodes ask at once only if something is wrong; those beyond try again.
const CONNECTIONS: usize = 256;
/// For the handshake, the head and the body together.
const REQUEST: Duration = Duration::from_secs(10);
/// For an answer to leave.
const ANSWER: Duration = Duration::from_secs(10);
/// How often the loop looks whether it was asked to end.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};
/// What one refused enrolment costs an address, and how far ahead it may be: ten at once, then
/// one each six seconds.
const PENALTY: Duration = Duration::from_secs(6);
const ALLOWANCE: Duration = Duration::from_secs(54);
/// Addresses that are remembered; a flood of them must not fill the memory.
const ADDRESSES: usize = 4096;

/// Who decides.
pub trait Desk: Send + Sync {
    /// That it is there.
    fn health(&self) -> Health;

    /// What the seed of the node of a token says.
    fn seed(&self, request: DescribeRequest) -> std::result::Result<Volume, Refusal>;

    /// Lets the node of this key in, or not.
    fn enrol(
        &self,
        key: &KeyHash,
        peer: IpAddr,
        request: EnrolRequest,
    ) -> std::result::Result<Enrolled, Refusal>;

    /// What the node of this key needs.
    fn bundle(&self, key: &KeyHash) -> std::result::Result<Bundle, Refusal>;

    /// Maps the node of this key. Answers within half a minute.
    fn ready(&self, key: &KeyHash) -> std::result::Result<ReadyAnswer, Refusal>;
}

/// Serves until somebody asks the process to stop.
///
/// # Errors
/// When the listener fails.
pub fn serve(listener: &TcpListener, tls: &Arc<ServerConfig>, desk: &Arc<dyn Desk>) -> Result<()> {
    serve_until(listener, tls, desk, interrupt::requested)
}

fn serve_until(
    listener: &TcpListener,
    tls: &Arc<ServerConfig>,
    desk: &Arc<dyn Desk>,
    stop: impl Fn() -> bool,
) -> Result<()> {
    listener
        .set_nonblocking(true)
        .context("preparing the registrar's port")?;
    let hall = Arc::new(Hall::default());
    while !stop() {
        let mut ports = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut ports, Some(&TICK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            other => other.context("waiting for a node")?,
        };
        match listener.accept() {
            Ok((stream, peer)) => {
                let (hall, tls, desk) = (Arc::clone(&hall), Arc::clone(tls), Arc::clone(desk));
                admit(hall, stream, peer, tls, desk);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // Out of file descriptors, say: those who are served give theirs back.
                tracing::warn!("a connection could not be taken: {error}");
                wait::pause(Duration::from_millis(100));
            }
        }
    }
    Ok(())
}

/// Everybody who is being served.
#[derive(Default)]
struct Hall {
    inside: AtomicUsize,
    /// When each address may fail again, if it failed before.
    failed: Mutex<HashMap<IpAddr, Instant>>,
}

impl Hall {
    fn is_barred(&self, peer: IpAddr) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let paid = failed.get(&peer);
        paid.is_some_and(|paid| *paid > Instant::now() + ALLOWANCE)
    }

    fn charge(&self, peer: IpAddr) {
        let now = Instant::now();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= ADDRESSES {
            failed.retain(|_, paid| *paid > now);
        }
        if failed.len() < ADDRESSES || failed.contains_key(&peer) {
            let paid = failed.entry(peer).or_insert(now);
            *paid = (*paid).max(now) + PENALTY;
        }
    }
}

fn admit(
    hall: Arc<Hall>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Arc<ServerConfig>,
    desk: Arc<dyn Desk>,
) {
    // Counted here, so that the bound holds however slowly threads start.
    if hall.inside.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
        hall.inside.fetch_sub(1, Ordering::SeqCst);
        return;
    }
    let counted = Arc::clone(&hall);
    let served = move || {
        if let Err(error) = talk(&hall, stream, peer.ip(), tls, &*desk) {
            tracing::debug!(peer = %peer.ip(), "a connection came to nothing: {error:#}");
        }
        hall.inside.fetch_sub(1, Ordering::SeqCst);
    };
    if let Err(error) = std::thread::Builder::new().spawn(served) {
        tracing::warn!("starting a thread: {error}");
        counted.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

fn talk(
    hall: &Hall,
    stream: TcpStream,
    peer: IpAddr,
    tls: Arc<ServerConfig>,
    desk: &dyn Desk,
) -> Result<()> {
    stream.set_nonblocking(false)?;
    let mut stream = Timed::new(stream, REQUEST);
    let mut connection = ServerConnection::new(tls)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let key = peer_key(&connection);
    let request = wire::read_request(&mut rustls::Stream::new(&mut connection, &mut stream));
    let (status, body) = match request {
        Ok(request) => {
            let visit = Visit { peer, key, request };
            visit.answer(hall, desk)
        }
        Err(WireError::Io(error)) => return Err(error.into()),
        Err(error) => {
            let status = match error {
                WireError::HeadTooLarge => 431,
                WireError::BodyTooLarge => 413,
                _ => 400,
            };
            (status, refused(&malformed(&error.to_string())).1)
        }
    };
    stream.extend(ANSWER);
    wire::write_answer(
        &mut rustls::Stream::new(&mut connection, &mut stream),
        status,
        &body,
    )?;
    connection.send_close_notify();
    while connection.wants_write() {
        connection.write_tls(&mut stream)?;
    }
    stream.stream().shutdown(std::net::Shutdown::Write)?;
    // What was sent beyond the limits is still on its way: closing over it would destroy the
    // answer before it is read.
    let mut rest = [0; 4096];
    while std::io::Read::read(&mut stream, &mut rest)? > 0 {}
    Ok(())
}

/// One request and who sent it.
struct Visit {
    peer: IpAddr,
    key: Option<KeyHash>,
    request: wire::Request,
}

impl Visit {
    fn answer(&self, hall: &Hall, desk: &dyn Desk) -> (u16, Vec<u8>) {
        let methods = [
            (path::HEALTH, "GET"),
            (path::SEED, "POST"),
            (path::ENROL, "POST"),
            (path::BUNDLE, "GET"),
            (path::READY, "POST"),
        ];
        let known = methods.iter().find(|(path, _)| *path == self.request.path);
        let Some((path, method)) = known else {
            return (404, refused(&malformed("there is no such path here")).1);
        };
        if *method != self.request.method {
            let reason = format!("{path} is asked by {method}");
            return (405, refused(&malformed(&reason)).1);
        }
        match *path {
            path::HEALTH => given(&desk.health()),
            path::SEED => self.for_a_token(hall, |_| desk.seed(self.read()?)),
            path::ENROL => self.for_a_token(hall, |key| desk.enrol(key, self.peer, self.read()?)),
            path::BUNDLE => self.respond(|key| desk.bundle(key)),
            _ => self.respond(|key| {
                self.read::<ReadyRequest>()?;
                desk.ready(key)
            }),
        }
    }

    /// An answer that takes a good token. Whoever comes with others is answered slowly.
    fn for_a_token<T: Serialize>(
        &self,
        hall: &Hall,
        decide: impl FnOnce(&KeyHash) -> std::result::Result<T, Refusal>,
    ) -> (u16, Vec<u8>) {
        if hall.is_barred(self.peer) {
            return refused(&Refusal::new(
                Cause::Busy,
                "too many enrolments from this address were refused",
                "wait a minute; `journalctl -u cellboot-registrar` on the controller says why",
            ));
        }
        let answer = self.respond(decide);
        // A controller that cannot answer is nobody's fault.
        if (400..500).contains(&answer.0) {
            hall.charge(self.peer);
        }
        answer
    }

    /// The answer to whoever has a key, written down without a secret.
    fn respond<T: Serialize>(
        &self,
        decide: impl FnOnce(&KeyHash) -> std::result::Result<T, Refusal>,
    ) -> (u16, Vec<u8>) {
        let decided = match &self.key {
            Some(key) => decide(key),
            None => Err(Refusal::new(
                Cause::UnknownKey,
                "the connection shows no key",
                "use `firstboot` of the node's own image to join",
            )),
        };
        let (peer, path) = (self.peer, self.request.path.as_str());
        let key = self.key.as_ref().map_or("none", |key| key.0.as_str());
        match decided {
            Ok(answer) => {
                tracing::info!(%peer, key, path, "{path} answered to {peer}");
                given(&answer)
            }
            Err(refusal) => {
                let cause = format!("{:?}", refusal.cause);
                let reason = plain(&refusal.reason);
                tracing::warn!(%peer, key, path, cause, "{path} refused to {peer}: {reason}");
                refused(&refusal)
            }
        }
    }

    /// The body, whose version is looked at before anything else in it.
    fn read<T: DeserializeOwned>(&self) -> std::result::Result<T, Refusal> {
        #[derive(serde::Deserialize)]
        struct Versioned {
            version: u32,
        }
        // What the parser says could quote the token: only the place is told.
        let wrong = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            malformed(&format!(
                "the body is wrong at line {line}, column {column}"
            ))
        };
        let versioned: Versioned = serde_json::from_slice(&self.request.body).map_err(wrong)?;
        if versioned.version != VERSION {
            return Err(Refusal::new(
                Cause::OtherVersion,
                format!(
                    "the node speaks version {}, this controller version {VERSION}",
                    versioned.version
                ),
                "build the images of the controller and of the computes with the same cellboot",
            ));
        }
        serde_json::from_slice(&self.request.body).map_err(wrong)
    }
}

fn malformed(reason: &str) -> Refusal {
    Refusal::new(
        Cause::Malformed,
        reason,
        "build the images of the controller and of the computes with the same cellboot",
    )
}

fn given(answer: &impl Serialize) -> (u16, Vec<u8>) {
    match serde_json::to_vec(answer) {
        Ok(body) => (200, body),
        Err(error) => {
            tracing::error!("writing an answer: {error}");
            (503, Vec::new())
        }
    }
}

fn refused(refusal: &Refusal) -> (u16, Vec<u8>) {
    let body = serde_json::to_vec(refusal).unwrap_or_default();
    (refusal.cause.status(), body)
}

/// What a stranger sent, for one line of a log.
fn plain(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(200).map(visible).collect()
}

#[cfg(test)]
mod tests;
