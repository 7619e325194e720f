//! Projects, users and roles of the default domain.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;

use super::DEFAULT_DOMAIN;
use super::session::Session;
use crate::step::Check;

/// A user that a service, or the administrator, logs in as.
#[derive(Clone, Copy)]
pub struct User<'a> {
    /// Its name.
    pub name: &'a str,
    /// The password it must be able to log in with.
    pub password: &'a str,
}

/// What keystone calls a thing that has a name.
#[derive(Deserialize)]
struct Named {
    id: String,
}

/// Whether the project exists.
pub fn check_project(session: &Session, name: &str) -> Result<Check> {
    let found = project(session, name)?;
    Ok(Check::of(
        found.is_some(),
        format!("there is no project {name}"),
    ))
}

/// Makes the project if there is none.
pub fn ensure_project(session: &Session, name: &str, description: &str) -> Result<()> {
    if project(session, name)?.is_some() {
        return Ok(());
    }
    let project = json!({
        "name": name, "domain_id": DEFAULT_DOMAIN, "description": description, "enabled": true,
    });
    change(
        session,
        Method::POST,
        "/projects",
        &json!({"project": project}),
        None,
    )
}

/// Whether the role exists.
pub fn check_role(session: &Session, name: &str) -> Result<Check> {
    let found = role(session, name)?;
    Ok(Check::of(
        found.is_some(),
        format!("there is no role {name}"),
    ))
}

/// Makes the role if there is none.
pub fn ensure_role(session: &Session, name: &str) -> Result<()> {
    if role(session, name)?.is_some() {
        return Ok(());
    }
    change(
        session,
        Method::POST,
        "/roles",
        &json!({"role": {"name": name}}),
        None,
    )
}

/// Whether the user exists and can log in with its password.
pub fn check_user(session: &Session, wanted: User) -> Result<Check> {
    let name = wanted.name;
    if user(session, name)?.is_none() {
        return Ok(Check::Todo(format!("there is no user {name}")));
    }
    Ok(Check::of(
        session.accepts(name, wanted.password)?,
        format!("keystone refuses the password of the user {name}"),
    ))
}

/// Makes the user if there is none; sets its password, and enables it, if it cannot log in.
pub fn ensure_user(session: &Session, wanted: User) -> Result<()> {
    let User { name, password } = wanted;
    match user(session, name)? {
        None => {
            let user = json!({
                "name": name, "password": password, "domain_id": DEFAULT_DOMAIN, "enabled": true,
            });
            let body = json!({"user": user});
            change(session, Method::POST, "/users", &body, Some(password))
        }
        Some(_) if session.accepts(name, password)? => Ok(()),
        Some(id) => {
            let body = json!({"user": {"password": password, "enabled": true}});
            let path = format!("/users/{id}");
            change(session, Method::PATCH, &path, &body, Some(password))
        }
    }
}

/// The identifier of a project of the default domain.
pub(super) fn project(session: &Session, name: &str) -> Result<Option<String>> {
    find(
        session,
        "projects",
        &[("name", name), ("domain_id", DEFAULT_DOMAIN)],
    )
}

/// The identifier of a user of the default domain.
pub(super) fn user(session: &Session, name: &str) -> Result<Option<String>> {
    find(
        session,
        "users",
        &[("name", name), ("domain_id", DEFAULT_DOMAIN)],
    )
}

/// The identifier of a role.
pub(super) fn role(session: &Session, name: &str) -> Result<Option<String>> {
    find(session, "roles", &[("name", name)])
}

fn find(session: &Session, collection: &str, query: &[(&str, &str)]) -> Result<Option<String>> {
    let mut answer: Value = session.get("identity", &format!("/{collection}"), query)?;
    let list = answer.get_mut(collection).map(Value::take);
    let list = list.with_context(|| format!("keystone gave no list of {collection}"))?;
    let found: Vec<Named> = serde_json::from_value(list)
        .with_context(|| format!("reading keystone's list of {collection}"))?;
    Ok(found.into_iter().next().map(|found| found.id))
}

fn change(
    session: &Session,
    method: Method,
    path: &str,
    body: &Value,
    secret: Option<&str>,
) -> Result<()> {
    let call = session.call(method, "identity", path)?.json(body)?;
    let call = match secret {
        Some(secret) => call.hide(secret),
        None => call,
    };
    call.send()?.success().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::openstack::scripted::{keystone, lines, ok, refused, token};

    const NOBODY: &str = r#"{"users": [], "links": {"next": null}}"#;
    const NOVA: &str = r#"{"users": [{"id": "u1", "name": "nova", "domain_id": "default",
        "enabled": true, "password_expires_at": null, "options": {}}], "links": {}}"#;
    const USER: User = User {
        name: "nova",
        password: "s3cret",
    };

    #[test]
    fn a_missing_user_is_made() {
        let (session, peer) = keystone(vec![ok(NOBODY), ok(r#"{"user": {"id": "u1"}}"#)]);
        ensure_user(&session, USER).unwrap();
        let requests = peer.join();
        assert_eq!(
            lines(&requests),
            [
                "GET /v3/users?name=nova&domain_id=default",
                "POST /v3/users"
            ]
        );
        let body: Value = serde_json::from_str(&requests[2].body).unwrap();
        assert_eq!(
            body,
            json!({"user": {"name": "nova", "password": "s3cret", "domain_id": "default",
                            "enabled": true}})
        );
    }

    #[test]
    fn a_user_that_can_log_in_is_left_alone() {
        let (session, peer) = keystone(vec![ok(NOVA), token("x")]);
        ensure_user(&session, USER).unwrap();
        assert_eq!(lines(&peer.join())[1], "POST /v3/auth/tokens");
    }

    #[test]
    fn a_wrong_password_is_todo_and_then_set() {
        let (session, peer) = keystone(vec![ok(NOVA), refused()]);
        assert_eq!(
            check_user(&session, USER).unwrap(),
            Check::Todo("keystone refuses the password of the user nova".into())
        );
        peer.join();

        let (session, peer) = keystone(vec![ok(NOVA), refused(), ok(r#"{"user": {}}"#)]);
        ensure_user(&session, USER).unwrap();
        let requests = peer.join();
        assert_eq!(requests[3].line, "PATCH /v3/users/u1");
        let body: Value = serde_json::from_str(&requests[3].body).unwrap();
        assert_eq!(
            body,
            json!({"user": {"password": "s3cret", "enabled": true}})
        );
    }

    #[test]
    fn a_refused_user_is_told_without_its_password() {
        let conflict = (
            "400 Bad Request",
            vec![],
            r#"{"error": {"code": 400, "message": "'s3cret' is too short"}}"#.to_owned(),
        );
        let (session, peer) = keystone(vec![ok(NOBODY), conflict]);
        let address = peer.address();
        assert_eq!(
            format!("{:#}", ensure_user(&session, USER).unwrap_err()),
            format!("POST http://{address}/v3/users answered 400: '[redacted]' is too short")
        );
        peer.join();
    }

    #[test]
    fn projects_and_roles_are_made_only_when_missing() {
        let (session, peer) = keystone(vec![
            ok(r#"{"projects": [{"id": "p1", "name": "service"}]}"#),
            ok(r#"{"roles": []}"#),
            ok(r#"{"roles": []}"#),
            ok(r#"{"role": {"id": "r1"}}"#),
        ]);
        ensure_project(&session, "service", "Services").unwrap();
        assert_eq!(
            check_role(&session, "service").unwrap(),
            Check::Todo("there is no role service".into())
        );
        ensure_role(&session, "service").unwrap();
        assert_eq!(
            lines(&peer.join()),
            [
                "GET /v3/projects?name=service&domain_id=default",
                "GET /v3/roles?name=service",
                "GET /v3/roles?name=service",
                "POST /v3/roles"
            ]
        );
    }
}
