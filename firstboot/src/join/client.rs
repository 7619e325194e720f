//! The compute's side of the wire: one connection a call.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::NodeKey;
use super::protocol::{
    Bundle, DescribeRequest, EnrolRequest, Enrolled, Health, ReadyAnswer, ReadyRequest, Refusal,
    VERSION, path,
};
use super::tls::{self, NotPinned};
use super::wire::{self, Timed};
use crate::volume::Volume;

const CONNECT: Duration = Duration::from_secs(10);
/// The registrar answers within half a minute, and a machine may be emulated.
const CALL: Duration = Duration::from_secs(90);

/// A way to the registrar.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    pin: String,
    tls: Arc<ClientConfig>,
}

impl Client {
    /// The registrar at this address, known by this pin; the node is known by this key.
    ///
    /// # Errors
    /// When the pin is none.
    pub fn new(address: SocketAddr, pin: &str, key: &NodeKey) -> Result<Self> {
        Ok(Self {
            address,
            pin: pin.to_owned(),
            tls: tls::client_config(pin, key)?,
        })
    }

    /// Whether it is there.
    pub fn health(&self) -> Result<Health> {
        self.call("GET", path::HEALTH, &())
    }

    /// What the seed of this node would say.
    pub fn seed(&self, request: &DescribeRequest) -> Result<Volume> {
        self.call("POST", path::SEED, request)
    }

    /// Trades the token for membership.
    ///
    /// # Errors
    /// As every call: a [`Refusal`] that can be downcast, or what [`is_absent`] tells.
    pub fn enrol(&self, request: &EnrolRequest) -> Result<Enrolled> {
        self.call("POST", path::ENROL, request)
    }

    /// What the node needs.
    pub fn bundle(&self) -> Result<Bundle> {
        self.call("GET", path::BUNDLE, &())
    }

    /// Asks to be mapped and enabled.
    pub fn ready(&self) -> Result<ReadyAnswer> {
        self.call("POST", path::READY, &ReadyRequest { version: VERSION })
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let body = match method {
            "GET" => Vec::new(),
            _ => serde_json::to_vec(body).with_context(|| format!("writing {path} as JSON"))?,
        };
        let answer = self
            .exchange(method, path, &body)
            .with_context(|| format!("asking the registrar at {} for {path}", self.address))?;
        if answer.status != 200 {
            let refusal: Refusal = parse(&answer.body)
                .with_context(|| format!("{path} was answered {}", answer.status))?;
            return Err(refusal.into());
        }
        parse(&answer.body).with_context(|| format!("reading the answer to {path}"))
    }

    fn exchange(&self, method: &str, path: &str, body: &[u8]) -> Result<wire::Answer> {
        let stream = TcpStream::connect_timeout(&self.address, CONNECT).map_err(NoConnection)?;
        let mut stream = Timed::new(stream, CALL);
        let name = ServerName::IpAddress(self.address.ip().into());
        let mut connection = ClientConnection::new(Arc::clone(&self.tls), name)?;
        // Nothing is sent before the registrar has proved that it is the one of the pin.
        while connection.is_handshaking() {
            let done = connection.complete_io(&mut stream);
            done.map_err(|error| self.stranger(error))?;
        }
        let mut tls = rustls::Stream::new(&mut connection, &mut stream);
        wire::write_request(&mut tls, method, path, &self.address.to_string(), body)?;
        Ok(wire::read_answer(&mut tls)?)
    }

    /// Why the handshake failed, in words that lead somewhere.
    fn stranger(&self, error: io::Error) -> anyhow::Error {
        let inner = error.get_ref();
        let Some(rustls) = inner.and_then(|error| error.downcast_ref::<rustls::Error>()) else {
            return error.into();
        };
        let rustls::Error::InvalidCertificate(wrong) = rustls else {
            return anyhow!("the TLS handshake failed: {rustls}");
        };
        match wrong {
            CertificateError::Other(other) if other.0.is::<NotPinned>() => anyhow!(
                "it is not the registrar that this node was made for: none of its certificates \
                 has the key {}\n\
                 hint: make the node's seed again with the secrets/ of the site whose controller \
                 that is, or look who answers at that address",
                self.pin
            ),
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => anyhow!(
                "its certificate is not good at the time that this node's clock shows: {wrong}\n\
                 hint: set the clock (`chronyc makestep`), or make the controller's seed again if \
                 the clock is right"
            ),
            _ => anyhow!(
                "its certificate does not hold: {wrong}\n\
                 hint: make the seeds of the controller and of this node again with `cellboot seed`"
            ),
        }
    }
}

/// An answer may hold passwords, and the parser's own message could quote one.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        anyhow!("it is not what this agent knows, at line {line}, column {column}")
    })
}

/// No connection came about, for whatever reason: a controller that is coming up answers in many
/// ways, and the kernel has an error for none of them at times ("no error set after POLLHUP").
#[derive(Debug)]
struct NoConnection(io::Error);

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for NoConnection {}

/// True if nobody answered, or only half: the controller is off, starts, or is too busy. Who
/// answers and is not to be trusted is not absent.
pub fn is_absent(error: &anyhow::Error) -> bool {
    use io::ErrorKind as Kind;
    error.chain().any(|cause| {
        if cause.is::<NoConnection>() {
            return true;
        }
        cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                Kind::ConnectionRefused
                    | Kind::ConnectionReset
                    | Kind::ConnectionAborted
                    | Kind::BrokenPipe
                    | Kind::UnexpectedEof
                    | Kind::TimedOut
                    | Kind::HostUnreachable
                    | Kind::NetworkUnreachable
                    | Kind::NetworkDown
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_connection_is_an_absent_controller_whatever_the_error() {
        let odd = io::Error::other("no error set after POLLHUP");
        let error = anyhow::Error::from(NoConnection(odd)).context("asking the registrar");
        assert!(is_absent(&error), "{error:#}");
        assert_eq!(
            format!("{error:#}"),
            "asking the registrar: no error set after POLLHUP"
        );
        assert!(!is_absent(&anyhow!("its certificate does not hold")));
    }

    #[test]
    fn a_port_where_nobody_listens_is_an_absent_controller() {
        let directory = tempfile::tempdir().unwrap();
        let key = NodeKey::load_or_create(&directory.path().join("key.pem")).unwrap();
        let pin = format!("sha256:{}", "0".repeat(64));
        let nobody = Client::new("127.0.0.1:1".parse().unwrap(), &pin, &key).unwrap();
        let error = nobody.health().unwrap_err();
        assert!(is_absent(&error), "{error:#}");
        assert!(error.chain().any(|cause| cause.is::<NoConnection>()));
    }
}
