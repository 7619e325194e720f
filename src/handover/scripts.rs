//! What is done at a place: the templates beside this file, filled in.

use std::path::Path;

use anyhow::{Context, Result};
use firstboot::render;
use minijinja::value::Serde;
use serde_json::{Value, json};

use super::{Machine, Networks, Place};
use crate::site::Site;

const DOMAIN: &str = include_str!("domain.xml.j2");
const LIBVIRT: &str = include_str!("libvirt.sh.j2");
const PROXMOX: &str = include_str!("proxmox.sh.j2");
const OPENSTACK: &str = include_str!("openstack.sh.j2");

/// The script of a place, where there is one.
pub(super) fn script(
    place: Place,
    site: &Site,
    networks: &Networks,
    machines: &[Machine],
) -> Result<Option<String>> {
    let template = match place {
        Place::Libvirt => LIBVIRT,
        Place::Proxmox => PROXMOX,
        Place::Openstack => OPENSTACK,
        Place::Metal => return Ok(None),
    };
    let variables = json!({
        "site": site.name,
        "management": networks.management,
        "provider": networks.provider,
        "machines": machines.iter().map(described).collect::<Vec<_>>(),
    });
    fill(template, &variables).map(Some)
}

/// The domain of libvirt that a node is.
pub(super) fn domain(machine: &Machine) -> Result<String> {
    fill(DOMAIN, &described(machine))
}

fn described(machine: &Machine) -> Value {
    let ports = machine.ports.iter();
    json!({
        "name": machine.name,
        "role": machine.role.as_str(),
        "memory_mib": machine.size.memory_mib,
        "processors": machine.size.processors,
        "disk_gib": machine.size.disk_gib,
        "uuid": machine.uuid,
        "address": machine.address,
        "ports": ports
            .map(|(mac, network)| json!({ "mac": mac, "network": network }))
            .collect::<Vec<_>>(),
    })
}

fn fill(template: &str, variables: &Value) -> Result<String> {
    // None of these includes a file. Names of a site have letters, digits and hyphens only, so that
    // nothing needs to be quoted.
    let environment = render::environment(Path::new(""))?;
    let text = environment.render_str(template, Serde(variables));
    text.context("filling in what is done at the place")
}
