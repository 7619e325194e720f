//! The node's own packet filter.

use super::shape;
use crate::step::Step;

/// The packet filter, with the rules that are on disk.
pub(super) const SERVICE: &str = "firewall";

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::configured(
            "firewall/rules",
            "only the ports that others need are named",
            &[SERVICE],
        ),
        shape::running("firewall/running", "the rules are in force", SERVICE)
            .needs(["firewall/rules"]),
    ]
}
