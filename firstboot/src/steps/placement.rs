//! Placement: what there is of each resource, and who has it.

use super::schema;
use super::shape::{self, Api};
use crate::resource::unit::Running;
use crate::step::Step;

const CONFIG: &[&str] = &[
    "/etc/placement/placement.conf",
    "/etc/placement/placement-api-uwsgi.ini",
];

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::rendered("placement/config", "Placement's files are rendered", CONFIG),
        schema::step("placement/schema", "placement"),
        shape::serving(
            "placement/running",
            "the placement API answers",
            Running {
                service: "placement",
                files: CONFIG,
            },
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
