//! What Keystone must know: the services' project, users, roles, and the catalog.

use anyhow::Result;

use crate::node::Node;
use crate::resource::openstack::{self, Assignment, Scope, Service, Session, User};
use crate::step::{Check, Step};

/// The project of the services' users.
const PROJECT: &str = "service";
/// The role that makes a user's token a service token.
const SERVICE_ROLE: &str = "service";
/// A service of the catalog, besides Keystone which enters itself.
struct Entry {
    kind: &'static str,
    name: &'static str,
    description: &'static str,
    port: u16,
    path: &'static str,
}

const CATALOG: [Entry; 4] = [
    Entry {
        kind: "image",
        name: "glance",
        description: "Images of disks",
        port: 9292,
        path: "",
    },
    Entry {
        kind: "placement",
        name: "placement",
        description: "What there is of each resource",
        port: 8778,
        path: "",
    },
    Entry {
        kind: "compute",
        name: "nova",
        description: "Instances",
        port: 8774,
        path: "/v2.1",
    },
    Entry {
        kind: "network",
        name: "neutron",
        description: "Networks",
        port: 9696,
        path: "",
    },
];

pub(super) fn steps() -> Vec<Step> {
    vec![
        identity("identity/project", "the services have a project")
            .check(|context| openstack::check_project(Session::admin(context)?, PROJECT))
            .apply(|context| {
                let description = "The users of the services";
                openstack::ensure_project(Session::admin(context)?, PROJECT, description)
            }),
        identity(
            "identity/role",
            "there is the role that makes a service token",
        )
        .check(|context| openstack::check_role(Session::admin(context)?, SERVICE_ROLE))
        .apply(|context| openstack::ensure_role(Session::admin(context)?, SERVICE_ROLE)),
        account("identity/placement", "placement"),
        account("identity/nova", "nova"),
        account("identity/neutron", "neutron"),
        account("identity/glance", "glance"),
        identity("identity/endpoints", "each service is in the catalog")
            .weight(5)
            .check(|context| {
                with_catalog(context, |wanted| {
                    openstack::check_services(Session::admin(context)?, wanted)
                })
            })
            .apply(|context| {
                with_catalog(context, |wanted| {
                    openstack::ensure_services(Session::admin(context)?, wanted)
                })
            }),
    ]
}

fn identity(name: &'static str, summary: &'static str) -> Step {
    Step::new(name, summary)
        .needs(["keystone/running", "keystone/bootstrap"])
        .hint("read /var/log/keystone/keystone.log")
}

/// A service's own user and its roles. Each is a step of its own: Keystone takes its time to hash
/// a password, and nobody has to wait for the users of others.
fn account(name: &'static str, service: &'static str) -> Step {
    identity(
        name,
        "the service logs in with its own password and has its roles",
    )
    .needs(["identity/project", "identity/role"])
    .weight(15)
    .check(move |context| {
        let session = Session::admin(context)?;
        let found = openstack::check_user(session, user(context, service)?)?;
        if found != Check::Done {
            return Ok(found);
        }
        openstack::check_assignments(session, &assignments(service))
    })
    .apply(move |context| {
        let session = Session::admin(context)?;
        openstack::ensure_user(session, user(context, service)?)?;
        openstack::ensure_assignments(session, &assignments(service))
    })
}

fn user<'a>(node: &'a Node, name: &'static str) -> Result<User<'a>> {
    let password = node.secrets.get(&format!("service-{name}"))?;
    Ok(User { name, password })
}

fn assignments(user: &'static str) -> Vec<Assignment<'static>> {
    let on = |role, scope| Assignment { user, role, scope };
    let mut all = vec![
        on("admin", Scope::Project(PROJECT)),
        on(SERVICE_ROLE, Scope::Project(PROJECT)),
    ];
    if user == "glance" {
        // It reads the limits that a site may register for its projects.
        all.push(on("reader", Scope::System));
    }
    all
}

fn with_catalog<T>(node: &Node, use_it: impl FnOnce(&[Service]) -> Result<T>) -> Result<T> {
    let address = node.config.controller()?.address;
    let urls = CATALOG.map(|entry| format!("http://{address}:{}{}", entry.port, entry.path));
    let services: Vec<_> = CATALOG
        .iter()
        .zip(&urls)
        .map(|(entry, url)| Service {
            kind: entry.kind,
            name: entry.name,
            description: entry.description,
            region: &node.config.site.region,
            url,
        })
        .collect();
    use_it(&services)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_an_administrator_of_its_project_and_no_more() {
        let all = assignments("nova");
        let roles: Vec<_> = all.iter().map(|it| it.role).collect();
        assert_eq!(roles, ["admin", "service"]);
        for it in all {
            assert!(it.user == "nova" && matches!(it.scope, Scope::Project(PROJECT)));
        }
    }

    #[test]
    fn glance_reads_the_whole_system() {
        let all = assignments("glance");
        let last = all.last().unwrap();
        assert_eq!(last.role, "reader");
        assert!(matches!(last.scope, Scope::System));
    }
}
