//! Horizon below /dashboard/.

use super::shape::{self, Api};
use crate::resource::unit::Running;
use crate::step::Step;

const RENDERED: &[&str] = &["/etc/openstack-dashboard/local_settings.d/_9100_site.py"];
const FILES: &[&str] = &[
    "/etc/openstack-dashboard/local_settings.d/_9000_cellboot.py",
    "/etc/openstack-dashboard/local_settings.d/_9100_site.py",
    "/etc/apache2/sites-enabled/cellboot-dashboard.conf",
];

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::rendered("dashboard/config", "the dashboard knows its site", RENDERED),
        shape::serving(
            "dashboard/running",
            "the dashboard serves its login page",
            Running {
                service: "dashboard",
                files: FILES,
            },
            Api {
                port: 80,
                path: "/dashboard/auth/login/",
                status: 200,
            },
        )
        .needs(["dashboard/config", "memcached/running", "base/hostname"])
        .weight(50),
    ]
}
