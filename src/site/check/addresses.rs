//! Addresses: each in its network, each used once, networks apart from each other.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::site::draft::{Draft, DraftProvider};
use crate::site::problem::Problem;
use crate::site::reader::Located;

pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(network) = &draft.network {
        if let Some(gateway) = &draft.gateway {
            problems.extend(misplaced(gateway, network, "the gateway"));
        }
        for node in &draft.nodes {
            let name = node.name.as_ref().map_or("the node", |name| &name.value);
            let place = node.address.as_ref();
            problems.extend(place.and_then(|address| misplaced(address, network, name)));
        }
    }
    problems.extend(used_twice(draft));
    if let Some(provider) = &draft.provider {
        problems.extend(provider_problems(provider));
        problems.extend(overlap(draft, provider));
    }
    // Numbered nodes share their key: the first that is wrong speaks for all.
    problems.sort_by_key(|problem| problem.line);
    problems
        .dedup_by(|a, b| (a.line, &a.key) == (b.line, &b.key) && a.key.starts_with("computes."));
    problems
}

/// An address that no machine of this network can have.
fn misplaced(
    address: &Located<Ipv4Addr>,
    network: &Located<Ipv4Net>,
    whose: &str,
) -> Option<Problem> {
    let (value, within) = (address.value, network.value);
    let wrong = if !within.contains(&value) {
        format!("{value} of {whose} is outside {within}")
    } else if value == within.network() {
        format!("{value} of {whose} is the name of the network {within} itself")
    } else if value == within.broadcast() {
        format!("{value} of {whose} is the broadcast address of {within}")
    } else {
        return None;
    };
    Some(address.problem(
        wrong,
        &range(within),
        &format!("correct it or {} on line {}", network.key, network.line),
    ))
}

fn range(network: Ipv4Net) -> String {
    let first = u32::from(network.network()) + 1;
    let last = u32::from(network.broadcast()) - 1;
    format!(
        "an address from {} to {}",
        Ipv4Addr::from(first),
        Ipv4Addr::from(last)
    )
}

/// Addresses of the management network that two machines would have.
fn used_twice(draft: &Draft) -> Vec<Problem> {
    let mut owners: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
    if let Some(gateway) = &draft.gateway {
        owners.insert(gateway.value, "the gateway".into());
    }
    let mut problems = Vec::new();
    for node in &draft.nodes {
        let Some(address) = &node.address else {
            continue;
        };
        let name = node.name.as_ref().map_or("the node", |name| &name.value);
        match owners.get(&address.value) {
            Some(owner) => problems.push(address.problem(
                format!(
                    "{} of {name} is already the address of {owner}",
                    address.value
                ),
                "an address that nothing else has",
                "give one of them another",
            )),
            None => {
                owners.insert(address.value, name.to_owned());
            }
        }
    }
    problems
}

fn provider_problems(provider: &DraftProvider) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(network) = &provider.network {
        let ends = [
            (&provider.gateway, "the gateway"),
            (&provider.allocation_start, "the pool"),
            (&provider.allocation_end, "the pool"),
        ];
        for (address, whose) in ends {
            let place = address.as_ref();
            problems.extend(place.and_then(|address| misplaced(address, network, whose)));
        }
    }
    let (Some(start), Some(end)) = (&provider.allocation_start, &provider.allocation_end) else {
        return problems;
    };
    if start.value > end.value {
        problems.push(end.problem(
            format!(
                "the pool is empty: {} comes before {}",
                end.value, start.value
            ),
            &format!("an address from {} on", start.value),
            "swap allocation_start and allocation_end",
        ));
    }
    if let Some(gateway) = &provider.gateway
        && (start.value..=end.value).contains(&gateway.value)
    {
        problems.push(gateway.problem(
            format!(
                "{} is in the pool {} to {}, so that an instance could get it",
                gateway.value, start.value, end.value
            ),
            "a gateway outside the pool",
            "move one end of the pool",
        ));
    }
    problems
}

fn overlap(draft: &Draft, provider: &DraftProvider) -> Option<Problem> {
    let management = draft.network.as_ref()?;
    let network = provider.network.as_ref()?;
    let (a, b) = (management.value, network.value);
    if !a.contains(&b) && !b.contains(&a) {
        return None;
    }
    Some(network.problem(
        format!("{b} overlaps the management network {a}"),
        "two networks without a common address",
        "choose other addresses for one of them",
    ))
}
