//! What a compute and the registrar say to each other: JSON over HTTP/1.1 over TLS 1.3.
//!
//! ```text
//! GET  /v1/health  anybody          ─▶ Health
//! POST /v1/seed    DescribeRequest  ─▶ Volume       for a node that has none; the token stays as it is
//! POST /v1/enrol   EnrolRequest     ─▶ Enrolled     the token is bound to the key of the connection
//! GET  /v1/bundle  an enrolled key  ─▶ Bundle       what a compute needs, and nothing else
//! POST /v1/ready   ReadyRequest     ─▶ ReadyAnswer  asked again until the host is mapped and enabled
//! ```
//!
//! Every refusal is a [`Refusal`] with its status. A node is known by its key: the SHA-256 of the
//! public key that it proves to hold in the handshake ([`KeyHash`]). Pure types: nothing here
//! opens a file or a socket. Unknown fields are errors, so that a misspelt one is never ignored.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::token::Token;
use crate::config::Peer;

/// The version of these types; any other is refused.
pub const VERSION: u32 = 1;
/// Where the registrar listens on the controller's management address (TCP).
pub const PORT: u16 = 8999;
/// The largest body that either side takes, in bytes: a bundle names every node.
pub const BODY_LIMIT_BYTES: usize = 1024 * 1024;
/// How far the clocks of a node and the controller may be apart, in seconds: Keystone's tokens and
/// Nova's heartbeats are compared between hosts.
pub const CLOCK_LIMIT_SECONDS: u64 = 300;

/// Paths of the registrar.
pub mod path {
    /// Whether it is there. No key is asked for.
    pub const HEALTH: &str = "/v1/health";
    /// What the seed of the node of a token says.
    pub const SEED: &str = "/v1/seed";
    /// Trades a token for membership.
    pub const ENROL: &str = "/v1/enrol";
    /// What the node needs to be a compute.
    pub const BUNDLE: &str = "/v1/bundle";
    /// Asks to be mapped and enabled.
    pub const READY: &str = "/v1/ready";
}

/// SHA-256 of a public key (the DER of its SubjectPublicKeyInfo), in lower case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub String);

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The answer of [`path::HEALTH`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the site.
    pub site: String,
    /// The controller's clock, in seconds since 1970.
    pub clock: u64,
}

/// The body of [`path::SEED`]; the answer is a [`crate::volume::Volume`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribeRequest {
    /// [`VERSION`].
    pub version: u32,
    /// The token of the line that somebody typed.
    pub token: Token,
    /// The name that the node is to have.
    pub name: String,
    /// Its management address.
    pub address: Ipv4Addr,
    /// Its management interface: a kernel name or a MAC address.
    pub interface: String,
    /// Its interface on the provider network, where it has one.
    pub provider_interface: Option<String>,
}

/// The body of [`path::ENROL`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// [`VERSION`].
    pub version: u32,
    /// The token of the seed, or of the line that somebody typed.
    pub token: Token,
    /// The name that the node goes by.
    pub name: String,
    /// Its management address.
    pub address: Ipv4Addr,
    /// The UUID of the machine by its firmware (DMI), where it tells one; lower case.
    pub machine: Option<String>,
    /// The node's clock, in seconds since 1970.
    pub clock: u64,
    /// The version of the agent.
    pub agent: String,
}

/// The answer of [`path::ENROL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// [`VERSION`].
    pub version: u32,
    /// The name that it is known by from now on.
    pub name: String,
}

/// The answer of [`path::BUNDLE`]: what a compute needs. No database, no administrator, no key of
/// an authority is ever in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`VERSION`].
    pub version: u32,
    /// The node that it is for.
    pub name: String,
    /// What goes into `/etc/nova/compute_id`: new, or what this host had before.
    pub compute_id: String,
    /// The node's own account at the broker.
    pub broker_user: String,
    /// Passwords by the names of [`crate::secrets`]: `rabbitmq` (of the node's own account),
    /// `service-nova`, `service-placement`, `service-neutron`.
    pub secrets: BTreeMap<String, String>,
    /// Every node that the controller knows, for `/etc/hosts` and the firewall.
    pub nodes: Vec<Peer>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({}, redacted)", self.name)
    }
}

/// The body of [`path::READY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadyRequest {
    /// [`VERSION`].
    pub version: u32,
}

/// The answer of [`path::READY`]. The registrar answers within half a minute, whatever it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ReadyAnswer {
    /// Ask again; what is missing still, as in `nova-compute of compute1 to report`.
    Waiting(String),
    /// The host is mapped into its cell and enabled.
    Joined(Membership),
}

/// A host in its cell, as Nova and Placement confirmed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Name of the cell, as in `cell1`.
    pub cell: String,
    /// Its UUID.
    pub cell_uuid: String,
    /// The UUID of the nova-compute service.
    pub service: String,
    /// The UUID of the resource provider, which is the node's `compute_id`.
    pub provider: String,
    /// From the moment at which the registrar first saw the node's nova-compute report to the one
    /// at which it was mapped and enabled, in milliseconds.
    pub milliseconds: u64,
}

impl Membership {
    /// True if both say the same, however long each took.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let ids = |it: &Self| {
            (
                it.cell_uuid.clone(),
                it.service.clone(),
                it.provider.clone(),
            )
        };
        ids(self) == ids(other)
    }
}

/// Why the registrar does not do what it was asked. The status of the answer follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The request is not one of this protocol.
    Malformed,
    /// Another version of the protocol.
    OtherVersion,
    /// No such token, or not its secret: both look the same from outside.
    UnknownToken,
    /// The token was good until some time ago.
    ExpiredToken,
    /// Other keys used the token up.
    UsedToken,
    /// Somebody revoked the token.
    RevokedToken,
    /// The token is for another node.
    OtherNode,
    /// Another key has this name.
    NameTaken,
    /// Another node has this address.
    AddressTaken,
    /// Another node has this DMI UUID.
    MachineTaken,
    /// The clocks are too far apart.
    Clock,
    /// The key is not enrolled.
    UnknownKey,
    /// Too many requests; ask again later.
    Busy,
    /// The controller could not do its part; ask again later.
    Unavailable,
}

impl Cause {
    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::OtherVersion => 400,
            Self::UnknownToken | Self::UnknownKey => 401,
            Self::ExpiredToken | Self::UsedToken | Self::RevokedToken | Self::OtherNode => 403,
            Self::NameTaken | Self::AddressTaken | Self::MachineTaken | Self::Clock => 409,
            Self::Busy => 429,
            Self::Unavailable => 503,
        }
    }

    /// True if the same request may be answered otherwise in a while, without anybody's doing.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable | Self::Clock)
    }
}

/// The body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// [`VERSION`].
    pub version: u32,
    /// What is wrong, for programs.
    pub cause: Cause,
    /// What is wrong, in a sentence without a secret.
    pub reason: String,
    /// What to do about it, and where.
    pub hint: String,
}

impl Refusal {
    /// A refusal of this version.
    pub fn new(cause: Cause, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            version: VERSION,
            cause,
            reason: reason.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nhint: {}", self.reason, self.hint)
    }
}

impl std::error::Error for Refusal {}
