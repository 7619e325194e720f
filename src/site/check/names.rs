//! Every node has a name of its own.

use std::collections::BTreeMap;

use crate::site::draft::Draft;
use crate::site::problem::Problem;
use crate::site::reader::Located;

/// What leaves room for the longest serial number that is common: VMware's, with 38 characters.
const LONGEST_PREFIX: usize = 24;

pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut problems = Vec::new();
    if let Some(shared) = &draft.shared {
        problems.extend(shared.name_prefix.as_ref().and_then(prefix_is_short));
    }
    for name in draft.everybody().filter_map(|node| node.name.as_ref()) {
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

/// Computes that share a seed need room in their names for what tells them apart.
fn prefix_is_short(prefix: &Located<String>) -> Option<Problem> {
    let length = prefix.value.len();
    (length > LONGEST_PREFIX).then(|| {
        prefix.problem(
            format!("{:?} has {length} characters", prefix.value),
            "at most 24 characters where computes share a seed",
            "shorten it",
        )
    })
}
