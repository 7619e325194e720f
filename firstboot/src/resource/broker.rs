//! Accounts at the broker, one for each compute, so that one of them can be closed.
//!
//! `rabbitmqctl` starts an Erlang machine of its own for each call: an account that opens is left
//! alone, and all that are missing are made by one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::amqp::{self, Login};
use crate::cmd::Cmd;
use crate::node::Node;
use crate::wait::{self, Probe};

/// What stands before a node's name in the name of its account.
const PREFIX: &str = "compute-";
const PORT: u16 = 5672;
/// How long the broker may take to make a handful of rows its own.
const IMPORT: Duration = Duration::from_secs(60);

/// The account of a compute.
pub fn user_of(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Whether the broker lets a compute in with its password.
///
/// # Errors
/// When it cannot be reached.
pub fn opens(node: &Node, name: &str, password: &str) -> Result<bool> {
    let address = (node.config.management.address.addr(), PORT);
    Ok(amqp::login(address, &user_of(name), password)? == Login::Accepted)
}

/// Makes sure that the first of these computes gets in with its password. If it does not, all of
/// them are given their accounts at once.
///
/// # Errors
/// When there is none, the broker cannot be reached or `rabbitmqctl` refuses.
pub fn ensure_accounts(node: &Node, accounts: &[(&str, &str)]) -> Result<()> {
    let (name, password) = accounts.first().context("no compute was named")?;
    // An account without permissions is closed with another reply than a wrong password; both
    // mean that there is something to do.
    let is_open = || opens(node, name, password).unwrap_or(false);
    if is_open() {
        return Ok(());
    }
    let users: Vec<_> = accounts
        .iter()
        .map(|(name, password)| (user_of(name), *password))
        .collect();
    let users = users
        .iter()
        .map(|(user, password)| (user.as_str(), *password));
    // By standard input: arguments are everybody's to read.
    control(node)?
        .arg("import_definitions")
        .stdin(definitions(users).to_string())
        .run()
        .context("making the accounts of computes")?;
    // The broker answers before it has taken them in.
    let what = format!("the broker to know {}", user_of(name));
    wait::until(&what, IMPORT, || {
        Ok(match is_open() {
            true => Probe::Ready(()),
            false => Probe::NotYet("it refuses the account".into()),
        })
    })
}

/// Definitions of these accounts, each with its password and every permission, as RabbitMQ takes
/// them.
pub fn definitions<'a>(accounts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let all = ".*";
    let mut users = Vec::new();
    let mut permissions = Vec::new();
    for (user, password) in accounts {
        users.push(json!({
            "name": user,
            "password_hash": password_hash(password),
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "",
        }));
        permissions.push(json!({
            "user": user, "vhost": "/", "configure": all, "write": all, "read": all,
        }));
    }
    json!({"users": users, "vhosts": [{"name": "/"}], "permissions": permissions})
}

/// Removes the account of a compute; one that is gone is no error.
///
/// # Errors
/// When `rabbitmqctl` refuses.
pub fn remove_account(node: &Node, name: &str) -> Result<()> {
    let user = user_of(name);
    let known = control(node)?.args(["list_users", "--silent"]).read()?;
    let mut users = known.lines().map(|line| line.split_whitespace().next());
    if !users.any(|known| known == Some(user.as_str())) {
        return Ok(());
    }
    control(node)?.args(["delete_user", user.as_str()]).run()
}

/// As the broker's own user: no `su`, and the cookie that opens the broker is its own.
fn control(node: &Node) -> Result<Cmd> {
    let service = node.platform.service("rabbitmq")?;
    Ok(Cmd::new(node.platform.program("rabbitmqctl")?)
        .env("HOME", "/var/lib/rabbitmq")
        .directory("/")
        .as_user(&service.user))
}

/// RabbitMQ's own form: base64 of salt and SHA-256(salt, password). The salt comes from the
/// password, so that the file is the same every time; it protects short passwords that several
/// accounts share, and this one has 190 random bits and one owner.
fn password_hash(password: &str) -> String {
    let salt: [u8; 4] = {
        let digest = Sha256::digest(format!("cellboot rabbitmq salt\0{password}"));
        [digest[0], digest[1], digest[2], digest[3]]
    };
    let digest = Sha256::new()
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    STANDARD.encode([salt.as_slice(), digest.as_slice()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_a_salt_and_a_digest_of_both() {
        let raw = STANDARD.decode(password_hash("secret")).unwrap();
        let (salt, digest) = raw.split_at(4);
        assert_eq!(
            digest,
            Sha256::digest([salt, b"secret"].concat()).as_slice()
        );
        assert_eq!(password_hash("secret"), password_hash("secret"));
        assert_ne!(password_hash("secret"), password_hash("Secret"));
    }
}
