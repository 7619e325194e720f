//! Single refusals with their words, and every order of requests with power cuts between.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::config::TokenGrant;
use crate::join::token::Token;

const NOW: u64 = 1_000_000;

fn peers() -> Vec<Peer> {
    vec![Peer {
        name: "control".into(),
        role: Role::Controller,
        address: Ipv4Addr::new(10, 20, 0, 11),
    }]
}

fn grant(token: &Token, uses: u32) -> TokenGrant {
    TokenGrant {
        id: token.id().into(),
        hash: token.hash(),
        expires_at: NOW + 100,
        uses,
        node: None,
        rejoin: false,
    }
}

fn request(token: &Token, name: &str, number: u8) -> EnrolRequest {
    EnrolRequest {
        version: VERSION,
        token: token.clone(),
        name: name.into(),
        address: Ipv4Addr::new(10, 20, 0, number),
        machine: None,
        clock: NOW,
        agent: "0".into(),
    }
}

fn key(text: &str) -> KeyHash {
    KeyHash(text.into())
}

/// Enrols at a time, with a compute_id that tells who was asked how often.
fn try_at(
    state: &mut State,
    now: u64,
    new: &str,
    who: &str,
    request: &EnrolRequest,
) -> Result<Enrolled, Refusal> {
    let at = Circumstances {
        peers: &peers(),
        now,
        compute_id: new,
        broker_password: new,
    };
    enrol(state, &at, &key(who), request)
}

fn with(grants: &[TokenGrant]) -> State {
    let mut state = State::default();
    state.take_in(grants);
    state
}

#[test]
fn a_seed_is_described_to_whom_the_token_would_let_in() {
    let (good, used, other) = (
        Token::generate().unwrap(),
        Token::generate().unwrap(),
        Token::generate().unwrap(),
    );
    let named = TokenGrant {
        node: Some("one".into()),
        ..grant(&good, 1)
    };
    let mut state = with(&[named, grant(&used, 1)]);
    let taken = request(&used, "two", 22);
    try_at(&mut state, NOW, "c", "k", &taken).unwrap();
    let ask = |token: &Token, name: &str, now| {
        let request = DescribeRequest {
            version: VERSION,
            token: token.clone(),
            name: name.into(),
            address: Ipv4Addr::new(10, 20, 0, 99),
            interface: "ens3".into(),
            provider_interface: None,
        };
        may_describe(&state, now, &request).map_err(|refusal| refusal.cause)
    };
    assert_eq!(ask(&good, "one", NOW), Ok(()));
    assert_eq!(ask(&good, "two", NOW), Err(Cause::OtherNode));
    assert_eq!(ask(&good, "o.n.e", NOW), Err(Cause::Malformed));
    assert_eq!(ask(&good, "one", NOW + 100), Err(Cause::ExpiredToken));
    assert_eq!(ask(&used, "three", NOW), Err(Cause::UsedToken));
    assert_eq!(ask(&other, "one", NOW), Err(Cause::UnknownToken));
}

#[test]
fn each_refusal_says_what_is_wrong_and_changes_nothing() {
    let (token, bound, revoked) = (
        Token::generate().unwrap(),
        Token::generate().unwrap(),
        Token::generate().unwrap(),
    );
    let mut state = with(&[
        grant(&token, 9),
        TokenGrant {
            node: Some("two".into()),
            ..grant(&bound, 1)
        },
        grant(&revoked, 1),
    ]);
    state.tokens.get_mut(revoked.id()).unwrap().revoked = true;
    let uuid = "4c4c4544-0042-3510-8051-b4c04f564231";
    let first = EnrolRequest {
        machine: Some(uuid.into()),
        ..request(&token, "one", 21)
    };
    try_at(&mut state, NOW, "c1", "a", &first).unwrap();
    let before = state.clone();

    let good = request(&token, "two", 22);
    let stranger = request(&Token::generate().unwrap(), "two", 22);
    let table: [(u64, EnrolRequest, Cause, &str); 11] = [
        (
            NOW,
            stranger,
            Cause::UnknownToken,
            "the controller does not know this token",
        ),
        (
            NOW + 301,
            good.clone(),
            Cause::Clock,
            "the clock of this node is 301 s behind the controller's",
        ),
        (
            NOW - 301,
            good.clone(),
            Cause::Clock,
            "the clock of this node is 301 s ahead of the controller's",
        ),
        (
            NOW + 107,
            good.clone(),
            Cause::ExpiredToken,
            "expired 7 s ago",
        ),
        (
            NOW,
            request(&bound, "three", 23),
            Cause::OtherNode,
            "is for two, not for three",
        ),
        (
            NOW,
            request(&revoked, "two", 22),
            Cause::RevokedToken,
            "was revoked",
        ),
        (
            NOW,
            request(&token, "one", 22),
            Cause::NameTaken,
            "another key has the name one",
        ),
        (
            NOW,
            request(&token, "control", 22),
            Cause::NameTaken,
            "control is the name of the controller",
        ),
        (
            NOW,
            request(&token, "two", 21),
            Cause::AddressTaken,
            "10.20.0.21 is the address of one",
        ),
        (
            NOW,
            request(&token, "two", 11),
            Cause::AddressTaken,
            "10.20.0.11 is the address of control",
        ),
        (
            NOW,
            EnrolRequest {
                machine: Some(uuid.into()),
                ..good.clone()
            },
            Cause::MachineTaken,
            "one has the same machine UUID (DMI)",
        ),
    ];
    for (now, request, cause, reason) in table {
        let refusal = try_at(&mut state, now, "c2", "b", &request).unwrap_err();
        assert_eq!(refusal.cause, cause, "{reason}");
        assert!(refusal.reason.contains(reason), "{}", refusal.reason);
        assert!(!refusal.hint.is_empty());
        assert_eq!(state, before);
    }
    for name in ["", "-a", "a.b", "A", "a_b", &"x".repeat(64)] {
        let refusal = try_at(&mut state, NOW, "c2", "b", &request(&token, name, 22)).unwrap_err();
        assert_eq!(refusal.cause, Cause::Malformed);
    }
    // A board whose UUID is everybody's is told apart by nothing.
    let shipped = Some("03000200-0400-0500-0006-000700080009".to_owned());
    let two = EnrolRequest {
        machine: shipped.clone(),
        ..good
    };
    try_at(&mut state, NOW, "c2", "b", &two).unwrap();
    let three = EnrolRequest {
        machine: shipped,
        ..request(&token, "three", 23)
    };
    try_at(&mut state, NOW, "c3", "c", &three).unwrap();
}

#[test]
fn a_used_token_answers_the_key_that_used_it_and_nobody_else() {
    let token = Token::generate().unwrap();
    let mut state = with(&[grant(&token, 1)]);
    let one = request(&token, "one", 21);
    try_at(&mut state, NOW, "c1", "a", &one).unwrap();
    // Long after its end, too: the first answer may have been lost in a power cut.
    let late = EnrolRequest {
        clock: NOW + 9999,
        ..one.clone()
    };
    assert_eq!(
        try_at(&mut state, NOW + 9999, "c2", "a", &late)
            .unwrap()
            .name,
        "one"
    );
    assert_eq!(state.nodes["one"].compute_id, "c1");
    let refusal = try_at(&mut state, NOW, "c2", "b", &one).unwrap_err();
    assert_eq!(refusal.cause, Cause::UsedToken);
    assert!(
        refusal.hint.contains("firstboot token create --rejoin one"),
        "{}",
        refusal.hint
    );
}

#[test]
fn a_rejoin_token_gives_the_name_and_the_compute_id_to_a_new_key() {
    let (token, again) = (Token::generate().unwrap(), Token::generate().unwrap());
    let rejoin = TokenGrant {
        node: Some("one".into()),
        rejoin: true,
        ..grant(&again, 1)
    };
    let mut state = with(&[grant(&token, 1), rejoin]);
    try_at(&mut state, NOW, "c1", "a", &request(&token, "one", 21)).unwrap();
    try_at(&mut state, NOW, "c2", "b", &request(&again, "one", 21)).unwrap();
    let member = &state.nodes["one"];
    assert_eq!((&member.key, member.compute_id.as_str()), (&key("b"), "c1"));
    assert_eq!(member.broker_password, "c2");
    // The old disk must not come back.
    let old = try_at(&mut state, NOW, "c3", "a", &request(&token, "one", 21)).unwrap_err();
    assert_eq!(old.cause, Cause::UsedToken);
}

/// What may happen, in any order.
#[derive(Debug, Clone)]
enum Act {
    /// A key asks with a token; the power may go before or after the state is written.
    Enrol {
        key: u8,
        token: u8,
        name: u8,
        cut: Option<bool>,
    },
    Revoke(u8),
    Remove(u8),
    Pass(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let enrol = (0..6u8, 0..4u8, 0..4u8, proptest::option::of(any::<bool>()));
    prop_oneof![
        8 => enrol.prop_map(|(key, token, name, cut)| Act::Enrol { key, token, name, cut }),
        1 => (0..4u8).prop_map(Act::Revoke),
        1 => (0..4u8).prop_map(Act::Remove),
        1 => (0..60u16).prop_map(Act::Pass),
    ]
}

proptest! {
    #[test]
    fn no_order_of_requests_and_power_cuts_breaks_a_promise(
        acts in proptest::collection::vec(act(), 1..60)
    ) {
        let tokens: Vec<Token> = (0..4).map(|_| Token::generate().unwrap()).collect();
        let grants = [
            grant(&tokens[0], 1),
            grant(&tokens[1], 2),
            TokenGrant { node: Some("n1".into()), ..grant(&tokens[2], 1) },
            TokenGrant { node: Some("n1".into()), rejoin: true, ..grant(&tokens[3], 1) },
        ];
        let mut state = with(&grants);
        let mut now = NOW;
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        for (number, act) in acts.into_iter().enumerate() {
            match act {
                Act::Enrol { key: who, token, name, cut } => {
                    let (who, name) = (format!("k{who}"), format!("n{name}"));
                    let octet = 20 + name.as_bytes()[1] - b'0';
                    let wanted = EnrolRequest {
                        clock: now,
                        ..request(&tokens[usize::from(token)], &name, octet)
                    };
                    let mut after = state.clone();
                    let answer = try_at(&mut after, now, &format!("c{number}"), &who, &wanted);
                    match &answer {
                        Ok(enrolled) => {
                            prop_assert_eq!(&enrolled.name, &name);
                            prop_assert_eq!(&after.nodes[&name].key, &key(&who));
                        }
                        Err(_) => prop_assert_eq!(&after, &state),
                    }
                    // A cut before the write loses the change, one after it the answer alone.
                    if cut != Some(false) {
                        state = after;
                    }
                    if answer.is_ok() && cut != Some(false) {
                        let again = state.clone();
                        let replay = try_at(&mut state, now, "again", &who, &wanted);
                        prop_assert_eq!(replay.unwrap().name, name);
                        prop_assert_eq!(&state, &again);
                    }
                }
                Act::Revoke(number) => {
                    let id = tokens[usize::from(number)].id();
                    state.tokens.get_mut(id).unwrap().revoked = true;
                }
                Act::Remove(number) => {
                    let name = format!("n{number}");
                    state.nodes.remove(&name);
                    ids.remove(&name);
                }
                Act::Pass(seconds) => now += u64::from(seconds),
            }
            for known in state.tokens.values() {
                prop_assert!(known.bound.len() <= known.grant.uses as usize);
                let distinct: BTreeSet<_> = known.bound.iter().collect();
                prop_assert_eq!(distinct.len(), known.bound.len());
            }
            let keys: BTreeSet<_> = state.nodes.values().map(|member| &member.key).collect();
            prop_assert_eq!(keys.len(), state.nodes.len());
            for (name, member) in &state.nodes {
                // A host keeps its compute_id until it is removed, whatever keys it has.
                let first = ids.entry(name.clone()).or_insert_with(|| member.compute_id.clone());
                prop_assert_eq!(&*first, &member.compute_id);
                let bound = state.tokens.values().any(|known| known.bound.contains(&member.key));
                prop_assert!(bound);
            }
            let distinct: BTreeSet<_> = ids.values().collect();
            prop_assert_eq!(distinct.len(), ids.len());
        }
    }
}
