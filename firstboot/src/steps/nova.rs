//! Nova without computes: APIs, conductor, scheduler and the console's proxy.

use super::schema;
use super::shape::{self, Api};
use crate::step::Step;

const SERVICES: &[&str] = &[
    "nova-api",
    "nova-metadata",
    "nova-conductor",
    "nova-scheduler",
    "nova-novncproxy",
];
/// What every part of Nova must find when it starts.
const BASE: [&str; 6] = [
    "nova/config",
    "nova/schema-api",
    "nova/schema-cell0",
    "nova/schema-cell1",
    "nova/cells",
    "rabbitmq/account",
];

/// The conductor and the scheduler log in as Placement's user when they start, and a refusal is the
/// end of them.
const LOGIN: [&str; 2] = ["identity/endpoints", "identity/placement"];

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::configured("nova/config", "Nova's files are rendered", SERVICES),
        schema::step("nova/schema-api", "nova_api"),
        schema::step("nova/schema-cell0", "nova_cell0"),
        schema::step("nova/schema-cell1", "nova"),
        shape::serving(
            "nova/api",
            "the compute API answers",
            "nova-api",
            Api {
                port: 8774,
                path: "/",
                status: 200,
            },
        )
        .needs(BASE)
        .needs(["memcached/running"])
        .weight(70),
        shape::serving(
            "nova/metadata",
            "the metadata API answers",
            "nova-metadata",
            Api {
                port: 8775,
                path: "/",
                status: 200,
            },
        )
        .needs(BASE)
        .weight(70),
        shape::running(
            "nova/conductor",
            "the conductor of the cell runs",
            "nova-conductor",
        )
        .needs(BASE)
        .needs(LOGIN)
        .weight(70),
        shape::running("nova/scheduler", "the scheduler runs", "nova-scheduler")
            .needs(BASE)
            .needs(LOGIN)
            .weight(70),
        shape::serving(
            "nova/novncproxy",
            "the console's proxy answers",
            "nova-novncproxy",
            Api {
                port: 6080,
                path: "/vnc_lite.html",
                status: 200,
            },
        )
        .needs(BASE)
        .weight(50),
    ]
}
