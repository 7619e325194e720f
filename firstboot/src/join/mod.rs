//! How a compute becomes a member of a cell: the protocol, its secrets, and the compute's side.
//!
//! ```text
//! node.toml [join] ─▶ key ─▶ client ─TLS, pinned─▶ registrar: enrol, bundle, ready ─▶ kept
//! ```
//!
//! The controller's side is [`crate::registrar`].

pub mod client;
pub mod kept;
pub mod key;
pub mod line;
pub mod protocol;
pub mod tls;
pub mod token;
pub(crate) mod wire;
