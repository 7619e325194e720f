//! The steps of each role.

use crate::node::Node;
use crate::step::Step;

/// Everything that this node has to make true.
pub fn steps(_node: &Node) -> Vec<Step> {
    Vec::new()
}
