//! OpenStack's APIs: one token for each scope, typed answers.
//!
//! One `openstack` command needs 20 seconds and more on an emulated processor before it says
//! anything; the same call from here needs what the service needs. A [`Session`] logs in, knows
//! the catalog and calls; each other module is the verbs of one API. URLs carry identifiers,
//! never names, so that keystone logs no lookup that failed.

mod answer;
mod assignment;
mod call;
mod catalog;
pub mod compute;
mod identity;
pub mod image;
pub mod network;
pub mod placement;
#[cfg(test)]
mod scripted;
pub mod server;
mod service;
mod session;

pub use assignment::{Assignment, Scope, check_assignments, ensure_assignments};
pub use identity::{
    User, check_project, check_role, check_user, ensure_project, ensure_role, ensure_user,
};
pub use service::{Service, check_services, ensure_services};
pub use session::{Session, Sessions};

/// The domain that `keystone-manage bootstrap` makes, and the only one that is used here.
const DEFAULT_DOMAIN: &str = "default";
