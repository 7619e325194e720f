//! memcached: the cache of tokens, of Keystone, and the dashboard's sessions.

use std::time::Duration;

use super::shape;
use crate::resource::memcached;
use crate::step::{Check, Step};
use crate::wait::Probe;

const PORT: u16 = 11211;

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::configured(
            "memcached/config",
            "the cache listens on the management address",
            &["memcached"],
        ),
        shape::running("memcached/running", "the cache runs", "memcached")
            // It asks nobody for a password: it must not be reachable before the rules are in force.
            .needs(["memcached/config", "base/hostname", "firewall/running"]),
        Step::new(
            "memcached/answers",
            "the cache answers there and nowhere else",
        )
        .needs(["memcached/running"])
        .hint("look who listens on port 11211: `ss -ltnp`")
        .check(|context| {
            let address = context.config.management.address.addr();
            context.wait("memcached", Duration::from_secs(60), || {
                Ok(match memcached::version((address, PORT)) {
                    Ok(_) => Probe::Ready(()),
                    Err(error) => Probe::NotYet(format!("{error:#}")),
                })
            })?;
            let elsewhere = memcached::version(([127, 0, 0, 1], PORT)).is_ok();
            Ok(Check::of(
                !elsewhere,
                "memcached answers on the loopback address too",
            ))
        }),
    ]
}
