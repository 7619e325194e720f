//! What only a controller does for its computes: `registrar`, `token`, `node`.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use clap::Subcommand;
use serde::Serialize;

use super::{BadConfiguration, Verdict};
use crate::config::{self, Role, TokenGrant};
use crate::join::protocol::PORT;
use crate::join::tls;
use crate::join::token::Token;
use crate::node::Node;
use crate::registrar::cloud::OwnCloud;
use crate::registrar::desk::Registrar;
use crate::registrar::discovery::Discovery;
use crate::registrar::removal;
use crate::registrar::server::{self, Desk};
use crate::registrar::store::{Known, Store};
use crate::{clock, interrupt, notify, paths};

const HOUR: u64 = 60 * 60;

#[derive(Debug, Subcommand)]
pub(super) enum TokenVerb {
    /// Make a token, and print the line that a compute joins with
    Create(Create),
    /// List the tokens, without their secrets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a token back
    Revoke {
        /// Its public half, the part before the dot
        id: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Only for the node of this name
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// For the node of this name, whose disk was replaced: it keeps what Nova knows it by
    #[arg(long, value_name = "NAME", conflicts_with_all = ["node", "uses"])]
    rejoin: Option<String>,
    /// For how many hours it is good
    #[arg(long, value_name = "HOURS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8760))]
    hours: u32,
    /// For how many nodes it is good
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
}

#[derive(Debug, Subcommand)]
pub(super) enum NodeVerb {
    /// List the computes that were let in
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a compute out of its cell, with all that its join made
    Remove {
        /// Its name
        name: String,
    },
}

/// The controller, what its seed says of the registrar, and the store.
fn controller() -> Result<(Node, config::Registrar, Store)> {
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
    let node = Arc::new(node);
    let discovery = Discovery::new(Arc::new(OwnCloud(Arc::clone(&node))));
    let desk: Arc<dyn Desk> = Arc::new(Registrar::new(node, store, discovery));
    notify::send("READY=1");
    server::serve(&listener, &tls, &desk)?;
    Ok(Verdict::Good)
}

pub(super) fn token(verb: &TokenVerb) -> Result<Verdict> {
    let (node, config, store) = controller()?;
    match verb {
        TokenVerb::Create(create) => {
            let token = Token::generate()?;
            let expires_at = clock::since_epoch() + u64::from(create.hours) * HOUR;
            let grant = TokenGrant {
                id: token.id().to_owned(),
                hash: token.hash(),
                expires_at,
                uses: create.uses,
                node: create.rejoin.clone().or_else(|| create.node.clone()),
                rejoin: create.rejoin.is_some(),
            };
            store.change(|state| {
                state.take_in(&[grant]);
                Ok(())
            })?;
            let address = node.config.management.address.addr();
            let pin = tls::pin_of(&config.certificates)?;
            eprintln!(
                "good for {} node(s) for {} h; its secret is not shown again",
                create.uses, create.hours
            );
            super::print(&format!("{address}:{PORT} {} {pin}", token.reveal()))?;
        }
        TokenVerb::List { json } => {
            let rows: Vec<TokenRow> = store.read()?.tokens.values().map(TokenRow::of).collect();
            if *json {
                super::print_json(&rows)?;
            } else {
                for row in &rows {
                    super::print(&row.text())?;
                }
            }
        }
        TokenVerb::Revoke { id } => store.change(|state| {
            let known = state.tokens.get_mut(id).with_context(|| {
                format!(
                    "there is no token {id}\nhint: `firstboot token list` shows those there are"
                )
            })?;
            known.revoked = true;
            Ok(())
        })?,
    }
    Ok(Verdict::Good)
}

pub(super) fn node(verb: &NodeVerb) -> Result<Verdict> {
    let (node, _, store) = controller()?;
    match verb {
        NodeVerb::List { json } => {
            let rows: Vec<NodeRow> = store
                .read()?
                .nodes
                .into_iter()
                .map(|(name, member)| NodeRow {
                    name,
                    address: member.address.to_string(),
                    state: match member.membership {
                        Some(_) => "joined",
                        None => "enrolled",
                    },
                    cell: member.membership.map(|it| it.cell),
                    compute_id: member.compute_id,
                    key: member.key.0,
                })
                .collect();
            if *json {
                super::print_json(&rows)?;
            } else {
                for row in &rows {
                    super::print(&row.text())?;
                }
            }
        }
        NodeVerb::Remove { name } => {
            removal::remove(&node, &store, name, |text| eprintln!("{text}"))?;
            super::print(&format!("{name} is no member any more"))?;
        }
    }
    Ok(Verdict::Good)
}

/// A token as it is listed.
#[derive(Serialize)]
struct TokenRow {
    id: String,
    state: &'static str,
    used: usize,
    uses: u32,
    node: Option<String>,
    rejoin: bool,
    expires_at: u64,
}

impl TokenRow {
    fn of(known: &Known) -> Self {
        let grant = &known.grant;
        let state = if known.revoked {
            "revoked"
        } else if known.bound.len() as u64 >= u64::from(grant.uses) {
            "used"
        } else if clock::since_epoch() >= grant.expires_at {
            "expired"
        } else {
            "good"
        };
        Self {
            id: grant.id.clone(),
            state,
            used: known.bound.len(),
            uses: grant.uses,
            node: grant.node.clone(),
            rejoin: grant.rejoin,
            expires_at: grant.expires_at,
        }
    }

    fn text(&self) -> String {
        let node = self.node.as_deref().unwrap_or("any node");
        let rejoin = if self.rejoin { ", to join again" } else { "" };
        format!(
            "{}  {:8} {}/{} used  for {node}{rejoin}",
            self.id, self.state, self.used, self.uses
        )
    }
}

/// A node as it is listed.
#[derive(Serialize)]
struct NodeRow {
    name: String,
    address: String,
    state: &'static str,
    cell: Option<String>,
    compute_id: String,
    key: String,
}

impl NodeRow {
    fn text(&self) -> String {
        let cell = self.cell.as_deref().unwrap_or("-");
        let key = self.key.get(..12).unwrap_or(&self.key);
        format!(
            "{:16} {:15} {:8} {cell:8} key {key}",
            self.name, self.address, self.state
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::protocol::KeyHash;

    #[test]
    fn a_token_is_listed_by_what_became_of_it() {
        let mut known = Known {
            grant: TokenGrant {
                id: "abcdefgh".into(),
                hash: "hunter2".into(),
                expires_at: u64::MAX,
                uses: 1,
                node: Some("one".into()),
                rejoin: true,
            },
            revoked: false,
            bound: Vec::new(),
        };
        let row = TokenRow::of(&known);
        assert_eq!(
            row.text(),
            "abcdefgh  good     0/1 used  for one, to join again"
        );
        assert!(!serde_json::to_string(&row).unwrap().contains("hunter2"));
        known.grant.expires_at = 1;
        assert_eq!(TokenRow::of(&known).state, "expired");
        known.bound.push(KeyHash("k".into()));
        assert_eq!(TokenRow::of(&known).state, "used");
        known.revoked = true;
        assert_eq!(TokenRow::of(&known).state, "revoked");
    }

    #[test]
    fn a_node_is_listed_by_how_far_it_is() {
        let row = NodeRow {
            name: "one".into(),
            address: "10.20.0.21".into(),
            state: "enrolled",
            cell: None,
            compute_id: "c".into(),
            key: "0123456789abcdef".into(),
        };
        let expected = "one              10.20.0.21      enrolled -        key 0123456789ab";
        assert_eq!(row.text(), expected);
    }
}
