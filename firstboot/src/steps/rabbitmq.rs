//! RabbitMQ: its one account comes with its configuration, so that `guest` never exists and no
//! `rabbitmqctl` has to start an Erlang machine of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::shape;
use crate::files::{self, Ownership};
use crate::node::{BROKER_USER, Node};
use crate::resource::amqp::{self, Login};
use crate::resource::{broker, config};
use crate::step::{Check, Step};
use crate::users;
use crate::wait::Probe;

const USER: &str = BROKER_USER;
/// Where the broker listens, on the controller.
pub(super) const PORT: u16 = 5672;
const DEFINITIONS: &str = "/etc/rabbitmq/definitions.json";

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
            config::check(context, &config::of_services(context, &["rabbitmq"])?)
        })
        .apply(|context| {
            let (text, ownership) = definitions(context)?;
            files::replace(Path::new(DEFINITIONS), text.as_bytes(), ownership)?;
            config::write(context, &config::of_services(context, &["rabbitmq"])?)
        }),
        shape::running("rabbitmq/running", "the broker runs", "rabbitmq")
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
    let definitions = broker::definitions([(USER, node.secrets.get("rabbitmq")?)]);
    let owner = users::owner("root:rabbitmq")?;
    let ownership = Ownership {
        mode: 0o640,
        owner: Some(owner),
    };
    Ok((format!("{definitions:#}\n"), ownership))
}
