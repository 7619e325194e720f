//! Placement: what there is of each resource, and who has it.

use super::schema;
use super::shape::{self, Api};
use crate::step::Step;

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::configured(
            "placement/config",
            "Placement's files are rendered",
            &["placement"],
        ),
        schema::step("placement/schema", "placement"),
        shape::serving(
            "placement/running",
            "the placement API answers",
            "placement",
            Api {
                port: 8778,
                path: "/",
                status: 200,
            },
        )
        .needs(["placement/config", "placement/schema", "memcached/running"])
        .weight(60),
    ]
}
