//! What a compute runs: libvirt, nova-compute and the agent of the virtual switch.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{neutron, shape};
use crate::files::{self, Ownership};
use crate::node::{Node, NotJoined};
use crate::resource::hypervisor::Hypervisor;
use crate::step::{Check, Step};
use crate::users;

const COMPUTE_ID: &str = "/etc/nova/compute_id";

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::running(
            "libvirt/running",
            "the virtualization daemon runs",
            "libvirt",
        )
        // It tells Nova the host's name, and Nova must never see another one.
        .needs(["base/hostname"])
        .weight(10),
        Step::new("nova/virtualization", "what runs instances is known")
            .needs(["base/preflight"])
            .hint("look whether QEMU starts; /var/lib/cellboot/hypervisor.json says what was found")
            .weight(10)
            .check(|_| {
                Ok(match Hypervisor::known()? {
                    None => Check::Todo("nobody has tried whether KVM works here".into()),
                    Some(Hypervisor::Kvm) => Check::Done,
                    Some(Hypervisor::Emulated(why)) => {
                        Check::Warn(format!("instances are emulated, slowly: {why}"))
                    }
                })
            })
            .apply(|context| Hypervisor::probe(&context.platform)),
        // Nova would write it itself, without making sure that it is on the disk: power lost then
        // leaves an empty file, which it refuses for good. Releases before Antelope ignore it.
        Step::new("nova/compute-id", "the host has its identity in the cell")
            .needs(["join/enrolled"])
            .hint("look whether /etc/nova can be written")
            .check(|context| {
                let Some(bundle) = context.bundle.get() else {
                    return Ok(Check::Todo(NotJoined.to_string()));
                };
                let id = bundle.compute_id.as_bytes();
                Ok(Check::of(
                    files::is(Path::new(COMPUTE_ID), id, ownership()?)?,
                    format!("{COMPUTE_ID} is not what the registrar gave"),
                ))
            })
            .apply(|context| write_id(context)),
        shape::configured(
            "nova/compute-config",
            "nova-compute's file is rendered",
            &["nova-compute"],
        )
        .needs(["join/enrolled", "nova/virtualization"]),
        shape::configured(
            "neutron/compute-config",
            "the files of the virtual switch's agent are rendered",
            &["neutron-openvswitch-agent"],
        )
        .needs(["join/enrolled"]),
        shape::running("nova/compute", "nova-compute runs", "nova-compute")
            .needs([
                "nova/compute-config",
                "nova/compute-id",
                "libvirt/running",
                "join/controller",
            ])
            .weight(90),
        neutron::openvswitch_agent().needs(["neutron/compute-config", "join/controller"]),
    ]
}

fn write_id(node: &Node) -> Result<()> {
    let bundle = node.bundle.get().context(NotJoined)?;
    let id = bundle.compute_id.as_bytes();
    files::replace(Path::new(COMPUTE_ID), id, ownership()?)
}

fn ownership() -> Result<Ownership> {
    Ok(Ownership {
        mode: 0o444,
        owner: Some(users::owner("root:nova")?),
    })
}
