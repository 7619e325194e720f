//! Horizon below /dashboard/.

use anyhow::{Result, bail};

use super::shape::{self, Api};
use crate::node::Node;
use crate::resource::http::{Page, Visitor};
use crate::step::Step;
use crate::wait::Probe;

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::configured(
            "dashboard/config",
            "the dashboard knows its site",
            &["dashboard"],
        ),
        shape::serving(
            "dashboard/running",
            "the dashboard serves its login page",
            "dashboard",
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

/// For [`crate::wait::until`]: logs in as the administrator, as a browser would, up to the overview
/// of the project. A page that does not come in time may only be slow: it asks every API, and
/// each of them answers its first request slowly.
pub(super) fn visit(node: &Node) -> Result<Probe<()>> {
    let mut visitor = Visitor::default();
    Ok(match arrive(node, &mut visitor) {
        Ok(page) if page.status >= 500 => {
            Probe::NotYet(format!("{} answered {}", page.url, page.status))
        }
        Ok(page) => {
            is_overview(&page)?;
            Probe::Ready(())
        }
        Err(error) => Probe::NotYet(format!("{error:#}")),
    })
}

fn arrive(node: &Node, visitor: &mut Visitor) -> Result<Page> {
    let address = node.config.management.address.addr();
    let login = visitor.open(&format!("http://{address}/dashboard/auth/login/"))?;
    let password = node.secrets.get("admin")?;
    let page = visitor.send_form(&login, &[("username", "admin"), ("password", password)])?;
    if page.status >= 400 || page.url.contains("/auth/login") {
        return Ok(page);
    }
    visitor.open(&format!("http://{address}/dashboard/project/"))
}

fn is_overview(page: &Page) -> Result<()> {
    if page.url.contains("/auth/login") {
        bail!("the dashboard refused the administrator");
    }
    if page.status != 200 || !page.body.contains("/dashboard/auth/logout/") {
        bail!(
            "the dashboard answered {} for the project overview at {}",
            page.status,
            page.url
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(url: &str, status: u16, body: &str) -> Page {
        Page {
            url: url.to_owned(),
            status,
            body: body.to_owned(),
        }
    }

    #[test]
    fn only_a_page_that_one_can_log_out_of_is_the_overview() {
        let url = "http://a/dashboard/project/";
        is_overview(&page(url, 200, "<a href=\"/dashboard/auth/logout/\">")).unwrap();
        assert_eq!(
            is_overview(&page(url, 404, "no")).unwrap_err().to_string(),
            "the dashboard answered 404 for the project overview at http://a/dashboard/project/"
        );
        let login = page("http://a/dashboard/auth/login/?next=/", 200, "");
        assert_eq!(
            is_overview(&login).unwrap_err().to_string(),
            "the dashboard refused the administrator"
        );
    }
}
