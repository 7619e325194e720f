//! What neutron says of its agents. Reads only.

use anyhow::Result;
use serde::Deserialize;

use super::session::Session;

/// An agent of neutron as it reported itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Agent {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::openstack::scripted::{cloud, lines, ok};

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
