//! The registrar: the controller's side of a join.
//!
//! ```text
//! connection ─▶ server (TLS, HTTP) ─▶ desk (who may what) ─▶ store (state.json)
//!                                       └ ready ─▶ discovery (nova-manage, placement, enable)
//! ```
//!
//! Who asks is in [`crate::join`].

pub mod accounts;
pub mod cloud;
pub mod desk;
pub mod discovery;
pub mod policy;
pub mod removal;
pub mod server;
