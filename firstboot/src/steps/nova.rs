//! Nova without computes: APIs, conductor, scheduler and the console's proxy.

use super::schema;
use super::shape::{self, Api};
use crate::resource::unit::Running;
use crate::step::Step;

const CONFIG: &[&str] = &[
    "/etc/nova/nova.conf",
    "/etc/nova/nova-api-uwsgi.ini",
    "/etc/nova/nova-api-metadata-uwsgi.ini",
];
const API: &[&str] = &["/etc/nova/nova.conf", "/etc/nova/nova-api-uwsgi.ini"];
const METADATA: &[&str] = &[
    "/etc/nova/nova.conf",
    "/etc/nova/nova-api-metadata-uwsgi.ini",
];
const DAEMON: &[&str] = &["/etc/nova/nova.conf"];
const PROXY: &[&str] = &["/etc/nova/nova.conf", "/etc/default/nova-consoleproxy"];
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
        shape::rendered("nova/config", "Nova's files are rendered", CONFIG),
        schema::step("nova/schema-api", "nova_api"),
        schema::step("nova/schema-cell0", "nova_cell0"),
        schema::step("nova/schema-cell1", "nova"),
        shape::serving(
            "nova/api",
            "the compute API answers",
            Running {
                service: "nova-api",
                files: API,
            },
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
            Running {
                service: "nova-metadata",
                files: METADATA,
            },
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
            Running {
                service: "nova-conductor",
                files: DAEMON,
            },
        )
        .needs(BASE)
        .needs(LOGIN)
        .weight(70),
        shape::running(
            "nova/scheduler",
            "the scheduler runs",
            Running {
                service: "nova-scheduler",
                files: DAEMON,
            },
        )
        .needs(BASE)
        .needs(LOGIN)
        .weight(70),
        shape::serving(
            "nova/novncproxy",
            "the console's proxy answers",
            Running {
                service: "nova-novncproxy",
                files: PROXY,
            },
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
