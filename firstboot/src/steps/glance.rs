//! Glance: images in files.

use super::schema;
use super::shape::{self, Api};
use crate::step::Step;

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::configured("glance/config", "Glance's files are rendered", &["glance"]),
        schema::step("glance/schema", "glance"),
        shape::serving(
            "glance/running",
            "the image API answers",
            "glance",
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
