//! What an image must have been given by its packages for the steps of a role to work: the units and
//! users of the services that they keep running, and the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use crate::config::Role;
use crate::platform::Platform;
use crate::roles;

/// Programs of the platform's table that nodes of one role alone run; the others are every node's.
const OF_ONE_ROLE: [(Role, &[&str]); 2] = [
    (
        Role::Controller,
        &[
            "mariadb",
            "keystone-manage",
            "glance-manage",
            "placement-manage",
            "placement-status",
            "nova-manage",
            "nova-status",
            "neutron-db-manage",
            "rabbitmqctl",
            "keystone-bootstrap",
        ],
    ),
    (Role::Compute, &["qemu"]),
];
/// Paths of the platform's table that are programs, which computes run.
const TOOLS_OF_COMPUTES: [&str; 1] = ["mkisofs"];

/// What a role needs of its image.
#[derive(Debug, PartialEq, Eq)]
pub struct Equipment<'a> {
    /// systemd units, each with a service that it belongs to.
    pub units: BTreeMap<&'a str, &'a str>,
    /// Users, each with a service that runs as it.
    pub users: BTreeMap<&'a str, &'a str>,
    /// Programs.
    pub programs: BTreeSet<&'a Path>,
}

/// What the steps of a role need of an image of this platform.
///
/// # Errors
/// When the platform's table lacks a service that a step names (which a test rules out).
pub fn of(platform: &Platform, role: Role) -> Result<Equipment<'_>> {
    let mut units = BTreeMap::new();
    let mut users = BTreeMap::new();
    for name in roles::of(platform, role)
        .iter()
        .filter_map(|step| step.service)
    {
        let service = platform.service(name)?;
        units.extend(service.units.iter().map(|unit| (unit.as_str(), name)));
        users.insert(service.user.as_str(), name);
    }
    let of_another = |program: &str| {
        OF_ONE_ROLE
            .iter()
            .any(|(owner, programs)| *owner != role && programs.contains(&program))
    };
    let mut programs: BTreeSet<&Path> = platform
        .programs
        .iter()
        .filter(|(name, _)| !of_another(name))
        .map(|(_, path)| path.as_path())
        .collect();
    if role == Role::Compute {
        for name in TOOLS_OF_COMPUTES {
            programs.insert(platform.path(name)?);
        }
    }
    Ok(Equipment {
        units,
        users,
        programs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_that_is_of_one_role_is_in_every_table() {
        for name in Platform::names() {
            let platform = Platform::load(name).unwrap();
            for program in OF_ONE_ROLE.iter().flat_map(|(_, programs)| *programs) {
                platform.program(program).unwrap();
            }
        }
    }

    #[test]
    fn a_role_needs_the_services_of_its_steps_and_no_others() {
        let platform = Platform::load("centos-stream-9").unwrap();
        let compute = of(&platform, Role::Compute).unwrap();
        assert_eq!(compute.units.get("virtqemud.socket"), Some(&"libvirt"));
        assert_eq!(compute.users.get("nova"), Some(&"nova-compute"));
        assert!(!compute.units.contains_key("mariadb.service"));
        let has = |equipment: &Equipment, path| equipment.programs.contains(Path::new(path));
        assert!(has(&compute, "/usr/libexec/qemu-kvm") && has(&compute, "/usr/bin/mkisofs"));
        assert!(!has(&compute, "/usr/bin/nova-manage"));
        let controller = of(&platform, Role::Controller).unwrap();
        for unit in ["mariadb.service", "httpd.service", "openvswitch.service"] {
            assert!(controller.units.contains_key(unit), "{unit}");
        }
        assert!(!controller.units.contains_key("virtqemud.socket"));
        assert!(has(&controller, "/usr/bin/nova-manage"));
        assert!(!has(&controller, "/usr/libexec/qemu-kvm"));
    }
}
