//! Every node has its own interfaces, one for each network.

use std::collections::BTreeMap;

use crate::site::draft::{Draft, DraftNode};
use crate::site::problem::Problem;
use crate::site::reader::Located;
use firstboot::config::is_mac_address;

pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    // A shared key names the interface of many nodes; it is said to be wrong once.
    let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, node) in draft.everybody().enumerate() {
        let name = node.name.as_ref().map_or("the node", |name| &name.value);
        if let (Some(management), Some(provider)) = (&node.interface, &node.provider_interface)
            && management.value == provider.value
        {
            problems.push(provider.problem(
                format!("{:?} is also {name}'s management interface", provider.value),
                "an interface for each network",
                "name another one",
            ));
            continue;
        }
        for interface in [&node.interface, &node.provider_interface]
            .into_iter()
            .flatten()
        {
            if !is_mac_address(&interface.value) {
                continue;
            }
            let owner = *owners.entry(&interface.value).or_insert(index);
            if owner != index {
                problems.push(shared(draft, interface, owner));
            }
        }
        problems.extend(missing(draft, node, name));
    }
    problems.sort();
    problems.dedup_by(|a, b| (a.line, &a.key) == (b.line, &b.key));
    problems
}

/// A MAC address that another node has already.
fn shared(draft: &Draft, interface: &Located<String>, owner: usize) -> Problem {
    let owner = draft.everybody().nth(owner);
    let owner = owner.and_then(|node| node.name.as_ref());
    let owner = owner.map_or("another node", |name| &name.value);
    interface.problem(
        format!("the MAC address {} is already {owner}'s", interface.value),
        "a MAC address that no other node has",
        "give each node its own, or name the interface as the kernel does",
    )
}

/// A node without a way to the provider network, or with one where there is none.
fn missing(draft: &Draft, node: &DraftNode, name: &str) -> Option<Problem> {
    match (&draft.provider, &node.provider_interface) {
        (Some(provider), None) if !node.provider_refused && !provider.interface_refused => {
            Some(node.provider_place.problem(
                format!("{name} has no interface on the provider network"),
                "an interface by name or by MAC address",
                "add provider_interface here, or interface to [provider]",
            ))
        }
        (None, Some(interface)) => Some(interface.problem(
            "there is no provider network".into(),
            "a [provider] table",
            "add the table, or remove this key",
        )),
        _ => None,
    }
}
