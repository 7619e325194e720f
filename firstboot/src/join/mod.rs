//! How a compute becomes a member of a cell: the protocol, its secrets, and the compute's side.
//!
//! ```text
//! node.toml [join] ─▶ key ─▶ client ─TLS, pinned─▶ registrar: enrol, bundle, ready ─▶ joined
//! ```
//!
//! The controller's side is [`crate::registrar`].

pub mod protocol;
pub mod token;
