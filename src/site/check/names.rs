//! Every node has a name of its own.

use std::collections::BTreeMap;

use crate::site::draft::Draft;
use crate::site::problem::Problem;

pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut problems = Vec::new();
    for name in draft.nodes.iter().filter_map(|node| node.name.as_ref()) {
        if name.value.len() > 63 {
            problems.push(name.problem(
                format!("{:?} has {} characters", name.value, name.value.len()),
                "host names of at most 63 characters",
                "shorten the prefix",
            ));
        }
        if let Some(line) = seen.insert(&name.value, name.line) {
            problems.push(name.problem(
                format!(
                    "{:?} is already the name of the node on line {line}",
                    name.value
                ),
                "a name that no other node has",
                "rename one of them",
            ));
        }
    }
    problems
}
