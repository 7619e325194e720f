//! The steps of each role.

use std::collections::BTreeSet;

use crate::config::Role;
use crate::node::Node;
use crate::step::Step;
use crate::steps;

/// Everything that this node has to make true.
pub fn steps(node: &Node) -> Vec<Step> {
    let mut all = steps::every_node(&node.platform, node.config.role);
    match node.config.role {
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
