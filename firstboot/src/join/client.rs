//! Stub to compile against, until the module that talks to the registrar is merged.

use std::net::SocketAddr;

use anyhow::{Result, bail};

use super::key::NodeKey;
use super::protocol::{Bundle, EnrolRequest, Enrolled, Health, ReadyAnswer};

/// A way to the registrar.
pub struct Client(SocketAddr);

impl Client {
    /// The registrar at this address, known by this pin.
    pub fn new(address: SocketAddr, _pin: &str, _key: &NodeKey) -> Result<Self> {
        Ok(Self(address))
    }

    /// Whether it is there.
    pub fn health(&self) -> Result<Health> {
        bail!("{} is a stub", self.0)
    }

    /// Trades the token for membership.
    pub fn enrol(&self, _request: &EnrolRequest) -> Result<Enrolled> {
        bail!("{} is a stub", self.0)
    }

    /// What the node needs.
    pub fn bundle(&self) -> Result<Bundle> {
        bail!("{} is a stub", self.0)
    }

    /// Asks to be mapped.
    pub fn ready(&self) -> Result<ReadyAnswer> {
        bail!("{} is a stub", self.0)
    }
}

/// True if nobody answered.
pub fn is_absent(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<std::io::Error>())
}
