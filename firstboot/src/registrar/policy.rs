//! Who is let in: a decision about one request and one state. Pure, so that every order of
//! requests, replays and power cuts can be tried.

use crate::config::{Peer, Role};
use crate::join::protocol::{
    CLOCK_LIMIT_SECONDS, Cause, DescribeRequest, EnrolRequest, Enrolled, KeyHash, Refusal, VERSION,
};
use crate::join::token::Token;
use crate::members::{Known, Member, State};

/// What the decision knows besides: the site, the time, and what a new node would be given.
#[derive(Debug, Clone)]
pub struct Circumstances<'a> {
    /// The nodes that the controller's seed names.
    pub peers: &'a [Peer],
    /// The controller's clock, in seconds since 1970.
    pub now: u64,
    /// A UUID that nothing has yet.
    pub compute_id: &'a str,
    /// A password that nothing has yet.
    pub broker_password: &'a str,
}

/// Whether the holder of a token may be told what the seed of a node says: if the token would let
/// that node in. Nothing changes by it.
///
/// # Errors
/// Why the token would not.
pub fn may_describe(state: &State, now: u64, request: &DescribeRequest) -> Result<(), Refusal> {
    is_label(&request.name)?;
    let known = known_token(state, &request.token)?;
    is_good(known, now, &request.name)
}

/// Lets the node of this key in, as the token allows.
///
/// The same key with the same token gets the same answer for as long as the node has that key:
/// an answer may have been lost. Every other use of a token counts, and binds it to a key.
///
/// # Errors
/// The state is unchanged when the node is refused.
pub fn enrol(
    state: &mut State,
    at: &Circumstances<'_>,
    key: &KeyHash,
    request: &EnrolRequest,
) -> Result<Enrolled, Refusal> {
    let name = request.name.as_str();
    is_label(name)?;
    let enrolled = Enrolled {
        version: VERSION,
        name: name.to_owned(),
    };
    let id = request.token.id();
    let known = known_token(state, &request.token)?;
    clocks_agree(at.now, request.clock)?;
    if known.bound.contains(key) {
        return match state.nodes.get(name) {
            Some(member) if member.key == *key => Ok(enrolled),
            _ => Err(Refusal::new(
                Cause::UsedToken,
                format!("{name} was removed from the cell, or its place was given to another key"),
                format!("run `firstboot token create --node {name}` on the controller"),
            )),
        };
    }
    is_good(known, at.now, name)?;
    if let Some((other, _)) = state.node_of(key).filter(|(other, _)| *other != name) {
        return Err(Refusal::new(
            Cause::OtherNode,
            format!("the key of this node belongs to {other}"),
            format!("give the node its name {other} back, or remove /var/lib/cellboot/join on it"),
        ));
    }
    let may_replace = known.grant.rejoin && known.grant.node.as_deref() == Some(name);
    name_is_free(state, at.peers, name, key, may_replace)?;
    machine_is_free(state, at.peers, request)?;

    if let Some(known) = state.tokens.get_mut(id) {
        known.bound.push(key.clone());
    }
    let before = state.nodes.get(name);
    let same_key = before.is_some_and(|member| member.key == *key);
    let member = Member {
        key: key.clone(),
        address: request.address,
        machine: request.machine.clone(),
        // The host keeps what Nova knows it by, whatever became of its disk.
        compute_id: before
            .map_or(at.compute_id, |member| &member.compute_id)
            .to_owned(),
        broker_password: match before {
            Some(member) if same_key => member.broker_password.clone(),
            _ => at.broker_password.to_owned(),
        },
        enrolled_at: at.now,
        membership: before
            .filter(|_| same_key)
            .and_then(|member| member.membership.clone()),
    };
    state.nodes.insert(name.to_owned(), member);
    Ok(enrolled)
}

/// What is known of a token, if it is the one that it says it is.
fn known_token<'a>(state: &'a State, token: &Token) -> Result<&'a Known, Refusal> {
    let known = state.tokens.get(token.id());
    // A token that is not known is compared too, so that both take the same time.
    let matches = token.matches(known.map_or("", |known| &known.grant.hash));
    known.filter(|_| matches).ok_or_else(|| {
        Refusal::new(
            Cause::UnknownToken,
            "the controller does not know this token",
            "make the seeds of the controller and of this node again with `cellboot seed`, or run \
             `firstboot token create` on the controller",
        )
    })
}

/// A host name's label: what RFC 1123 allows, without a dot.
fn is_label(name: &str) -> Result<(), Refusal> {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let ends = name.starts_with('-') || name.ends_with('-');
    if (1..=63).contains(&name.len()) && name.bytes().all(good) && !ends {
        return Ok(());
    }
    Err(Refusal::new(
        Cause::Malformed,
        "the node's name is no host name",
        "use a to z, 0 to 9 and hyphens inside, 63 characters at most",
    ))
}

fn clocks_agree(now: u64, clock: u64) -> Result<(), Refusal> {
    let apart = now.abs_diff(clock);
    if apart <= CLOCK_LIMIT_SECONDS {
        return Ok(());
    }
    let direction = if clock < now { "behind" } else { "ahead of" };
    Err(Refusal::new(
        Cause::Clock,
        format!("the clock of this node is {apart} s {direction} the controller's"),
        "let the node reach the controller on UDP port 123, or set its clock: `chronyc makestep`",
    ))
}

fn is_good(known: &Known, now: u64, name: &str) -> Result<(), Refusal> {
    let id = &known.grant.id;
    let renew = format!("run `firstboot token create --node {name}` on the controller");
    if known.revoked {
        let reason = format!("the token {id} was revoked");
        return Err(Refusal::new(Cause::RevokedToken, reason, renew));
    }
    if known.bound.len() as u64 >= u64::from(known.grant.uses) {
        let reason = format!("the token {id} was used up by another node, or by this one before");
        let hint = format!(
            "if this is {name} with a new disk, run `firstboot token create --rejoin {name}` on \
             the controller; else `firstboot token create`"
        );
        return Err(Refusal::new(Cause::UsedToken, reason, hint));
    }
    if now >= known.grant.expires_at {
        let ago = now - known.grant.expires_at;
        let reason = format!("the token {id} expired {ago} s ago");
        return Err(Refusal::new(Cause::ExpiredToken, reason, renew));
    }
    match &known.grant.node {
        Some(node) if node != name => Err(Refusal::new(
            Cause::OtherNode,
            format!("the token {id} is for {node}, not for {name}"),
            renew,
        )),
        _ => Ok(()),
    }
}

fn name_is_free(
    state: &State,
    peers: &[Peer],
    name: &str,
    key: &KeyHash,
    may_replace: bool,
) -> Result<(), Refusal> {
    let is_other_role = |peer: &Peer| peer.name == name && peer.role != Role::Compute;
    if peers.iter().any(is_other_role) {
        return Err(Refusal::new(
            Cause::NameTaken,
            format!("{name} is the name of the controller"),
            "give the node another name",
        ));
    }
    match state.nodes.get(name) {
        Some(member) if member.key != *key && !may_replace => Err(Refusal::new(
            Cause::NameTaken,
            format!(
                "another key has the name {name}: two machines have one seed, or its disk was replaced"
            ),
            format!(
                "if this is {name} with a new disk, run `firstboot token create --rejoin {name}` on \
                 the controller; if {name} is gone for good, `firstboot node remove {name}`"
            ),
        )),
        _ => Ok(()),
    }
}

fn machine_is_free(state: &State, peers: &[Peer], request: &EnrolRequest) -> Result<(), Refusal> {
    let (name, address) = (request.name.as_str(), request.address);
    let others = || state.nodes.iter().filter(|(other, _)| *other != name);
    let member = others().find(|(_, member)| member.address == address);
    let peer = peers
        .iter()
        .find(|peer| peer.address == address && peer.name != name);
    let owner = member
        .map(|(other, _)| other.as_str())
        .or(peer.map(|peer| peer.name.as_str()));
    if let Some(owner) = owner {
        return Err(Refusal::new(
            Cause::AddressTaken,
            format!("{address} is the address of {owner}"),
            "give the node an address of its own in site.toml and make its seed again",
        ));
    }
    let uuid = request
        .machine
        .as_deref()
        .filter(|uuid| tells_machines_apart(uuid));
    let twin = others().find(|(_, member)| uuid.is_some() && member.machine.as_deref() == uuid);
    match twin {
        Some((twin, _)) => Err(Refusal::new(
            Cause::MachineTaken,
            format!("{twin} has the same machine UUID (DMI)"),
            format!(
                "give one of them another UUID (a copied virtual machine keeps its own), or, if \
                 this is {twin} under a new name, run `firstboot node remove {twin}`"
            ),
        )),
        None => Ok(()),
    }
}

/// Whether a DMI UUID is one: some makers ship every board with the same.
fn tells_machines_apart(uuid: &str) -> bool {
    const SHIPPED: [&str; 3] = [
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
    ];
    let mut digits = uuid.chars().filter(|c| *c != '-');
    let first = digits.next();
    !SHIPPED.contains(&uuid) && digits.any(|digit| Some(digit) != first)
}

#[cfg(test)]
mod tests;
