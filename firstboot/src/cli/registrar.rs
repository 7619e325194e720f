//! `firstboot registrar`: what lets computes in, and what every verb about computes begins with.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};

use super::{BadConfiguration, Verdict};
use crate::config::{self, Role};
use crate::join::protocol::PORT;
use crate::join::tls;
use crate::members::Store;
use crate::node::Node;
use crate::registrar::cloud::OwnCloud;
use crate::registrar::desk::Registrar;
use crate::registrar::discovery::Discovery;
use crate::registrar::server::{self, Desk};
use crate::{interrupt, notify, paths};

/// The controller, what its seed says of the registrar, and the store.
pub(super) fn controller() -> Result<(Node, config::Registrar, Store)> {
    let node = Node::read().context(BadConfiguration("reading the node"))?;
    let wrong = BadConfiguration("looking for the registrar of this node");
    if node.config.role != Role::Controller {
        return Err(anyhow!(
            "this is a {}: the registrar is on the controller",
            node.config.role
        )
        .context(wrong));
    }
    let Some(registrar) = node.config.registrar.clone() else {
        return Err(anyhow!(
            "the seed of this node has no registrar\n\
             hint: make the seed again with `cellboot seed`, attach it and power on again"
        )
        .context(wrong));
    };
    let store = Store::open(Path::new(paths::REGISTRAR))?;
    Ok((node, registrar, store))
}

/// Serves until it is told to stop.
pub(super) fn serve() -> Result<Verdict> {
    let (node, config, store) = controller()?;
    store.change(|state| {
        state.take_in(&config.tokens);
        Ok(())
    })?;
    let tls = tls::server_config(&config.certificates, &config.key)?;
    let address = SocketAddr::from((node.config.management.address.addr(), PORT));
    let listener = TcpListener::bind(address).with_context(|| format!("listening at {address}"))?;
    ctrlc::set_handler(interrupt::request).context("catching signals")?;
    let pin = tls::pin_of(&config.certificates)?;
    let node = Arc::new(node);
    let discovery = Discovery::new(Arc::new(OwnCloud(Arc::clone(&node))));
    let desk: Arc<dyn Desk> = Arc::new(Registrar::new(node, pin, store, discovery));
    notify::send("READY=1");
    server::serve(&listener, &tls, &desk)?;
    Ok(Verdict::Good)
}
