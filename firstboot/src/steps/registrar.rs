//! The registrar: lets computes in and has them mapped.

use std::path::Path;

use super::shape;
use crate::members::Store;
use crate::paths;
use crate::registrar::accounts;
use crate::step::{Check, Step};

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step::new(
            "registrar/accounts",
            "the broker lets in every compute that has joined",
        )
        .needs(["rabbitmq/account"])
        .hint("ask the broker: `rabbitmqctl list_users`")
        .check(|context| {
            let store = Store::open(Path::new(paths::REGISTRAR))?;
            Ok(match accounts::refused(context, &store)? {
                Some(name) => Check::Todo(format!("the broker refuses {name}")),
                None => Check::Done,
            })
        })
        .apply(|context| {
            let store = Store::open(Path::new(paths::REGISTRAR))?;
            match accounts::refused(context, &store)? {
                Some(name) => accounts::give(context, &store, &name),
                None => Ok(()),
            }
        }),
        shape::running("registrar/running", "computes can join", "registrar")
            // It answers with accounts at the broker; everything else it waits for by itself.
            .needs(["rabbitmq/account", "firewall/running", "base/hostname"])
            .hint("read `journalctl -u cellboot-registrar`"),
    ]
}
