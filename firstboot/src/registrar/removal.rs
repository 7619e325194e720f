//! Taking a node out of the cell: everything that its join made, in an order in which it can be
//! begun again after any interruption.

use anyhow::{Context as _, Result, bail, ensure};

use super::cloud::cells_of_hosts;
use crate::members::Store;
use crate::node::Node;
use crate::resource::broker;
use crate::resource::openstack::{Session, compute, network};
use crate::steps;

/// Removes a node's service, mapping, provider, agents, account and key.
///
/// # Errors
/// When instances live there, nobody knows the node, or a service refuses.
pub fn remove(node: &Node, store: &Store, name: &str, mut say: impl FnMut(&str)) -> Result<()> {
    let session = Session::admin(node)?;
    let computes = compute::computes(session)?;
    let service = computes.iter().find(|service| service.host == name);
    let agents: Vec<_> = network::agents(session)?
        .into_iter()
        .filter(|agent| agent.host == name)
        .collect();
    let is_member = store.read()?.nodes.contains_key(name);
    ensure!(
        name != node.config.name,
        "{name} is the controller itself: it is no compute"
    );
    ensure!(
        is_member || service.is_some() || !agents.is_empty(),
        "nobody here knows a compute {name}\nhint: `firstboot node list` shows those there are"
    );
    if let Some(service) = service {
        // Nothing new may be put there between the question and the removal.
        compute::set_enabled(session, &service.id, false)?;
        let instances = compute::servers_on(session, name)?;
        if !instances.is_empty() {
            bail!(
                "{} instances live on {name}: {}; no new ones go there from now on\n\
                 hint: move them (`openstack server migrate`) or delete them, then run this again",
                instances.len(),
                instances.join(", ")
            );
        }
    }
    // From here on the node's key opens nothing, so that it cannot come back half way.
    say("forgetting its key");
    store.change(|state| {
        state.nodes.remove(name);
        Ok(())
    })?;
    say("closing its account at the broker");
    broker::remove_account(node, name)?;
    if let Some(service) = service {
        say("removing its service, its mapping and its resource provider");
        compute::delete_service(session, &service.id)?;
    }
    for agent in &agents {
        say(&format!("removing its {}", agent.agent_type));
        network::delete_agent(session, &agent.id)?;
    }
    // Its packets are let in no longer, if it was a node that the controller's seed does not name.
    steps::meet_neighbours(&Node::load()?)?;
    let mapped = cells_of_hosts(node).context("looking whether it is gone")?;
    ensure!(
        !mapped.contains_key(name),
        "{name} is still mapped into a cell\n\
         hint: `nova-manage cell_v2 delete_host` removes the row"
    );
    Ok(())
}
