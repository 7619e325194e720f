//! Glance: images in files.

use super::schema;
use super::shape::{self, Api};
use crate::resource::unit::Running;
use crate::step::Step;

const CONFIG: &[&str] = &["/etc/glance/glance-api.conf"];

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::rendered("glance/config", "Glance's files are rendered", CONFIG),
        schema::step("glance/schema", "glance"),
        shape::serving(
            "glance/running",
            "the image API answers",
            Running {
                service: "glance",
                files: CONFIG,
            },
            Api {
                port: 9292,
                path: "/healthcheck",
                status: 200,
            },
        )
        .needs(["glance/config", "glance/schema", "memcached/running"])
        .weight(60),
    ]
}
