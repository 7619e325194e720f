//! The agent that turns a cellboot image into one particular OpenStack node.
//!
//! ```text
//! node.toml ─▶ config ─▶ node ─▶ roles ─▶ graph ─▶ engine ─▶ journal, status, console
//!                          ▲        └ steps ─▶ resource (sql, unit, file, openstack, amqp ...)
//!        platform, secrets, templates
//! ```
//!
//! The builder uses [`config`], [`platform`], [`overlay`], [`render`], [`cmd`], [`files`] and
//! [`wait`] of this library; nothing here knows the builder.

pub mod changes;
pub mod cli;
pub mod clock;
pub mod cmd;
pub mod config;
pub mod console;
pub mod engine;
pub mod failure;
pub mod files;
pub mod graph;
pub mod ini;
pub mod interrupt;
pub mod journal;
pub mod live;
pub mod lock;
pub mod log;
pub mod node;
pub mod notify;
pub mod overlay;
pub mod paths;
pub mod platform;
pub mod render;
pub mod resource;
pub mod roles;
pub mod schema;
pub mod secrets;
pub mod seed;
pub mod status;
pub mod step;
pub mod steps;
pub mod users;
pub mod variables;
pub mod view;
pub mod wait;
