//! A login at keystone and the calls that are made with it.
//!
//! One token for each scope and process: checking a password is the most expensive thing keystone
//! does. A token that is refused on use is replaced once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Method;

use super::DEFAULT_DOMAIN;
use super::answer::Answer;
use super::call::Call;
use super::catalog::{Catalog, Hosts};
use crate::node::Node;
use crate::resource::http;

const KEYSTONE_PORT: u16 = 5000;
/// Every fernet token begins with this: version 0x80 and the high bits of a time, in base64.
const FERNET_PREFIX: &str = "gAAAA";

/// The sessions of a node, each made at its first use.
#[derive(Default)]
pub struct Sessions {
    admin: OnceLock<Session>,
    system: OnceLock<Session>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

/// A user of the cloud with a token; logs in at the first call.
pub struct Session {
    agent: Agent,
    /// Keystone, as in `http://10.0.0.11:5000/v3`. Not from the catalog: it must be known first.
    identity: String,
    region: String,
    hosts: Hosts,
    user: String,
    password: String,
    scope: Value,
    token: Mutex<Option<Arc<str>>>,
    catalog: Mutex<Option<Arc<Catalog>>>,
}

impl Session {
    /// The administrator, in the project `admin`.
    pub fn admin(node: &Node) -> Result<&Self> {
        let project = json!({"name": "admin", "domain": {"id": DEFAULT_DOMAIN}});
        Self::cached(node, &node.sessions.admin, json!({"project": project}))
    }

    /// The administrator, with the cloud itself as scope.
    pub fn system(node: &Node) -> Result<&Self> {
        Self::cached(
            node,
            &node.sessions.system,
            json!({"system": {"all": true}}),
        )
    }

    fn cached<'a>(node: &Node, cell: &'a OnceLock<Self>, scope: Value) -> Result<&'a Self> {
        if let Some(session) = cell.get() {
            return Ok(session);
        }
        let controller = node.config.controller()?.address;
        let identity = format!("http://{controller}:{KEYSTONE_PORT}/v3");
        let password = node.secrets.get("admin")?;
        let session = Self::new(node, identity, "admin", password, scope);
        Ok(cell.get_or_init(|| session))
    }

    fn new(node: &Node, identity: String, user: &str, password: &str, scope: Value) -> Self {
        Self {
            agent: http::agent(),
            identity,
            region: node.config.site.region.clone(),
            hosts: Hosts::of(&node.config),
            user: user.to_owned(),
            password: password.to_owned(),
            scope,
            token: Mutex::default(),
            catalog: Mutex::default(),
        }
    }

    /// A session with a keystone at this address, for tests.
    #[cfg(test)]
    pub(super) fn scripted(address: std::net::SocketAddr) -> Self {
        let node = Node::example(crate::config::Role::Controller);
        let scope = json!({"project": {"name": "admin", "domain": {"id": DEFAULT_DOMAIN}}});
        Self::new(
            &node,
            format!("http://{address}/v3"),
            "admin",
            "hunter2",
            scope,
        )
    }

    /// Whether tokens are fernet tokens. Logs in if that was not done yet.
    pub fn has_fernet_token(&self) -> Result<bool> {
        Ok(self.token()?.starts_with(FERNET_PREFIX))
    }

    /// True if keystone knows this user by this password.
    pub(super) fn accepts(&self, user: &str, password: &str) -> Result<bool> {
        let answer = self.log_in(user, password, &json!("unscoped"))?;
        if answer.status == 401 {
            return Ok(false);
        }
        answer.success().map(|_| true)
    }

    pub(super) fn agent(&self) -> &Agent {
        &self.agent
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// Begins a call of a service (its type in the catalog); the path is appended to its URL.
    pub(super) fn call(&self, method: Method, service: &str, path: &str) -> Result<Call<'_>> {
        let base = match service {
            "identity" => self.identity.clone(),
            other => self.endpoint(other)?,
        };
        Ok(Call::new(self, method, format!("{base}{path}")))
    }

    /// `GET` with a query, and the answer as what it is.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        service: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T> {
        self.call(Method::GET, service, path)?
            .query(query)
            .send()?
            .json()
    }

    /// Forgets where services are; after endpoints were changed.
    pub(super) fn forget_catalog(&self) {
        *lock(&self.catalog) = None;
    }

    fn endpoint(&self, service: &str) -> Result<String> {
        let mut cached = lock(&self.catalog);
        // A catalog that lacks a service may be older than the service: ask once more.
        let known = cached
            .as_ref()
            .is_some_and(|catalog| catalog.internal(service, &self.region).is_some());
        if !known {
            let catalog: Catalog = self.get("identity", "/auth/catalog", &[])?;
            *cached = Some(Arc::new(catalog));
        }
        let catalog = cached.as_ref();
        let url = catalog.and_then(|catalog| catalog.internal(service, &self.region));
        match url {
            Some(url) => Ok(self.hosts.resolve(url)),
            None => bail!(
                "the catalog has no internal endpoint of the service {service} in {}",
                self.region
            ),
        }
    }

    /// The token; concurrent callers wait for the one that logs in.
    pub(super) fn token(&self) -> Result<Arc<str>> {
        let mut cached = lock(&self.token);
        if let Some(token) = cached.as_ref() {
            return Ok(Arc::clone(token));
        }
        let answer = self.log_in(&self.user, &self.password, &self.scope)?;
        let answer = answer.success()?;
        let token = answer.token.context("keystone gave no token")?;
        let token: Arc<str> = Arc::from(token);
        *cached = Some(Arc::clone(&token));
        Ok(token)
    }

    /// Forgets the token, unless another caller replaced it already.
    pub(super) fn forget_token(&self, refused: &str) {
        let mut cached = lock(&self.token);
        if cached.as_deref() == Some(refused) {
            *cached = None;
        }
    }

    fn log_in(&self, user: &str, password: &str, scope: &Value) -> Result<Answer> {
        let user = json!({"name": user, "domain": {"id": DEFAULT_DOMAIN}, "password": password});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let body = json!({"auth": {"identity": identity, "scope": scope}});
        self.call(Method::POST, "identity", "/auth/tokens")?
            .json(&body)?
            .hide(password)
            .send_with(None)
    }
}

/// A step that panicked while it held the lock left a cache that is whole, or empty.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::openstack::scripted::{ok, refused, token};
    use crate::resource::peer;

    #[test]
    fn logs_in_once_and_uses_the_token() {
        let answers = vec![token("one"), ok("{}"), ok("{}")];
        let peer = peer::http(answers);
        let session = Session::scripted(peer.address());
        for _ in 0..2 {
            let _: Value = session
                .get("identity", "/users", &[("name", "a b")])
                .unwrap();
        }
        let requests = peer.join();
        assert_eq!(requests[0].line, "POST /v3/auth/tokens");
        let body: Value = serde_json::from_str(&requests[0].body).unwrap();
        assert_eq!(
            body,
            json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user": {
                    "name": "admin", "domain": {"id": "default"}, "password": "hunter2"}}},
                "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}})
        );
        assert_eq!(requests[1].line, "GET /v3/users?name=a%20b");
        assert_eq!(requests[2].header("x-auth-token"), Some("one"));
    }

    #[test]
    fn a_token_that_is_refused_is_replaced_once() {
        let answers = vec![token("one"), refused(), token("two"), ok("{}")];
        let peer = peer::http(answers);
        let session = Session::scripted(peer.address());
        let _: Value = session.get("identity", "/users", &[]).unwrap();
        let requests = peer.join();
        assert_eq!(requests[3].header("x-auth-token"), Some("two"));
    }

    #[test]
    fn a_refused_login_is_told_without_the_password() {
        let peer = peer::http(vec![refused()]);
        let address = peer.address();
        let session = Session::scripted(address);
        let error = session.get::<Value>("identity", "/users", &[]).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            format!("POST http://{address}/v3/auth/tokens answered 401: Not you.")
        );
        peer.join();
    }

    #[test]
    fn a_service_that_the_catalog_lacks_is_named() {
        let peer = peer::http(vec![token("one"), ok(r#"{"catalog": []}"#)]);
        let session = Session::scripted(peer.address());
        let error = session
            .get::<Value>("image", "/v2/images", &[])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the catalog has no internal endpoint of the service image in RegionOne"
        );
        assert_eq!(peer.join()[1].line, "GET /v3/auth/catalog");
    }

    #[test]
    fn a_user_is_tried_without_a_scope() {
        let peer = peer::http(vec![refused(), token("x")]);
        let session = Session::scripted(peer.address());
        assert!(!session.accepts("nova", "wrong").unwrap());
        assert!(session.accepts("nova", "right").unwrap());
        let body: Value = serde_json::from_str(&peer.join()[1].body).unwrap();
        assert_eq!(body["auth"]["scope"], json!("unscoped"));
    }

    #[test]
    fn fernet_tokens_are_recognised() {
        for (id, expected) in [("gAAAAABk", true), ("MIIE", false)] {
            let peer = peer::http(vec![token(id)]);
            let session = Session::scripted(peer.address());
            assert_eq!(session.has_fernet_token().unwrap(), expected);
            peer.join();
        }
    }
}
