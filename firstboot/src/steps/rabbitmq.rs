//! RabbitMQ: its one account comes with its configuration, so that `guest` never exists and no
//! `rabbitmqctl` has to start an Erlang machine of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::shape;
use crate::files::{self, Ownership};
use crate::node::{BROKER_USER, Node};
use crate::resource::amqp::{self, Login};
use crate::resource::config;
use crate::resource::unit::Running;
use crate::step::{Check, Step};
use crate::users;
use crate::wait::Probe;

const USER: &str = BROKER_USER;
/// Where the broker listens, on the controller.
pub(super) const PORT: u16 = 5672;
const DEFINITIONS: &str = "/etc/rabbitmq/definitions.json";
const RENDERED: &[&str] = &["/etc/rabbitmq/rabbitmq.conf"];
const CONFIG: &[&str] = &[
    "/etc/rabbitmq/rabbitmq.conf",
    "/etc/rabbitmq/rabbitmq-env.conf",
    DEFINITIONS,
];

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step::new(
            "rabbitmq/config",
            "the broker knows one account and its address",
        )
        .needs(["base/preflight"])
        .hint("remove what was changed by hand below /etc/rabbitmq")
        .check(|context| {
            let (text, ownership) = definitions(context)?;
            if !files::is(Path::new(DEFINITIONS), text.as_bytes(), ownership)? {
                return Ok(Check::Todo(format!(
                    "{DEFINITIONS} differs from what it should be"
                )));
            }
            config::check(context, RENDERED)
        })
        .apply(|context| {
            let (text, ownership) = definitions(context)?;
            files::replace(Path::new(DEFINITIONS), text.as_bytes(), ownership)?;
            config::write(context, RENDERED)
        }),
        shape::running(
            "rabbitmq/running",
            "the broker runs",
            Running {
                service: "rabbitmq",
                files: CONFIG,
            },
        )
        .needs(["rabbitmq/config", "base/hostname"])
        .weight(60),
        Step::new(
            "rabbitmq/account",
            "the broker lets the services in, and nobody as guest",
        )
        .needs(["rabbitmq/running"])
        .hint("ask the broker: `rabbitmqctl list_users`")
        .check(|context| {
            let address = address(context);
            let password = context.secrets.get("rabbitmq")?;
            // systemd calls it started a moment before its listener is open.
            context.wait("the broker", Duration::from_secs(120), || {
                Ok(match std::net::TcpStream::connect(address) {
                    Ok(_) => Probe::Ready(()),
                    Err(error) => Probe::NotYet(error.to_string()),
                })
            })?;
            if amqp::login(address, USER, password)? != Login::Accepted {
                return Ok(Check::Todo(format!("the broker refuses {USER}")));
            }
            let guest = amqp::login(address, "guest", "guest")?;
            Ok(Check::of(
                guest == Login::Refused,
                "the broker accepts guest",
            ))
        }),
    ]
}

/// Where the broker listens.
fn address(node: &Node) -> SocketAddr {
    (node.config.management.address.addr(), PORT).into()
}

fn definitions(node: &Node) -> Result<(String, Ownership)> {
    let hash = password_hash(node.secrets.get("rabbitmq")?);
    let all = ".*";
    let definitions = json!({
        "users": [{
            "name": USER,
            "password_hash": hash,
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "",
        }],
        "vhosts": [{"name": "/"}],
        "permissions": [
            {"user": USER, "vhost": "/", "configure": all, "write": all, "read": all},
        ],
    });
    let owner = users::owner("root:rabbitmq")?;
    let ownership = Ownership {
        mode: 0o640,
        owner: Some(owner),
    };
    Ok((format!("{definitions:#}\n"), ownership))
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
