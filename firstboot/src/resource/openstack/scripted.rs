//! Answers of OpenStack services, as the API reference shows them, for the tests next door.

use super::session::Session;
use crate::resource::peer::{self, Peer, Request};

pub(super) use crate::resource::peer::Reply;

/// A JSON answer.
pub(super) fn ok(body: &str) -> Reply {
    (
        "200 OK",
        vec!["Content-Type: application/json".to_owned()],
        body.to_owned(),
    )
}

/// Done, and nothing to say.
pub(super) fn no_content() -> Reply {
    ("204 No Content", vec![], String::new())
}

/// A login that was accepted.
pub(super) fn token(id: &str) -> Reply {
    let header = format!("X-Subject-Token: {id}");
    let body = r#"{"token": {"methods": ["password"]}}"#;
    ("201 Created", vec![header], body.to_owned())
}

/// What keystone says to a wrong password or token.
pub(super) fn refused() -> Reply {
    let body = r#"{"error": {"code": 401, "message": "Not you.", "title": "Unauthorized"}}"#;
    ("401 Unauthorized", vec![], body.to_owned())
}

/// A logged-in session with a keystone that gives these answers.
pub(super) fn keystone(answers: Vec<Reply>) -> (Session, Peer<Vec<Request>>) {
    let mut all = vec![token("one")];
    all.extend(answers);
    let peer = peer::http(all);
    (Session::scripted(peer.address()), peer)
}

/// A logged-in session with a cloud of one service, which has this path and gives these answers;
/// the peer plays keystone too.
pub(super) fn cloud(kind: &str, path: &str, answers: Vec<Reply>) -> (Session, Peer<Vec<Request>>) {
    let peer = peer::http_at(|address| {
        let endpoint = format!(
            r#"{{"id": "e", "interface": "internal", "region": "RegionOne",
                "region_id": "RegionOne", "url": "http://{address}{path}"}}"#
        );
        let catalog = format!(
            r#"{{"catalog": [{{"id": "s", "type": "{kind}", "name": "x",
                "endpoints": [{endpoint}]}}]}}"#
        );
        let mut all = vec![token("one"), ok(&catalog)];
        all.extend(answers);
        all
    });
    (Session::scripted(peer.address()), peer)
}

/// The request lines after the login.
pub(super) fn lines(requests: &[Request]) -> Vec<&str> {
    requests
        .iter()
        .skip(1)
        .map(|request| request.line.as_str())
        .collect()
}
