//! The real cloud behind [`super::discovery`]: its APIs, its table of hosts, its `nova-manage`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::discovery::{Cloud, Service, View};
use crate::cmd::Cmd;
use crate::node::Node;
use crate::resource::openstack::{Session, compute, network, placement};
use crate::resource::sql;

const SWITCH_AGENT: &str = "neutron-openvswitch-agent";
/// It loads for half a minute where the processor is emulated.
const DISCOVERY: Duration = Duration::from_secs(600);

/// This controller's own cloud.
#[derive(Debug, Clone)]
pub struct OwnCloud(pub Arc<Node>);

impl Cloud for OwnCloud {
    fn view(&self) -> Result<View> {
        let session = Session::admin(&self.0)?;
        let services = compute::computes(session)?.into_iter().map(|it| {
            let service = Service {
                id: it.id,
                is_up: it.state == "up",
                is_enabled: it.status == "enabled",
            };
            (it.host, service)
        });
        let agents = network::agents(session)?.into_iter();
        let alive = agents.filter(|it| it.alive && it.binary == SWITCH_AGENT);
        Ok(View {
            services: services.collect(),
            switched: alive.map(|it| it.host).collect(),
            hypervisors: compute::hypervisors(session)?,
            cells: cells_of_hosts(&self.0)?,
        })
    }

    fn discover_hosts(&self) -> Result<()> {
        let cells = compute::cells(&self.0)?;
        let cell = cells.iter().find(|cell| cell.name == "cell1");
        let uuid = &cell.context("finding cell1")?.uuid;
        // By service: the default looks at a mark that outlives a host's removal.
        Cmd::new(self.0.platform.program("nova-manage")?)
            .args(["cell_v2", "discover_hosts", "--by-service", "--cell_uuid"])
            .arg(uuid.as_str())
            .as_user(&self.0.platform.service("nova-api")?.user)
            .deadline(DISCOVERY)
            .run()
    }

    fn inventories(&self, provider: &str) -> Result<BTreeSet<String>> {
        placement::inventories(Session::admin(&self.0)?, provider)
    }

    fn enable(&self, service: &str) -> Result<()> {
        compute::set_enabled(Session::admin(&self.0)?, service, true)
    }
}

/// Name and UUID of the cell of each host: the rows that `nova-manage cell_v2 list_hosts` prints,
/// without its start, which takes twenty seconds where the processor is emulated.
pub(super) fn cells_of_hosts(
    node: &Node,
) -> Result<std::collections::BTreeMap<String, (String, String)>> {
    let rows = sql::query(
        node,
        "SELECT h.host, c.name, c.uuid FROM nova_api.host_mappings h \
         JOIN nova_api.cell_mappings c ON c.id = h.cell_id ORDER BY h.host;",
    )?;
    let of_row = |row: Vec<String>| match <[String; 3]>::try_from(row) {
        Ok([host, cell, uuid]) => Ok((host, (cell, uuid))),
        Err(row) => anyhow::bail!("a row of nova's hosts has {} columns, not 3", row.len()),
    };
    rows.into_iter().map(of_row).collect()
}
