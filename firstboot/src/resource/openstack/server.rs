//! Instances and the flavors they are made of.

use anyhow::Result;
use serde::Deserialize;
use serde_json::json;
use ureq::http::Method;

use super::session::Session;

/// Enough for a guest that is a boot sector.
const MEMORY_MIB: u32 = 64;
const DISK_GIB: u32 = 1;
/// How much of a console is asked for.
const CONSOLE_LINES: u32 = 50;

/// What an instance is to be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a str,
    /// The image of its disk, by identifier.
    pub image: &'a str,
    /// Its flavor, by identifier.
    pub flavor: &'a str,
    /// Its one network, by identifier.
    pub network: &'a str,
    /// The compute that it must run on.
    pub host: &'a str,
}

/// An instance as Nova shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Server {
    /// `BUILD`, `ACTIVE`, `ERROR` and others.
    pub status: String,
    #[serde(default)]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Fault {
    message: String,
}

impl Server {
    /// Why it is in `ERROR`, as far as Nova says.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_ref().map(|fault| fault.message.as_str())
    }
}

#[derive(Deserialize)]
struct Identified {
    id: String,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
}

/// Asks for an instance; gives its identifier while it is being made.
pub fn create(session: &Session, wanted: &Wanted<'_>) -> Result<String> {
    #[derive(Deserialize)]
    struct Created {
        server: Identified,
    }
    let body = json!({"server": {
        "name": wanted.name,
        "imageRef": wanted.image,
        "flavorRef": wanted.flavor,
        "networks": [{"uuid": wanted.network}],
        // An administrator may name the host; the scheduler still looks whether it fits.
        "availability_zone": format!("nova:{}", wanted.host),
    }});
    let call = session.call(Method::POST, "compute", "/servers")?;
    let created: Created = call.json(&body)?.send()?.json()?;
    Ok(created.server.id)
}

/// How an instance stands.
pub fn show(session: &Session, id: &str) -> Result<Server> {
    #[derive(Deserialize)]
    struct Shown {
        server: Server,
    }
    let shown: Shown = session.get("compute", &format!("/servers/{id}"), &[])?;
    Ok(shown.server)
}

/// The end of what an instance said on its serial port.
pub fn console_output(session: &Session, id: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Output {
        output: String,
    }
    let path = format!("/servers/{id}/action");
    let body = json!({"os-getConsoleOutput": {"length": CONSOLE_LINES}});
    let call = session.call(Method::POST, "compute", &path)?;
    let output: Output = call.json(&body)?.send()?.json()?;
    Ok(output.output)
}

/// Identifiers of all instances whose name begins so.
pub fn find(session: &Session, prefix: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Servers {
        servers: Vec<Named>,
    }
    // Nova matches names by a regular expression, anywhere in them.
    let list: Servers = session.get("compute", "/servers", &[("name", prefix)])?;
    let ours = list
        .servers
        .into_iter()
        .filter(|it| it.name.starts_with(prefix));
    Ok(ours.map(|it| it.id).collect())
}

/// Asks for an instance to be removed; one that is gone is no error.
pub fn delete(session: &Session, id: &str) -> Result<()> {
    let call = session.call(Method::DELETE, "compute", &format!("/servers/{id}"))?;
    call.send()?.exists().map(drop)
}

/// Makes a small flavor that no other project sees; gives its identifier.
pub fn create_flavor(session: &Session, name: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Created {
        flavor: Identified,
    }
    let body = json!({"flavor": {
        "name": name,
        "vcpus": 1,
        "ram": MEMORY_MIB,
        "disk": DISK_GIB,
        "os-flavor-access:is_public": false,
    }});
    let call = session.call(Method::POST, "compute", "/flavors")?;
    let created: Created = call.json(&body)?.send()?.json()?;
    Ok(created.flavor.id)
}

/// Identifiers of the flavors of this name, public or not.
pub fn find_flavors(session: &Session, name: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Flavors {
        flavors: Vec<Named>,
    }
    let list: Flavors = session.get("compute", "/flavors", &[("is_public", "None")])?;
    let ours = list.flavors.into_iter().filter(|it| it.name == name);
    Ok(ours.map(|it| it.id).collect())
}

/// Removes a flavor; one that is gone is no error.
pub fn delete_flavor(session: &Session, id: &str) -> Result<()> {
    let call = session.call(Method::DELETE, "compute", &format!("/flavors/{id}"))?;
    call.send()?.exists().map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::resource::openstack::scripted::{cloud, lines, no_content, ok};

    #[test]
    fn an_instance_is_asked_for_on_its_host() {
        let made = ok(r#"{"server": {"id": "s1", "links": [], "adminPass": "x"}}"#);
        let (session, peer) = cloud("compute", "/v2.1", vec![made]);
        let wanted = Wanted {
            name: "n",
            image: "i",
            flavor: "f",
            network: "w",
            host: "compute1",
        };
        assert_eq!(create(&session, &wanted).unwrap(), "s1");
        let requests = peer.join();
        assert_eq!(lines(&requests)[1], "POST /v2.1/servers");
        let body: Value = serde_json::from_str(&requests[2].body).unwrap();
        assert_eq!(
            body,
            json!({"server": {"name": "n", "imageRef": "i", "flavorRef": "f",
                "networks": [{"uuid": "w"}], "availability_zone": "nova:compute1"}})
        );
    }

    #[test]
    fn a_failed_instance_says_why() {
        let shown = ok(r#"{"server": {"id": "s1", "status": "ERROR",
            "fault": {"code": 500, "message": "No valid host was found. ", "created": "x"}}}"#);
        let (session, peer) = cloud("compute", "/v2.1", vec![shown]);
        let server = show(&session, "s1").unwrap();
        assert_eq!(server.status, "ERROR");
        assert_eq!(server.fault(), Some("No valid host was found. "));
        peer.join();
    }

    #[test]
    fn what_only_contains_the_name_is_not_ours() {
        let list = ok(
            r#"{"servers": [{"id": "a", "name": "x-smoke-1", "links": []},
                                      {"id": "b", "name": "smoke-1", "links": []}]}"#,
        );
        let gone = ("404 Not Found", vec![], String::new());
        let (session, peer) = cloud("compute", "/v2.1", vec![list, no_content(), gone]);
        assert_eq!(find(&session, "smoke").unwrap(), ["b"]);
        delete(&session, "b").unwrap();
        delete(&session, "b").unwrap();
        assert_eq!(
            lines(&peer.join())[1..],
            [
                "GET /v2.1/servers?name=smoke",
                "DELETE /v2.1/servers/b",
                "DELETE /v2.1/servers/b"
            ]
        );
    }

    #[test]
    fn a_console_is_an_action() {
        let said = ok(r#"{"output": "SeaBIOS\nhello\n"}"#);
        let (session, peer) = cloud("compute", "/v2.1", vec![said]);
        assert_eq!(console_output(&session, "s1").unwrap(), "SeaBIOS\nhello\n");
        let requests = peer.join();
        assert_eq!(lines(&requests)[1], "POST /v2.1/servers/s1/action");
        assert_eq!(requests[2].body, r#"{"os-getConsoleOutput":{"length":50}}"#);
    }

    #[test]
    fn a_flavor_of_nobody_elses_is_found_again() {
        let list = ok(r#"{"flavors": [{"id": "1", "name": "m1.tiny", "links": []},
                                      {"id": "2", "name": "smoke", "links": []}]}"#);
        let made = ok(r#"{"flavor": {"id": "2"}}"#);
        let (session, peer) = cloud("compute", "/v2.1", vec![made, list, no_content()]);
        assert_eq!(create_flavor(&session, "smoke").unwrap(), "2");
        assert_eq!(find_flavors(&session, "smoke").unwrap(), ["2"]);
        delete_flavor(&session, "2").unwrap();
        assert_eq!(
            lines(&peer.join())[1..],
            [
                "POST /v2.1/flavors",
                "GET /v2.1/flavors?is_public=None",
                "DELETE /v2.1/flavors/2"
            ]
        );
    }
}
