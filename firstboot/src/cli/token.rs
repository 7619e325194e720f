//! `firstboot token`: what computes join with.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde::Serialize;

use super::registrar::controller;
use super::{BadConfiguration, Verdict};
use crate::clock;
use crate::config::{self, Join, NodeConfig, Peer, TokenGrant};
use crate::join::line::{self, Line};
use crate::join::protocol::PORT;
use crate::join::tls;
use crate::join::token::Token;
use crate::members::{Known, Store};
use crate::newcomer::{self, Newcomer};
use crate::node::Node;

const HOUR: u64 = 60 * 60;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
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
    /// Write a seed with the token to this file, instead of printing a line
    #[arg(
        long,
        value_name = "FILE",
        requires = "interface",
        conflicts_with = "uses"
    )]
    seed: Option<PathBuf>,
    /// Management address of the compute; one that is known keeps its own
    #[arg(long, value_name = "ADDRESS", requires = "interface")]
    address: Option<Ipv4Addr>,
    /// Management interface of the compute, by name or MAC address
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// Its interface on the provider network, if it has one
    #[arg(long, value_name = "INTERFACE", requires = "interface")]
    provider_interface: Option<String>,
}

pub(super) fn run(verb: &Verb) -> Result<Verdict> {
    let (node, config, store) = controller()?;
    match verb {
        Verb::Create(create) => self::create(create, &node, &config, &store)?,
        Verb::List { json } => {
            let rows: Vec<TokenRow> = store.read()?.tokens.values().map(TokenRow::of).collect();
            if *json {
                super::print_json(&rows)?;
            } else {
                for row in &rows {
                    super::print(&row.text())?;
                }
            }
        }
        Verb::Revoke { id } => store.change(|state| {
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

/// Makes a token, and its line or its seed. The seed is whole before the token is known: a token
/// that opens nothing is better than one that nobody has.
fn create(
    create: &Create,
    node: &Node,
    registrar: &config::Registrar,
    store: &Store,
) -> Result<()> {
    let token = Token::generate()?;
    let pin = tls::pin_of(&registrar.certificates)?;
    let name = create.rejoin.as_ref().or(create.node.as_ref());
    let grant = TokenGrant {
        id: token.id().to_owned(),
        hash: token.hash(),
        expires_at: clock::since_epoch() + u64::from(create.hours) * HOUR,
        uses: create.uses,
        node: name.cloned(),
        rejoin: create.rejoin.is_some(),
    };
    let registrar = SocketAddrV4::new(node.config.management.address.addr(), PORT);
    let known = if create.interface.is_some() {
        let join = Join {
            token: token.clone(),
            pin: pin.clone(),
        };
        let described = describe(create, name, node, join);
        Some(described.context(BadConfiguration("describing the compute"))?)
    } else {
        None
    };
    if let (Some(file), Some(config)) = (&create.seed, &known) {
        newcomer::seed(config)?.write(file)?;
    }
    store.change(|state| {
        state.take_in(&[grant]);
        Ok(())
    })?;
    let hours = create.hours;
    match &create.seed {
        Some(file) => {
            eprintln!("good for one node for {hours} h; attach the seed as its second disk");
            super::print(&file.display().to_string())
        }
        None => {
            let uses = create.uses;
            eprintln!("good for {uses} node(s) for {hours} h; its secret is not shown again");
            eprintln!("type this at the console of a compute that waits for a seed:");
            super::print(&match known {
                Some(config) => line(registrar, token, pin, config).to_string(),
                None => line::to_complete(registrar, &token, &pin),
            })
        }
    }
}

fn line(registrar: SocketAddrV4, token: Token, pin: String, config: NodeConfig) -> Line {
    Line {
        registrar,
        token,
        pin,
        name: config.name,
        address: config.management.address,
        interface: config.management.interface,
        provider_interface: config.provider.map(|provider| provider.interface),
    }
}

fn describe(create: &Create, name: Option<&String>, node: &Node, join: Join) -> Result<NodeConfig> {
    let newcomer = Newcomer {
        name: name
            .context("an interface belongs to one node\nhint: name it with --node or --rejoin")?,
        address: create.address,
        interface: create.interface.as_deref().unwrap_or_default(),
        provider_interface: create.provider_interface.as_deref(),
    };
    let known: Vec<Peer> = node.peers().cloned().collect();
    newcomer::describe(&node.config, &known, &newcomer, join)
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
}
