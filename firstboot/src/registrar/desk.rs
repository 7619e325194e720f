//! Where a request meets what is known: the store, the policy, the broker and the cloud.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use super::accounts;
use super::discovery::Discovery;
use super::policy::{self, Circumstances};
use super::server::Desk;
use crate::config::{Join, Peer};
use crate::failure::Failure;
use crate::files;
use crate::join::protocol::{
    Bundle, Cause, DescribeRequest, EnrolRequest, Enrolled, Health, KeyHash, ReadyAnswer, Refusal,
    VERSION,
};
use crate::members::{Member, State, Store};
use crate::newcomer::{self, Newcomer};
use crate::node::Node;
use crate::resource::broker;
use crate::volume::Volume;
use crate::{clock, secrets, steps};

const KERNEL_UUID: &str = "/proc/sys/kernel/random/uuid";
/// What a compute is given of the controller's passwords: those of the services that its own
/// programs log in as.
const GIVEN: [&str; 3] = ["service-nova", "service-placement", "service-neutron"];

/// The registrar's desk on a controller.
pub struct Registrar {
    node: Arc<Node>,
    store: Store,
    discovery: Arc<Discovery>,
    /// Of the site's authority.
    pin: String,
    /// One change to the controller at a time; each account needs an Erlang machine of its own.
    one_at_a_time: Mutex<()>,
}

impl Registrar {
    /// The desk of this controller, with this pin and this store.
    pub fn new(node: Arc<Node>, pin: String, store: Store, discovery: Arc<Discovery>) -> Self {
        Self {
            node,
            pin,
            store,
            discovery,
            one_at_a_time: Mutex::default(),
        }
    }

    /// True if the controller's seed names the node.
    fn is_of_seed(&self, name: &str) -> bool {
        self.node.config.nodes.iter().any(|peer| peer.name == name)
    }

    /// Every node of the seed, then those that joined besides.
    fn everybody(&self, state: &State) -> Vec<Peer> {
        let joined = state.peers().filter(|it| !self.is_of_seed(&it.name));
        self.node
            .config
            .nodes
            .iter()
            .cloned()
            .chain(joined)
            .collect()
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

    fn describe(
        &self,
        state: &State,
        request: DescribeRequest,
    ) -> std::result::Result<Volume, Refusal> {
        let newcomer = Newcomer {
            name: &request.name,
            address: Some(request.address),
            interface: &request.interface,
            provider_interface: request.provider_interface.as_deref(),
        };
        let join = Join {
            token: request.token,
            pin: self.pin.clone(),
        };
        let known = self.everybody(state);
        let described = newcomer::describe(&self.node.config, &known, &newcomer, join);
        let config = described.map_err(|error| {
            let wrong = Failure::of(&error);
            Refusal::new(Cause::Malformed, wrong.reason, wrong.hint)
        })?;
        newcomer::seed(&config).map_err(|error| unavailable(&error))
    }

    fn give(&self, name: &str, member: &Member) -> Result<Bundle> {
        {
            let _one = self.one_at_a_time.lock();
            let _one = _one.unwrap_or_else(PoisonError::into_inner);
            if !self.is_of_seed(name) {
                // The controller was made without this one: its packets have to be let in.
                steps::meet_neighbours(&Node::load()?)?;
            }
            accounts::give(&self.node, &self.store, name)?;
        }
        let mut secrets = BTreeMap::from([("rabbitmq".to_owned(), member.broker_password.clone())]);
        for name in GIVEN {
            let value = self.node.secrets.get(name)?;
            secrets.insert(name.to_owned(), value.to_owned());
        }
        let nodes = self.everybody(&self.store.read()?);
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

    fn seed(&self, request: DescribeRequest) -> std::result::Result<Volume, Refusal> {
        tracing::info!(
            token = request.token.id(),
            name = request.name,
            "a node asks for its seed"
        );
        let state = self.store.read().map_err(|error| unavailable(&error))?;
        policy::may_describe(&state, clock::since_epoch(), &request)?;
        self.describe(&state, request)
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
        self.member(key)?;
        bundle.map_err(|error| unavailable(&error))
    }

    fn ready(&self, key: &KeyHash) -> std::result::Result<ReadyAnswer, Refusal> {
        let (name, member) = self.member(key)?;
        let mut answer = self.discovery.place(&name);
        if let ReadyAnswer::Joined(membership) = &mut answer {
            // Asked again, as after a lost answer: it took as long as it took.
            if let Some(known) = member.membership.filter(|it| it.is_same_place(membership)) {
                membership.milliseconds = known.milliseconds;
            }
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
