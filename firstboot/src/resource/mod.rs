//! What steps are made of: verbs on one kind of thing each, which may be called again and again.
//!
//! A `check...` only reads; an `ensure...`, `write` or `start` makes it so and changes nothing
//! where it is so already. Nothing in here knows which services a node has.

pub mod amqp;
mod amqp_frame;
pub mod broker;
pub mod config;
pub mod http;
pub mod hypervisor;
pub mod memcached;
pub mod network;
pub mod openstack;
#[cfg(test)]
mod peer;
pub mod selinux;
pub mod sql;
mod systemd;
pub mod unit;
