//! Making a lab: which images, which nodes, their disks, seeds and doors.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use firstboot::config::Role;
use firstboot::platform::Platform;

use super::Lab;
use super::accel::{self, Accelerator, Choice};
use super::machine::{self, Bus, Firmware, Machine};
use super::network::{self, COMPUTE_PORTS, CONTROLLER_PORTS, Port};
use super::state::{Image, Node, State};
use crate::cache::Cache;
use crate::fault::Class;
use crate::inspect;
use crate::keys::Keys;
use crate::report::Report;
use crate::seed;
use crate::site::{self, Site};

/// The interface that carries everything but the provider network.
const MANAGEMENT: &str = "management";
/// How long Nova lets Neutron take to plug an instance in before it gives the instance up, unless it
/// is told otherwise (`vif_plugging_timeout`).
const PLUGGING_SECONDS: u32 = 300;

/// What kind of lab is wanted.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where it is kept.
    pub directory: PathBuf,
    /// The built images, as in `out/debian-12`.
    pub images: PathBuf,
    /// Their platform.
    pub platform: Platform,
    /// The site's own keys.
    pub keys: Keys,
    /// How many of the site's computes come with the controller.
    pub computes: usize,
    /// How processors are run.
    pub accelerator: Accelerator,
    /// What machines start with.
    pub firmware: Firmware,
    /// How disks are attached.
    pub bus: Bus,
    /// Ports of the controller that get a door besides the usual ones: tests look whether
    /// anything answers there.
    pub more_ports: Vec<u16>,
}

impl Lab {
    /// Makes sure that the lab of this plan exists and that all its machines are on. A lab that
    /// is there already is taken as it is; a machine that is off is turned on again.
    pub fn start(plan: &Plan, site: &Site) -> Result<Self> {
        let mut lab = match Self::find(&plan.directory)? {
            Some(lab) => lab,
            None => Self::create(plan, site)?,
        };
        let running = lab.nodes().len() - 1;
        if running != plan.computes || lab.state.firmware != plan.firmware {
            bail!(
                "the lab in {} is another one: {running} computes, {:?} firmware\n\
                 hint: `cellboot lab down` ends it",
                plan.directory.display(),
                lab.state.firmware
            );
        }
        let names: Vec<String> = lab.names().map(str::to_owned).collect();
        for name in names {
            if lab.node(Some(&name))?.machine.process().pid()?.is_none() {
                lab.power_on(&name)?;
            }
        }
        Ok(lab)
    }

    /// Lays out a lab, with all its machines off.
    pub fn create(plan: &Plan, site: &Site) -> Result<Self> {
        let nodes = chosen(site, plan.computes)?;
        let state = State {
            accelerator: plan.accelerator,
            firmware: plan.firmware,
            key: std::path::absolute(plan.keys.ssh_private_key())
                .context("looking for the site's key")?,
            nodes: layout(plan, site, &nodes)?,
        };
        std::fs::create_dir_all(&plan.directory)
            .with_context(|| format!("making {}", plan.directory.display()))?;
        let told = patient(site, plan.accelerator);
        for (node, described) in state.nodes.iter().zip(&nodes) {
            machine::overlay(&node.image.path, &node.machine.disk, None)?;
            if let Some(seed) = &node.machine.seed {
                seed::write(&told, &plan.platform, &plan.keys, &described.name, seed)?;
            }
        }
        state.save(&plan.directory)?;
        Ok(Self {
            directory: plan.directory.clone(),
            state,
        })
    }
}

/// The site, with as much patience between its services as the lab's processors need; what the site
/// sets itself stays.
fn patient(site: &Site, accelerator: Accelerator) -> Site {
    let mut site = site.clone();
    let seconds = PLUGGING_SECONDS * accelerator.patience();
    if seconds != PLUGGING_SECONDS {
        let nova = site.overrides.entry("nova".to_owned()).or_default();
        let default = nova.entry("DEFAULT".to_owned()).or_default();
        let timeout = default.entry("vif_plugging_timeout".to_owned());
        timeout.or_insert_with(|| seconds.to_string());
    }
    site
}

/// The controller and the first computes of a site.
fn chosen(site: &Site, computes: usize) -> Result<Vec<&site::Node>> {
    let of = |role| site.nodes.iter().filter(move |node| node.role == role);
    let available = of(Role::Compute).count();
    if computes > available && site.shared.is_some() {
        return Err(Class::BadInput.error(
            "a lab has machines for computes that have names; those that share a seed find theirs \
             when they boot\n\
             hint: remove `name_from` under [computes] in a copy of the site for the lab",
        ));
    }
    if computes > available {
        return Err(Class::BadInput.error(format!(
            "the site has {available} computes, not {computes}\n\
             hint: set `count` under [computes] in site.toml"
        )));
    }
    Ok(std::iter::once(site.controller())
        .chain(of(Role::Compute).take(computes))
        .collect())
}

fn layout(plan: &Plan, site: &Site, nodes: &[&site::Node]) -> Result<Vec<Node>> {
    let mut laid_out = nodes
        .iter()
        .enumerate()
        .map(|(number, node)| place(plan, node, number))
        .collect::<Result<Vec<Node>>>()?;
    // The controller's machine carries the way to every node.
    let addresses: Vec<_> = site.nodes.iter().map(|node| node.address).collect();
    let doors = laid_out
        .iter()
        .flat_map(|node| node.doors.values().cloned())
        .collect();
    let (network, gateway) = (site.management.network, site.management.gateway);
    let gate = network::gate(network, gateway, &addresses, doors)?;
    let controller = laid_out.first_mut();
    let controller = controller.context("finding the controller among the nodes")?;
    let mut ports = controller.machine.ports.iter_mut();
    if let Some(port) = ports.find(|port| port.id == MANAGEMENT) {
        port.gate = Some(gate);
    }
    Ok(laid_out)
}

fn place(plan: &Plan, node: &site::Node, number: usize) -> Result<Node> {
    let (ports, processors, memory_mib) = match node.role {
        Role::Controller => (&CONTROLLER_PORTS[..], 2, 6144),
        Role::Compute => (&COMPUTE_PORTS[..], 2, 3072),
    };
    let more = plan
        .more_ports
        .iter()
        .filter(|_| node.role == Role::Controller);
    let named: Vec<(String, u16)> = ports
        .iter()
        .map(|(name, port)| ((*name).to_owned(), *port))
        .chain(more.map(|port| (port.to_string(), *port)))
        .collect();
    let numbers: Vec<u16> = named.iter().map(|(_, port)| *port).collect();
    let mut found = network::doors(node.address, &numbers)?;
    let doors = named
        .into_iter()
        .filter_map(|(name, port)| Some((name, found.remove(&port)?)))
        .collect();
    let file = |kind: &str| plan.directory.join(format!("{}.{kind}", node.name));
    let machine = Machine {
        name: node.name.clone(),
        directory: plan.directory.clone(),
        accelerator: plan.accelerator,
        firmware: plan.firmware,
        processors,
        memory_mib,
        disk: file("qcow2"),
        bus: plan.bus,
        seed: Some(file("seed")),
        ports: interfaces(node, number)?,
    };
    Ok(Node {
        role: node.role,
        address: node.address,
        machine,
        doors,
        boot_begins: 0,
        image: Image::at(&image(&plan.images, node.role)?)?,
    })
}

fn interfaces(node: &site::Node, number: usize) -> Result<Vec<Port>> {
    let wanted = [
        (MANAGEMENT, Some(&node.interface)),
        ("provider", node.provider_interface.as_ref()),
    ];
    let mut ports = Vec::new();
    for (index, (id, interface)) in wanted.into_iter().enumerate() {
        let Some(interface) = interface else { continue };
        let port = Port {
            id: id.to_owned(),
            interface: interface.clone(),
            fallback_mac: format!("52:54:00:ce:{index:02x}:{:02x}", number % 256),
            gate: None,
        };
        port.check()?;
        ports.push(port);
    }
    Ok(ports)
}

/// How this host runs the processors of machines with these images, with a line about it where
/// that is slow.
pub fn accelerator(images: &Path, choice: Choice, report: &Report) -> Result<Accelerator> {
    if choice == Choice::Tcg {
        return Ok(Accelerator::Tcg);
    }
    let kernel = kernel(&image(images, Role::Controller)?)?;
    let (accelerator, why) = accel::choose(choice, &kernel, &Cache::default_directory()?)?;
    if let Some(why) = why {
        report.note(&why);
    }
    Ok(accelerator)
}

/// The image of a role among built images.
pub fn image(images: &Path, role: Role) -> Result<PathBuf> {
    let path = images.join(format!("{role}.qcow2"));
    if path.is_file() {
        return std::fs::canonicalize(&path)
            .with_context(|| format!("looking for the image {}", path.display()));
    }
    Err(Class::BadInput.error(format!(
        "there is no image {}\nhint: `make images` builds it",
        path.display()
    )))
}

/// The kernel that an image boots.
fn kernel(image: &Path) -> Result<Vec<u8>> {
    inspect::open(image)?.read("/vmlinuz")
}

/// The kernel of some image below `out`, if one is built.
pub fn any_kernel(out: &Path) -> Option<Vec<u8>> {
    let (_, images) = built_images(out, None).ok()?;
    kernel(&image(&images, Role::Controller).ok()?).ok()
}

/// The platform and directory of the images below `out`: those that the site names, or else the
/// ones that were built last.
pub fn built_images(out: &Path, wanted: Option<&str>) -> Result<(Platform, PathBuf)> {
    let mut found = Vec::new();
    for name in Platform::names().filter(|name| wanted.is_none_or(|wanted| wanted == *name)) {
        let directory = out.join(name);
        if let Ok(metadata) = std::fs::metadata(directory.join("manifest.json")) {
            found.push((metadata.modified().ok(), name, directory));
        }
    }
    let Some((_, name, directory)) = found.into_iter().max() else {
        let place = out.join(wanted.unwrap_or("*"));
        return Err(Class::BadInput.error(format!(
            "there are no built images in {}\nhint: `make images` builds them",
            place.display()
        )));
    };
    Ok((Platform::load(name)?, directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstboot::files::{Ownership, replace};

    #[test]
    fn an_emulated_cell_is_given_time_to_plug_its_instances_in() {
        let directory = tempfile::tempdir().unwrap();
        let load = |more: &str| {
            let path = directory.path().join("site.toml");
            let text = format!("{}{more}", include_str!("../../site.example.toml"));
            replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
            Site::load(&path).unwrap()
        };
        let site = load("");
        assert_eq!(patient(&site, Accelerator::Kvm), site);
        let nova = |site: &Site| site.overrides["nova"]["DEFAULT"].clone();
        let told = nova(&patient(&site, Accelerator::Tcg));
        assert_eq!(told["vif_plugging_timeout"], "1800");
        assert_eq!(told.len(), nova(&site).len() + 1);
        let own = load("vif_plugging_timeout = 60\n");
        assert_eq!(patient(&own, Accelerator::Tcg), own);
    }

    #[test]
    fn images_count_as_built_once_their_manifest_is_there() {
        let out = tempfile::tempdir().unwrap();
        let error = built_images(out.path(), Some("debian-12")).unwrap_err();
        let expected = format!(
            "there are no built images in {}/debian-12\nhint: `make images` builds them",
            out.path().display()
        );
        assert_eq!(error.to_string(), expected);
        let manifest = out.path().join("debian-12/manifest.json");
        replace(&manifest, b"{}", Ownership::mode(0o644)).unwrap();
        let (platform, directory) = built_images(out.path(), None).unwrap();
        assert_eq!(platform.name, "debian-12");
        assert_eq!(directory, out.path().join("debian-12"));
        let error = image(&directory, Role::Compute).unwrap_err().to_string();
        assert!(
            error.ends_with("compute.qcow2\nhint: `make images` builds it"),
            "{error}"
        );
    }
}
