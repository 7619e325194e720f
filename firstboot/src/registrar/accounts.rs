//! The accounts of computes at the broker: what the store knows and the broker may have lost.

use anyhow::Result;

use crate::members::Store;
use crate::node::Node;
use crate::resource::broker;

/// A compute that the broker refuses, although it was let in.
///
/// # Errors
/// When the store cannot be read.
pub fn refused(node: &Node, store: &Store) -> Result<Option<String>> {
    for (name, member) in store.read()?.nodes {
        // Half an account, without permissions, is refused with another reply.
        if !broker::opens(node, &name, &member.broker_password).unwrap_or(false) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Makes sure that this compute has its account, and whoever else was let in meanwhile with the
/// same run.
///
/// # Errors
/// As [`broker::ensure_accounts`].
pub fn give(node: &Node, store: &Store, first: &str) -> Result<()> {
    let members = store.read()?.nodes;
    let (own, others): (Vec<_>, Vec<_>) = members.iter().partition(|(name, _)| *name == first);
    let accounts: Vec<_> = own
        .into_iter()
        .chain(others)
        .map(|(name, it)| (name.as_str(), it.broker_password.as_str()))
        .collect();
    broker::ensure_accounts(node, &accounts)?;
    // `node remove` may have come between: what it removed must not be there again.
    let now = store.read()?.nodes;
    for (gone, _) in accounts.iter().filter(|(it, _)| !now.contains_key(*it)) {
        broker::remove_account(node, gone)?;
    }
    Ok(())
}
