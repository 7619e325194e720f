//! Horizon below /dashboard/.

use anyhow::{Result, bail};

use super::shape::{self, Api};
use crate::node::Node;
use crate::resource::http::Visitor;
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

/// Logs in as the administrator, as a browser would, up to the overview of the project.
pub(super) fn visit(node: &Node) -> Result<()> {
    let address = node.config.management.address.addr();
    let mut visitor = Visitor::default();
    let login = visitor.open(&format!("http://{address}/dashboard/auth/login/"))?;
    let password = node.secrets.get("admin")?;
    let page = visitor.send_form(&login, &[("username", "admin"), ("password", password)])?;
    if page.url.contains("/auth/login") {
        bail!("the dashboard refused the administrator");
    }
    let overview = visitor.open(&format!("http://{address}/dashboard/project/"))?;
    if overview.status != 200 || !overview.body.contains("/dashboard/auth/logout/") {
        bail!(
            "the dashboard answered {} for the project overview at {}",
            overview.status,
            overview.url
        );
    }
    Ok(())
}
