//! The steps of each role.

use std::collections::BTreeSet;

use crate::config::Role;
use crate::node::Node;
use crate::platform::Platform;
use crate::step::Step;
use crate::steps;

/// Everything that this node has to make true.
pub fn steps(node: &Node) -> Vec<Step> {
    of(&node.platform, node.config.role)
}

/// Everything that a node of this role has to make true.
pub fn of(platform: &Platform, role: Role) -> Vec<Step> {
    let mut all = steps::every_node(platform, role);
    match role {
        Role::Controller => all.extend(steps::controller()),
        Role::Compute => all.extend(steps::compute()),
    }
    let names: BTreeSet<_> = all.iter().map(|step| step.name).collect();
    for step in &mut all {
        let wanted = std::mem::take(&mut step.needs_where_there);
        step.needs
            .extend(wanted.iter().filter(|name| names.contains(*name)));
    }
    all
}
