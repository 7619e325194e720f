//! `cellboot media`: a medium that installs CentOS Stream on a machine by itself.

use std::path::PathBuf;

use anyhow::{Context, Result};
use firstboot::config::Role;
use firstboot::platform::Address;

use crate::agent::Agent;
use crate::cache::Cache;
use crate::host;
use crate::kickstart::{Destination, Kickstart, Mirrors};
use crate::media::Medium;
use crate::mirror::{self, download::Patience};
use crate::overlay;
use crate::project::Project;
use crate::report::Report;
use crate::site::Site;
use crate::write;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The role of the machine
    #[arg(long, value_parser = super::role)]
    role: Role,
    /// The seed of the node that the machine is to be; without one it waits for it after the installation
    #[arg(long)]
    seed: Option<PathBuf>,
    /// The machine's disk, as in /dev/disk/by-id/...; without it, the only one that it has
    #[arg(long)]
    disk: Option<String>,
    /// The file to write: a raw disk, for a stick
    #[arg(long, short)]
    output: PathBuf,
    /// The site
    #[arg(long, default_value = "site.toml")]
    site: PathBuf,
    /// Directory of what earlier builds made [default: ~/.cache/cellboot]
    #[arg(long)]
    cache: Option<PathBuf>,
    /// A static agent to install instead of that of the checkout
    #[arg(long)]
    agent: Option<PathBuf>,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let site = Site::load(&arguments.site)?;
    let platform = super::kickstart::platform(&site)?;
    let tree = platform.tree.as_ref();
    let tree = tree.context("it was chosen by its tree")?;
    let seed = arguments.seed.as_deref().map(write::seed).transpose()?;
    host::require(host::MEDIUM)?;
    let project = Project::find()?;
    let overlay = overlay::Files::load(&project.overlays(), arguments.role, &platform.name)?;
    let mirrors = Mirrors::of(tree, &site);
    let kickstart = Kickstart {
        platform: &platform,
        release: site.release_on(&platform),
        role: arguments.role,
        mirrors: &mirrors,
        overlay: &overlay,
        destination: Destination::Machine {
            disk: arguments.disk.as_deref(),
            seed: seed.is_some(),
        },
    };
    let kickstart = kickstart.text(&project.kickstart())?;
    let report = Report::new(3);
    let cache = Cache::directory_or_default(arguments.cache.as_deref())?;
    let url = mirrors.url(Address::Main, &tree.installer);
    let repositories = mirrors.repositories(&platform, site.release_on(&platform))?;
    let repositories: Vec<String> = repositories.into_iter().map(|it| it.url).collect();
    let patience = Patience::default();
    let installer = mirror::installer(&url, tree, &repositories, &cache, patience, &report)?;
    let stage = report.begin("agent: building");
    let log = Cache::at(&cache).directory("logs")?.join("agent.log");
    let agent = Agent::of(arguments.agent.as_deref(), &project)?.program(&log)?;
    stage.finish("static");
    let stage = report.begin(format!("writing {}", arguments.output.display()));
    let medium = Medium {
        installer: &installer,
        kickstart: &kickstart,
        overlay: &overlay.archive(&agent)?,
        seed: seed.as_deref(),
    };
    medium.write(&arguments.output)?;
    let size = std::fs::metadata(&arguments.output)?.len();
    stage.finish(&format!("{} MiB", size >> 20));
    eprintln!(
        "Write it to a stick (dd if={} of=/dev/STICK bs=4M conv=fsync), boot the machine from that under \
         UEFI with a way to the mirrors, and take it out when the machine has powered off.",
        arguments.output.display()
    );
    Ok(())
}
