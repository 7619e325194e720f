//! The registrar: lets computes in and has them mapped.

use super::shape;
use crate::paths;
use crate::resource::unit::Running;
use crate::step::Step;

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::running(
            "registrar/running",
            "computes can join",
            Running {
                service: "registrar",
                // Its certificate and its tokens come with the seed.
                files: &[paths::NODE_CONFIG],
            },
        )
        // It answers with accounts at the broker; everything else it waits for by itself.
        .needs(["rabbitmq/account", "firewall/running", "base/hostname"])
        .hint("read `journalctl -u cellboot-registrar`"),
    ]
}
