//! Which user has which role, on a project or on the whole cloud.
//!
//! All are checked with one call: on an emulated processor each call counts.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use ureq::http::Method;

use super::session::Session;
use super::{DEFAULT_DOMAIN, identity};
use crate::step::Check;

/// A role that a user has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// Name of the user.
    pub user: &'a str,
    /// Name of the role.
    pub role: &'a str,
    /// On what.
    pub scope: Scope<'a>,
}

/// What a role is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// The project of this name.
    Project(&'a str),
    /// The cloud itself.
    System,
}

#[derive(Deserialize)]
struct List {
    role_assignments: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    scope: RowScope,
    role: Named,
    /// Absent where a group has the role.
    user: Option<Named>,
}

#[derive(Deserialize)]
struct RowScope {
    project: Option<Named>,
    system: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    domain: Option<Domain>,
}

#[derive(Deserialize)]
struct Domain {
    id: String,
}

impl Named {
    fn is(&self, name: &str) -> bool {
        let domain = self.domain.as_ref();
        self.name == name && domain.is_none_or(|domain| domain.id == DEFAULT_DOMAIN)
    }
}

impl Row {
    fn is(&self, wanted: &Assignment) -> bool {
        let scope = match wanted.scope {
            Scope::Project(name) => self.scope.project.as_ref().is_some_and(|it| it.is(name)),
            Scope::System => self.scope.system.is_some(),
        };
        let user = self.user.as_ref().is_some_and(|it| it.is(wanted.user));
        scope && user && self.role.is(wanted.role)
    }
}

/// Whether all these roles are assigned.
pub fn check_assignments(session: &Session, wanted: &[Assignment]) -> Result<Check> {
    let missing = missing(session, wanted)?;
    Ok(match missing.first() {
        None => Check::Done,
        Some(first) => Check::Todo(first.lack()),
    })
}

/// Assigns those of these roles that are not assigned yet.
pub fn ensure_assignments(session: &Session, wanted: &[Assignment]) -> Result<()> {
    let mut known = Known {
        session,
        identifiers: BTreeMap::new(),
    };
    for assignment in missing(session, wanted)? {
        let user = known.find("user", assignment.user, identity::user)?;
        let role = known.find("role", assignment.role, identity::role)?;
        let path = match assignment.scope {
            Scope::System => format!("/system/users/{user}/roles/{role}"),
            Scope::Project(name) => {
                let project = known.find("project", name, identity::project)?;
                format!("/projects/{project}/users/{user}/roles/{role}")
            }
        };
        let call = session.call(Method::PUT, "identity", &path)?;
        call.send()?.success()?;
    }
    Ok(())
}

fn missing<'a>(session: &Session, wanted: &'a [Assignment<'a>]) -> Result<Vec<&'a Assignment<'a>>> {
    let query = [("include_names", "true")];
    let list: List = session.get("identity", "/role_assignments", &query)?;
    let is_there = |wanted: &Assignment| list.role_assignments.iter().any(|row| row.is(wanted));
    Ok(wanted.iter().filter(|wanted| !is_there(wanted)).collect())
}

impl Assignment<'_> {
    fn lack(&self) -> String {
        let Self { user, role, scope } = self;
        let scope = match scope {
            Scope::Project(name) => format!("the project {name}"),
            Scope::System => "the system".to_owned(),
        };
        format!("the user {user} has no role {role} on {scope}")
    }
}

/// Identifiers that were looked up already.
struct Known<'a> {
    session: &'a Session,
    identifiers: BTreeMap<(&'static str, String), String>,
}

impl Known<'_> {
    fn find(
        &mut self,
        kind: &'static str,
        name: &str,
        look_up: fn(&Session, &str) -> Result<Option<String>>,
    ) -> Result<String> {
        let key = (kind, name.to_owned());
        if let Some(identifier) = self.identifiers.get(&key) {
            return Ok(identifier.clone());
        }
        let found = look_up(self.session, name)?;
        let found = found.with_context(|| format!("keystone has no {kind} {name}"))?;
        self.identifiers.insert(key, found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::openstack::scripted::{keystone, lines, no_content, ok};

    /// As in the identity API's reference, with names: one on a project, one on the system, one
    /// of a group, and one of a user of the same name in another domain.
    const ASSIGNED: &str = r#"{"links": {"next": null}, "role_assignments": [
        {"scope": {"project": {"id": "p1", "name": "service",
                               "domain": {"id": "default", "name": "Default"}}},
         "role": {"id": "r1", "name": "admin"},
         "user": {"id": "u1", "name": "nova", "domain": {"id": "default", "name": "Default"}},
         "links": {}},
        {"scope": {"system": {"all": true}}, "role": {"id": "r1", "name": "admin"},
         "user": {"id": "u0", "name": "admin", "domain": {"id": "default", "name": "Default"}}},
        {"scope": {"domain": {"id": "default", "name": "Default"}},
         "role": {"id": "r1", "name": "admin"}, "group": {"id": "g1", "name": "nova"}},
        {"scope": {"system": {"all": true}}, "role": {"id": "r2", "name": "reader"},
         "user": {"id": "u9", "name": "glance", "domain": {"id": "d2", "name": "Other"}}}]}"#;
    const NOVA: Assignment = Assignment {
        user: "nova",
        role: "admin",
        scope: Scope::Project("service"),
    };
    const GLANCE: Assignment = Assignment {
        user: "glance",
        role: "reader",
        scope: Scope::System,
    };

    #[test]
    fn what_is_assigned_is_recognised() {
        let (session, peer) = keystone(vec![ok(ASSIGNED)]);
        let admin = Assignment {
            user: "admin",
            role: "admin",
            scope: Scope::System,
        };
        assert_eq!(
            check_assignments(&session, &[NOVA, admin]).unwrap(),
            Check::Done
        );
        assert_eq!(
            lines(&peer.join()),
            ["GET /v3/role_assignments?include_names=true"]
        );
    }

    #[test]
    fn what_is_missing_is_told() {
        let cases = [
            (GLANCE, "the user glance has no role reader on the system"),
            (
                Assignment {
                    scope: Scope::Project("admin"),
                    ..NOVA
                },
                "the user nova has no role admin on the project admin",
            ),
        ];
        for (assignment, expected) in cases {
            let (session, peer) = keystone(vec![ok(ASSIGNED)]);
            assert_eq!(
                check_assignments(&session, &[NOVA, assignment]).unwrap(),
                Check::Todo(expected.into())
            );
            peer.join();
        }
    }

    #[test]
    fn only_what_is_missing_is_assigned_and_names_are_looked_up_once() {
        let service = Assignment {
            role: "service",
            ..NOVA
        };
        let reader = Assignment {
            role: "reader",
            ..NOVA
        };
        let (session, peer) = keystone(vec![
            ok(ASSIGNED),
            ok(r#"{"users": [{"id": "u1", "name": "nova"}]}"#),
            ok(r#"{"roles": [{"id": "r3", "name": "service"}]}"#),
            ok(r#"{"projects": [{"id": "p1", "name": "service"}]}"#),
            no_content(),
            ok(r#"{"roles": [{"id": "r2", "name": "reader"}]}"#),
            no_content(),
            ok(r#"{"users": [{"id": "u2", "name": "glance"}]}"#),
            no_content(),
        ]);
        ensure_assignments(&session, &[NOVA, service, reader, GLANCE]).unwrap();
        assert_eq!(
            lines(&peer.join()),
            [
                "GET /v3/role_assignments?include_names=true",
                "GET /v3/users?name=nova&domain_id=default",
                "GET /v3/roles?name=service",
                "GET /v3/projects?name=service&domain_id=default",
                "PUT /v3/projects/p1/users/u1/roles/r3",
                "GET /v3/roles?name=reader",
                "PUT /v3/projects/p1/users/u1/roles/r2",
                "GET /v3/users?name=glance&domain_id=default",
                "PUT /v3/system/users/u2/roles/r2"
            ]
        );
    }

    #[test]
    fn a_user_that_does_not_exist_is_named() {
        let (session, peer) = keystone(vec![ok(ASSIGNED), ok(r#"{"users": []}"#)]);
        assert_eq!(
            ensure_assignments(&session, &[GLANCE])
                .unwrap_err()
                .to_string(),
            "keystone has no user glance"
        );
        peer.join();
    }
}
