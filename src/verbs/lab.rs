//! `cellboot lab`: the built images as a cell on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::fault::Class;
use crate::keys::Keys;
use crate::lab::accel::Choice;
use crate::lab::machine::{Bus, Firmware};
use crate::lab::start::{self, Plan};
use crate::lab::{Lab, Standing, console, timings};
use crate::report::Report;
use crate::site::Site;

/// Arguments of `cellboot lab`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// The site whose images were built
    #[arg(long, global = true, value_name = "FILE", default_value = "site.toml")]
    site: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Boot the controller and computes, wait until they are ready
    Up(Up),
    /// Show how each node stands, and its doors on loopback
    Status {
        /// As JSON on standard output
        #[arg(long)]
        json: bool,
    },
    /// Log in to a node as root, or run a command there
    Ssh {
        /// The node; the controller if not given
        node: Option<String>,
        /// What to run there
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Be a node's serial console until Ctrl-]
    Console {
        /// The node; the controller if not given
        node: Option<String>,
    },
    /// End every machine and remove its disk, or keep it for the next `up`
    Down {
        /// Press the power button instead, and keep the disks
        #[arg(long)]
        keep: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Up {
    /// How many computes to boot; all of the site's if not given
    #[arg(long, value_name = "N")]
    computes: Option<usize>,
    /// What the machines start with
    #[arg(long, value_enum, default_value = "uefi")]
    firmware: Firmware,
    /// How the processor is run: KVM where a probe boot works
    #[arg(long, value_enum, default_value = "auto")]
    accel: Choice,
    /// How the disks are attached
    #[arg(long, value_enum, default_value = "virtio-blk")]
    disk: Bus,
    /// Where the built images are
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let directory = directory(&arguments.site)?;
    match &arguments.action {
        Action::Up(up) => self::up(&arguments.site, directory, up),
        Action::Status { json } => status(&found(&directory)?, *json),
        Action::Ssh { node, command } => {
            let lab = found(&directory)?;
            let login = lab.login(lab.node(node.as_deref())?)?;
            Err(login.session(command).replace_process())
        }
        Action::Console { node } => {
            let lab = found(&directory)?;
            eprintln!("Ctrl-] ends this, not the machine");
            console::attach(&lab.node(node.as_deref())?.machine.process())
        }
        Action::Down { keep } => match Lab::find(&directory)? {
            Some(lab) => lab.down(*keep),
            None => Ok(()),
        },
    }
}

/// Where the lab of a site is kept: beside its file, under its name.
fn directory(site: &Path) -> Result<PathBuf> {
    let site = std::path::absolute(site).context("looking for the site")?;
    let beside = site.parent().unwrap_or(Path::new("/"));
    let stem = site.file_stem().context("looking for the site")?;
    Ok(beside.join(".lab").join(stem))
}

fn found(directory: &Path) -> Result<Lab> {
    match Lab::find(directory)? {
        Some(lab) => Ok(lab),
        None => Err(Class::BadInput.error("no lab is up\nhint: `cellboot lab up` starts one")),
    }
}

fn up(file: &Path, directory: PathBuf, up: &Up) -> Result<()> {
    let site = Site::load(file)?;
    let (platform, images) = start::built_images(&up.out, site.platform.name.as_deref())?;
    let report = Report::new(1);
    let accelerator = start::accelerator(&images, up.accel, &report)?;
    let computes = site.nodes.len() - 1;
    let plan = Plan {
        directory,
        images,
        platform,
        keys: Keys::beside(file)?,
        computes: up.computes.unwrap_or(computes),
        accelerator,
        firmware: up.firmware,
        bus: up.disk,
        more_ports: Vec::new(),
    };
    let ours = Lab::find(&plan.directory)?.is_none();
    let lab = Lab::start(&plan, &site)?;
    for node in lab.nodes().iter().filter(|node| !node.image.is_unchanged()) {
        let name = &node.machine.name;
        report.note(&format!(
            "{name} runs an image that was built again since: `cellboot lab down` ends it"
        ));
    }
    if let Err(error) = lab
        .await_ready(&report)
        .and_then(|()| lab.fetch_clouds_yaml())
    {
        if ours && firstboot::interrupt::requested() {
            lab.down(false)?;
            return Err(error);
        }
        if lab.nodes().iter().any(|node| node.is_on()) {
            report.note("the machines go on: `cellboot lab status`, `ssh`, `console`, `down`");
        }
        return Err(error);
    }
    for node in lab.nodes() {
        if let Some(table) = timings::table(&lab, node)? {
            report.note(&format!("{}, step by step:\n{table}", node.machine.name));
        }
    }
    status(&lab, up.json)
}

fn status(lab: &Lab, json: bool) -> Result<()> {
    let standings = lab
        .nodes()
        .iter()
        .map(|node| lab.standing(node))
        .collect::<Result<Vec<Standing>>>()?;
    let text = if json {
        format!("{}\n", as_json(lab, &standings)?)
    } else {
        as_text(lab, &standings)?
    };
    use std::io::Write;
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")
}

fn as_json(lab: &Lab, standings: &[Standing]) -> Result<Value> {
    let mut nodes = Vec::new();
    for (node, standing) in lab.nodes().iter().zip(standings) {
        let login = lab.login(node)?;
        let ports: serde_json::Map<String, Value> = node
            .doors
            .iter()
            .map(|(name, door)| (name.clone(), json!(door.host_port)))
            .collect();
        nodes.push(json!({
            "name": node.machine.name,
            "role": node.role,
            "state": standing.word(),
            "detail": standing.detail(),
            "seconds": standing.seconds(),
            "ssh": {
                "host": "127.0.0.1",
                "port": login.port,
                "user": "root",
                "key": login.key,
                "known_hosts": login.known_hosts,
                "command": login.line(),
            },
            "serial": node.machine.log(),
            "ports": ports,
        }));
    }
    Ok(json!({
        "accel": lab.accelerator(),
        "firmware": lab.firmware(),
        "nodes": nodes,
        "endpoints": lab.endpoints()?,
        "clouds_yaml": lab.clouds_yaml(),
    }))
}

fn as_text(lab: &Lab, standings: &[Standing]) -> Result<String> {
    let mut text = String::new();
    for (node, standing) in lab.nodes().iter().zip(standings) {
        let name = &node.machine.name;
        let seconds = standing
            .seconds()
            .map(|s| format!(" after {s} s"))
            .unwrap_or_default();
        text += &format!("{name} ({}): {}{seconds}", node.role, standing.word());
        if !standing.detail().is_empty() {
            text += &format!(": {}", standing.detail());
        }
        text += &format!("\n  console  {}\n", node.machine.log().display());
        text += &format!("  ssh      cellboot lab ssh {name}\n");
    }
    for (service, address) in lab.endpoints()? {
        text += &format!("{service:<10} {address}\n");
    }
    let clouds = lab.clouds_yaml();
    if clouds.exists() {
        text += &format!("OS_CLIENT_CONFIG_FILE={}\n", clouds.display());
    }
    if standings.contains(&Standing::Off) {
        text += "A machine is off: `cellboot lab up` turns it on again.\n";
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_kept_beside_its_site() {
        let directory = directory(Path::new("/cloud/one.toml")).unwrap();
        assert_eq!(directory, Path::new("/cloud/.lab/one"));
    }

    #[test]
    fn without_a_lab_the_way_to_one_is_named() {
        let empty = tempfile::tempdir().unwrap();
        let error = found(empty.path()).err().unwrap();
        assert_eq!(
            error.to_string(),
            "no lab is up\nhint: `cellboot lab up` starts one"
        );
        assert_eq!(Class::of(&error), Class::BadInput);
    }
}
