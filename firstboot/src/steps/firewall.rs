//! The node's own packet filter.

use super::shape;
use crate::resource::unit::Running;
use crate::step::Step;

const CONFIG: &[&str] = &["/etc/nftables.conf"];

/// The packet filter, with the rules that are on disk.
pub(super) const SERVICE: Running = Running {
    service: "firewall",
    files: CONFIG,
};

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::rendered(
            "firewall/rules",
            "only the ports that others need are named",
            CONFIG,
        ),
        shape::running("firewall/running", "the rules are in force", SERVICE)
            .needs(["firewall/rules"]),
    ]
}
