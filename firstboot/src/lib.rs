//! The agent that turns a cellboot image into one particular OpenStack node.
//!
//! ```text
//! node.toml ─▶ config ─▶ node ─▶ roles ─▶ graph ─▶ engine ─▶ journal, status, console
//!                          ▲        └ steps ─▶ resource (sql, unit, file, openstack, amqp ...)
//!        platform, secrets, templates
//! ```
//!
//! The builder uses [`config`], [`platform`], [`equipment`], [`overlay`], [`render`], [`cmd`], [`files`] and
//! [`wait`] of this library; nothing here knows the builder.

pub mod changes;
pub mod cli;
pub mod clock;
pub mod cmd;
pub mod config;
pub mod console;
pub mod engine;
pub mod equipment;
pub mod failure;
pub mod files;
pub mod graph;
pub mod hash;
pub mod identity;
pub mod ini;
pub mod interrupt;
pub mod join;
pub mod journal;
pub mod kvm;
pub mod live;
pub mod lock;
pub mod log;
pub mod members;
pub mod newcomer;
pub mod node;
pub mod notify;
pub mod overlay;
pub mod paths;
pub mod platform;
pub mod prompt;
pub mod registrar;
pub mod render;
pub mod resource;
pub mod roles;
pub mod schema;
pub mod secrets;
pub mod seed;
pub mod smoke;
pub mod status;
pub mod step;
pub mod steps;
pub mod typed;
pub mod users;
pub mod variables;
pub mod view;
pub mod volume;
pub mod wait;

/// What the agent's binary carries so that its version can be read without running it.
pub const VERSION_MARK: &str = concat!("cellboot-agent-version=", env!("CARGO_PKG_VERSION"), ";");

/// The version of the agent, taken out of [`VERSION_MARK`] so that the mark stays in the binary.
pub fn version() -> &'static str {
    let mark = std::hint::black_box(VERSION_MARK);
    let version = mark.split_once('=').map_or(mark, |(_, version)| version);
    version.trim_end_matches(';')
}
