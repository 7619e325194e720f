//! Built images and seeds as a place wants them: a directory with everything, and a script that does
//! the rest where it is taken to.
//!
//! A function of the site and of what was built. Nothing here talks to the place.

pub mod bmap;
mod scripts;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firstboot::config::{Role, is_mac_address};
use firstboot::files::{self, Ownership};
use firstboot::platform::Platform;
use firstboot::volume::Volume;

use crate::disk::derived_uuid;
use crate::disk::export::{self, Format};
use crate::fault::Class;
use crate::keys::Keys;
use crate::report::Report;
use crate::site::Site;
use crate::{inspect, seed, whole};

/// Where people put images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// A host with libvirt: a domain for each node
    Libvirt,
    /// A host of Proxmox VE: a virtual machine for each node
    Proxmox,
    /// Disks of machines: compressed raw images with their block maps
    Metal,
    /// Another OpenStack cloud: a server for each node
    Openstack,
}

/// What a node's machine is given; a site's owner may give it more.
pub struct Size {
    /// Memory.
    pub memory_mib: u64,
    /// Processors.
    pub processors: u64,
    /// Disk.
    pub disk_gib: u64,
}

const fn size(role: Role) -> Size {
    match role {
        Role::Controller => Size {
            memory_mib: 8192,
            processors: 4,
            disk_gib: 40,
        },
        Role::Compute => Size {
            memory_mib: 8192,
            processors: 4,
            disk_gib: 80,
        },
    }
}

/// The networks of the place, by its own names.
#[derive(Debug, Clone)]
pub struct Networks {
    /// That of the management addresses.
    pub management: String,
    /// That of the provider network.
    pub provider: String,
}

/// What is handed over.
pub struct Handover<'a> {
    /// The site.
    pub site: &'a Site,
    /// The platform of its images.
    pub platform: &'a Platform,
    /// The site's keys.
    pub keys: &'a Keys,
    /// What was built.
    pub images: &'a Path,
    /// The place's networks.
    pub networks: &'a Networks,
}

/// A node as a place sees it.
struct Machine {
    name: String,
    role: Role,
    size: Size,
    uuid: String,
    address: String,
    /// MAC address and network, in the order of the node's interfaces.
    ports: Vec<(String, String)>,
}

impl Handover<'_> {
    /// Writes the directory and gives the paths of what people begin with.
    ///
    /// # Errors
    /// When the site does not fit the place, an image is missing, or a file cannot be written.
    pub fn write(&self, place: Place, directory: &Path, report: &Report) -> Result<Vec<PathBuf>> {
        // Before anything is written.
        let machines = match place {
            Place::Metal => Vec::new(),
            _ => self.machines()?,
        };
        let seeds: Vec<(String, Volume)> = self.seeds()?;
        let mut images = Vec::new();
        for role in Role::ALL {
            let path = self.images.join(format!("{role}.qcow2"));
            let opened = inspect::open_source(&path).map_err(|error| {
                Class::BadInput.error(format!("{error:#}\nhint: `make images` builds it"))
            })?;
            images.push((role, path, opened.1));
        }
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;

        let mut first = Vec::new();
        for (role, path, source) in &images {
            let stage = report.begin(format!("{role}"));
            if place == Place::Metal {
                let name = format!("{role}.{}", Format::RawZst.extension());
                let output = directory.join(&name);
                export::write(source.as_ref(), Format::RawZst, &output)?;
                let map = bmap::of(source, &name)?;
                put(&directory.join(format!("{role}.bmap")), &map, 0o644)?;
                first.push(output);
            } else {
                copy(path, &directory.join(format!("{role}.qcow2")))?;
            }
            stage.finish("there");
        }
        for (name, seed) in &seeds {
            match place {
                Place::Openstack => {
                    put(
                        &directory.join(format!("{name}.user-data")),
                        &seed.user_data,
                        0o600,
                    )?;
                }
                // Proxmox goes by the ending.
                Place::Proxmox => seed.write(&directory.join(format!("{name}-seed.raw")))?,
                _ => seed.write(&directory.join(format!("{name}-seed.img")))?,
            }
        }
        if place == Place::Libvirt {
            for machine in &machines {
                let text = scripts::domain(machine)?;
                put(
                    &directory.join(format!("{}.xml", machine.name)),
                    &text,
                    0o644,
                )?;
            }
        }
        if let Some(text) = scripts::script(place, self.site, self.networks, &machines)? {
            let script = directory.join("create.sh");
            put(&script, &text, 0o755)?;
            first = vec![script];
        }
        Ok(first)
    }

    fn seeds(&self) -> Result<Vec<(String, Volume)>> {
        let names = self.site.nodes.iter().map(|node| node.name.clone());
        let seeds = names.map(|name| {
            let volume = seed::of(self.site, self.platform, self.keys, &name)?;
            Ok((name, volume))
        });
        seeds.collect()
    }

    fn machines(&self) -> Result<Vec<Machine>> {
        let networks = self.networks;
        let machine = |node: &crate::site::Node| {
            let management = Some((&node.interface, &networks.management));
            let provider = node.provider_interface.as_ref();
            let provider = provider.map(|it| (it, &networks.provider));
            let port = |(interface, network): (&String, &String)| {
                if !is_mac_address(interface) {
                    return Err(Class::BadInput.error(format!(
                        "{}: its interface {interface:?} is a name that the kernel gives, by the \
                         slot of a machine that is not made yet\n\
                         hint: name interfaces by MAC addresses in site.toml: the machines get them",
                        node.name
                    )));
                }
                Ok((interface.clone(), network.clone()))
            };
            Ok(Machine {
                name: node.name.clone(),
                role: node.role,
                size: size(node.role),
                uuid: derived_uuid(&[&self.site.name, &node.name]).to_string(),
                address: node.address.to_string(),
                ports: management
                    .into_iter()
                    .chain(provider)
                    .map(port)
                    .collect::<Result<_>>()?,
            })
        };
        self.site.nodes.iter().map(machine).collect()
    }
}

fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    files::replace(path, text.as_bytes(), Ownership::mode(mode))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("reading {}", from.display());
    let mut image = File::open(from).with_context(context)?;
    whole::write(to, 0o644, |mut file| {
        std::io::copy(&mut image, &mut file)
            .map(drop)
            .with_context(context)
    })
}
