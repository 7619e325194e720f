//! Accounts at the broker, one for each compute, so that one of them can be closed.
//!
//! `rabbitmqctl` starts an Erlang machine of its own for each call: an account that opens is left
//! alone.

use anyhow::{Context as _, Result};

use super::amqp::{self, Login};
use crate::cmd::Cmd;
use crate::node::Node;

/// What stands before a node's name in the name of its account.
const PREFIX: &str = "compute-";
const PORT: u16 = 5672;

/// The account of a compute.
pub fn user_of(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Makes sure that this password opens the account of a compute, and that it may use the queues.
///
/// # Errors
/// When the broker cannot be reached or `rabbitmqctl` refuses.
pub fn ensure_account(node: &Node, name: &str, password: &str) -> Result<()> {
    let user = user_of(name);
    let address = (node.config.management.address.addr(), PORT);
    // An account without permissions is closed with another reply than a wrong password; both
    // mean that there is something to do.
    if matches!(amqp::login(address, &user, password), Ok(Login::Accepted)) {
        return Ok(());
    }
    let known = control(node)?.args(["list_users", "--silent"]).read()?;
    let exists = known
        .lines()
        .any(|line| line.split_whitespace().next() == Some(user.as_str()));
    let verb = if exists {
        "change_password"
    } else {
        "add_user"
    };
    // The password goes in by standard input: arguments are everybody's to read.
    let line = format!("{password}\n");
    control(node)?
        .args([verb, user.as_str()])
        .stdin(line)
        .run()
        .with_context(|| format!("making the account {user}"))?;
    control(node)?
        .args(["set_permissions", "-p", "/", &user, ".*", ".*", ".*"])
        .run()
        .with_context(|| format!("letting {user} use the queues"))
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
