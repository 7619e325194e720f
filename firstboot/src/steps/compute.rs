//! What a compute runs: libvirt, nova-compute and the agent of the virtual switch.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{join, neutron, shape};
use crate::files::{self, Ownership};
use crate::node::{Node, NotJoined};
use crate::resource::hypervisor::Hypervisor;
use crate::resource::unit::{self, Overdue};
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
            .weight(90)
            .apply(|context| {
                persevere(
                    || unit::start("nova-compute", context),
                    || join::was_away(context),
                )
            }),
        neutron::openvswitch_agent().needs(["neutron/compute-config", "join/controller"]),
    ]
}

/// nova-compute counts as started when the conductor has answered, so that a controller that goes
/// away meanwhile makes its start last as long. A start without an end is therefore tried again
/// once the controller is there; it is the last one if that was never away.
fn persevere(
    mut start: impl FnMut() -> Result<()>,
    mut was_away: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let mut tries_left = 1;
    loop {
        match start() {
            Err(error) if error.is::<Overdue>() => {
                // A controller that has just come back is not away, and has not answered yet.
                if !was_away()? {
                    if tries_left == 0 {
                        return Err(error);
                    }
                    tries_left -= 1;
                }
            }
            other => return other,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a start is tried that never ends, given whether the controller was away each time,
    /// and what it ends with.
    fn tried(away: &[bool], ends_at: usize) -> (usize, Option<String>) {
        let mut tries = 0;
        let mut away = away.iter();
        let result = persevere(
            || {
                tries += 1;
                match tries == ends_at {
                    true => Ok(()),
                    false => Err(Overdue("no end".to_owned()).into()),
                }
            },
            || Ok(*away.next().unwrap()),
        );
        (tries, result.err().map(|error| error.to_string()))
    }

    #[test]
    fn a_controller_that_goes_away_during_the_start_does_not_end_it() {
        assert_eq!(tried(&[], 1), (1, None));
        assert_eq!(tried(&[true], 2), (2, None));
        // It came back just before anybody looked.
        assert_eq!(tried(&[false], 2), (2, None));
        assert_eq!(tried(&[true, true, false, true], 5), (5, None));
        let failed = Some("no end".to_owned());
        assert_eq!(tried(&[false, false], 9), (2, failed.clone()));
        assert_eq!(tried(&[true, false, false], 9), (3, failed));
    }

    #[test]
    fn any_other_failure_is_the_end_at_once() {
        let result = persevere(|| anyhow::bail!("exited with 1"), || panic!("nobody asked"));
        assert_eq!(result.unwrap_err().to_string(), "exited with 1");
    }
}
