//! What Keystone must know: the services' project, users, roles, and the catalog.

use anyhow::Result;

use crate::node::Node;
use crate::resource::openstack::{self, Assignment, Scope, Service, Session, User};
use crate::step::{Check, Step};

/// The project of the services' users.
const PROJECT: &str = "service";
/// The role that makes a user's token a service token.
const SERVICE_ROLE: &str = "service";
/// Services with a user of their own.
const USERS: [&str; 4] = ["glance", "placement", "nova", "neutron"];

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
    let identity = |name, summary| {
        Step::new(name, summary)
            .needs(["keystone/running", "keystone/bootstrap"])
            .hint("read /var/log/keystone/keystone.log")
    };
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
        identity(
            "identity/users",
            "each service logs in with its own password",
        )
        .weight(10)
        .check(|context| {
            for user in users(context)? {
                let found = openstack::check_user(Session::admin(context)?, user)?;
                if found != Check::Done {
                    return Ok(found);
                }
            }
            Ok(Check::Done)
        })
        .apply(|context| {
            users(context)?
                .into_iter()
                .try_for_each(|user| openstack::ensure_user(Session::admin(context)?, user))
        }),
        identity(
            "identity/assignments",
            "each service has the roles that it needs",
        )
        .needs(["identity/project", "identity/role", "identity/users"])
        .weight(5)
        .check(|context| openstack::check_assignments(Session::admin(context)?, &assignments()))
        .apply(|context| openstack::ensure_assignments(Session::admin(context)?, &assignments())),
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

fn users(node: &Node) -> Result<Vec<User<'_>>> {
    let user = |name: &&'static str| {
        Ok(User {
            name,
            password: node.secrets.get(&format!("service-{name}"))?,
        })
    };
    USERS.iter().map(user).collect()
}

fn assignments() -> Vec<Assignment<'static>> {
    let project = |role| {
        USERS.map(|user| Assignment {
            user,
            role,
            scope: Scope::Project(PROJECT),
        })
    };
    let mut all = Vec::new();
    all.extend(project("admin"));
    all.extend(project(SERVICE_ROLE));
    // Glance reads the limits that a site may register for its projects.
    all.push(Assignment {
        user: "glance",
        role: "reader",
        scope: Scope::System,
    });
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
    fn every_user_is_an_administrator_of_its_project_and_a_service() {
        let all = assignments();
        for user in USERS {
            let mut roles: Vec<_> = all
                .iter()
                .filter(|it| it.user == user && matches!(it.scope, Scope::Project(PROJECT)))
                .map(|it| it.role)
                .collect();
            roles.sort_unstable();
            assert_eq!(roles, ["admin", "service"], "{user}");
        }
    }
}
