//! What neutron says of its agents, and small networks of one subnet.

use anyhow::Result;
use serde::Deserialize;
use serde_json::json;
use ureq::http::Method;

use super::session::Session;

/// An agent of neutron as it reported itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Agent {
    /// Its identifier.
    pub id: String,
    /// What it is, as in `L3 agent`.
    pub agent_type: String,
    /// The program, as in `neutron-l3-agent`.
    pub binary: String,
    /// The host it runs on.
    pub host: String,
    /// True if it reported of late.
    pub alive: bool,
    /// True if it is used.
    pub admin_state_up: bool,
}

#[derive(Deserialize)]
struct Agents {
    agents: Vec<Agent>,
}

/// All agents of neutron that have reported.
pub fn agents(session: &Session) -> Result<Vec<Agent>> {
    let list: Agents = session.get("network", "/v2.0/agents", &[])?;
    Ok(list.agents)
}

/// Removes the record of an agent; one that is gone is no error.
pub fn delete_agent(session: &Session, id: &str) -> Result<()> {
    let call = session.call(Method::DELETE, "network", &format!("/v2.0/agents/{id}"))?;
    call.send()?.exists().map(drop)
}

#[derive(Deserialize)]
struct Identified {
    id: String,
}

/// Makes a network with one subnet, where DHCP answers and no router is; gives its identifier.
pub fn create(session: &Session, name: &str, subnet: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Created {
        network: Identified,
    }
    let body = json!({"network": {"name": name}});
    let call = session.call(Method::POST, "network", "/v2.0/networks")?;
    let created: Created = call.json(&body)?.send()?.json()?;
    let id = created.network.id;
    let body = json!({"subnet": {
        "name": name, "network_id": id, "ip_version": 4, "cidr": subnet, "gateway_ip": null,
    }});
    let call = session.call(Method::POST, "network", "/v2.0/subnets")?;
    call.json(&body)?.send()?.success()?;
    Ok(id)
}

/// Identifiers of the networks of this name.
pub fn find(session: &Session, name: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Networks {
        networks: Vec<Identified>,
    }
    let list: Networks = session.get("network", "/v2.0/networks", &[("name", name)])?;
    Ok(list
        .networks
        .into_iter()
        .map(|network| network.id)
        .collect())
}

/// Removes a network that no instance uses, with its subnets; one that is gone is no error.
pub fn delete(session: &Session, id: &str) -> Result<()> {
    let call = session.call(Method::DELETE, "network", &format!("/v2.0/networks/{id}"))?;
    call.send()?.exists().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::openstack::scripted::{cloud, lines, no_content, ok};

    #[test]
    fn a_network_is_made_with_its_subnet_and_found_again() {
        let answers = vec![
            ok(r#"{"network": {"id": "n1", "name": "smoke", "subnets": []}}"#),
            ok(r#"{"subnet": {"id": "u1"}}"#),
            ok(r#"{"networks": [{"id": "n1", "name": "smoke"}]}"#),
            no_content(),
        ];
        let (session, peer) = cloud("network", "", answers);
        assert_eq!(create(&session, "smoke", "192.0.2.0/24").unwrap(), "n1");
        assert_eq!(find(&session, "smoke").unwrap(), ["n1"]);
        delete(&session, "n1").unwrap();
        let requests = peer.join();
        assert_eq!(
            lines(&requests)[1..],
            [
                "POST /v2.0/networks",
                "POST /v2.0/subnets",
                "GET /v2.0/networks?name=smoke",
                "DELETE /v2.0/networks/n1"
            ]
        );
        let body: serde_json::Value = serde_json::from_str(&requests[3].body).unwrap();
        assert_eq!(
            body,
            json!({"subnet": {"name": "smoke", "network_id": "n1", "ip_version": 4,
                "cidr": "192.0.2.0/24", "gateway_ip": null}})
        );
    }

    #[test]
    fn agents_are_read() {
        // As in the networking API's reference.
        let (session, peer) = cloud(
            "network",
            "",
            vec![ok(r#"{"agents": [
            {"binary": "neutron-openvswitch-agent", "description": null,
             "availability_zone": null, "heartbeat_timestamp": "2017-09-12 19:40:08",
             "admin_state_up": true, "alive": false, "id": "04c62b91",
             "topic": "N/A", "host": "agenthost1", "agent_type": "Open vSwitch agent",
             "resource_versions": {}, "created_at": "2017-09-12 19:35:38",
             "started_at": "2017-09-12 19:35:38", "configurations": {}}]}"#)],
        );
        let expected = Agent {
            id: "04c62b91".into(),
            agent_type: "Open vSwitch agent".into(),
            binary: "neutron-openvswitch-agent".into(),
            host: "agenthost1".into(),
            alive: false,
            admin_state_up: true,
        };
        assert_eq!(agents(&session).unwrap(), [expected]);
        assert_eq!(lines(&peer.join())[1], "GET /v2.0/agents");
    }
}
