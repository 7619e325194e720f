//! Where a request meets what is known: the store, the policy, the broker and the cloud.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use super::discovery::Discovery;
use super::policy::{self, Circumstances};
use super::server::Desk;
use super::store::{Member, Store};
use crate::config::{Peer, Role};
use crate::files;
use crate::join::protocol::{
    Bundle, Cause, EnrolRequest, Enrolled, Health, KeyHash, ReadyAnswer, Refusal, VERSION,
};
use crate::node::Node;
use crate::resource::broker;
use crate::{clock, secrets};

const KERNEL_UUID: &str = "/proc/sys/kernel/random/uuid";
/// What a compute is given of the controller's passwords: those of the services that its own
/// programs log in as.
const GIVEN: [&str; 3] = ["service-nova", "service-placement", "service-neutron"];

/// The registrar's desk on a controller.
pub struct Registrar {
    node: Arc<Node>,
    store: Store,
    discovery: Arc<Discovery>,
    /// One account at a time: each needs an Erlang machine of its own.
    broker: Mutex<()>,
}

impl Registrar {
    /// The desk of this controller, with this store.
    pub fn new(node: Arc<Node>, store: Store, discovery: Arc<Discovery>) -> Self {
        Self {
            node,
            store,
            discovery,
            broker: Mutex::default(),
        }
    }

    /// The node of this key.
    fn member(&self, key: &KeyHash) -> std::result::Result<(String, Member), Refusal> {
        let state = self.store.read().map_err(|error| unavailable(&error))?;
        let found = state.node_of(key);
        found
            .map(|(name, member)| (name.to_owned(), member.clone()))
            .ok_or_else(unknown_key)
    }

    fn let_in(
        &self,
        key: &KeyHash,
        request: &EnrolRequest,
    ) -> Result<std::result::Result<Enrolled, Refusal>> {
        let text = files::read_if_exists(Path::new(KERNEL_UUID))?;
        let uuid = text.with_context(|| format!("reading {KERNEL_UUID}"))?;
        let password = secrets::generate()?;
        self.store.change(|state| {
            let at = Circumstances {
                peers: &self.node.config.nodes,
                now: clock::since_epoch(),
                compute_id: uuid.trim(),
                broker_password: &password,
            };
            Ok(policy::enrol(state, &at, key, request))
        })
    }

    fn give(&self, name: &str, member: &Member) -> Result<Bundle> {
        {
            let _one = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
            broker::ensure_account(&self.node, name, &member.broker_password)?;
        }
        let mut secrets = BTreeMap::from([("rabbitmq".to_owned(), member.broker_password.clone())]);
        for name in GIVEN {
            let value = self.node.secrets.get(name)?;
            secrets.insert(name.to_owned(), value.to_owned());
        }
        let mut nodes = self.node.config.nodes.clone();
        for (name, member) in self.store.read()?.nodes {
            if !nodes.iter().any(|peer| peer.name == name) {
                nodes.push(Peer {
                    name,
                    role: Role::Compute,
                    address: member.address,
                });
            }
        }
        Ok(Bundle {
            version: VERSION,
            name: name.to_owned(),
            compute_id: member.compute_id.clone(),
            broker_user: broker::user_of(name),
            secrets,
            nodes,
        })
    }
}

impl Desk for Registrar {
    fn health(&self) -> Health {
        Health {
            version: VERSION,
            site: self.node.config.site.name.clone(),
            clock: clock::since_epoch(),
        }
    }

    fn enrol(
        &self,
        key: &KeyHash,
        peer: IpAddr,
        request: EnrolRequest,
    ) -> std::result::Result<Enrolled, Refusal> {
        tracing::info!(%peer, token = request.token.id(), "an enrolment");
        let decided = self.let_in(key, &request);
        decided.unwrap_or_else(|error| Err(unavailable(&error)))
    }

    fn bundle(&self, key: &KeyHash) -> std::result::Result<Bundle, Refusal> {
        let (name, member) = self.member(key)?;
        let bundle = self.give(&name, &member);
        // `node remove` may have come between: what it removed must not be there again.
        if self.member(key).is_err() {
            let removed = broker::remove_account(&self.node, &name);
            removed.map_err(|error| unavailable(&error))?;
            return Err(unknown_key());
        }
        bundle.map_err(|error| unavailable(&error))
    }

    fn ready(&self, key: &KeyHash) -> std::result::Result<ReadyAnswer, Refusal> {
        let (name, _) = self.member(key)?;
        let answer = self.discovery.place(&name);
        if let ReadyAnswer::Joined(membership) = &answer {
            let kept = self.store.change(|state| {
                if let Some(member) = state.nodes.get_mut(&name).filter(|it| it.key == *key) {
                    member.membership = Some(membership.clone());
                }
                Ok(())
            });
            kept.map_err(|error| unavailable(&error))?;
        }
        Ok(answer)
    }
}

fn unknown_key() -> Refusal {
    Refusal::new(
        Cause::UnknownKey,
        "the controller does not know the key of this node",
        "the node was removed: run `firstboot token create` on the controller to let it in again",
    )
}

/// What went wrong is the controller's own affair, and in its log.
fn unavailable(error: &anyhow::Error) -> Refusal {
    tracing::error!("{error:#}");
    Refusal::new(
        Cause::Unavailable,
        "the controller cannot do its part now",
        "read `journalctl -u cellboot-registrar` on the controller",
    )
}
