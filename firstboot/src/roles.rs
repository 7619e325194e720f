//! The steps of each role.

use crate::config::Role;
use crate::node::Node;
use crate::step::Step;
use crate::steps;

/// Everything that this node has to make true.
pub fn steps(node: &Node) -> Vec<Step> {
    let mut all = steps::every_node();
    match node.config.role {
        Role::Controller => all.extend(steps::controller()),
        Role::Compute => all.extend(steps::compute()),
    }
    all
}
