//! What a node makes true, one file a service. The order is in the steps' needs, nowhere else.
//!
//! A file here knows its service; how a unit, a file, a database or an API is handled is in
//! [`crate::resource`].

mod access;
mod base;
mod bridge;
mod cells;
mod compute;
mod dashboard;
mod firewall;
mod glance;
mod identity;
mod join;
mod keystone;
mod mariadb;
mod memcached;
mod network_manager;
mod neutron;
mod nova;
mod placement;
mod preflight;
mod rabbitmq;
mod registrar;
mod schema;
mod selinux;
mod shape;
mod time;
mod verify;

use crate::config::Role;
use crate::platform::Platform;
use crate::step::Step;

pub use join::meet_neighbours;
pub use neutron::wait_for_rpc;

/// What every node makes true before it can be anything.
pub fn every_node(platform: &Platform, role: Role) -> Vec<Step> {
    [
        preflight::steps(),
        base::steps(),
        time::steps(),
        firewall::steps(),
        network_manager::steps(platform),
        selinux::steps(platform, role),
        bridge::steps(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What makes a node a controller.
pub fn controller() -> Vec<Step> {
    [
        mariadb::steps(),
        rabbitmq::steps(),
        memcached::steps(),
        keystone::steps(),
        identity::steps(),
        glance::steps(),
        placement::steps(),
        nova::steps(),
        cells::steps(),
        neutron::steps(),
        dashboard::steps(),
        access::steps(),
        registrar::steps(),
        verify::steps(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What makes a node a compute.
pub fn compute() -> Vec<Step> {
    [join::steps(), compute::steps()]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests;
