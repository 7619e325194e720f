//! `cellboot kickstart`: what Anaconda would be told, for people who want to read it first.

use std::path::PathBuf;

use anyhow::{Context, Result};
use firstboot::config::Role;
use firstboot::platform::Platform;

use crate::fault::Class;
use crate::kickstart::{Destination, Kickstart, Mirrors};
use crate::overlay;
use crate::project::Project;
use crate::site::Site;

/// Arguments of the verb.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site
    #[arg(long, default_value = "site.toml")]
    pub site: PathBuf,
    /// The role
    #[arg(long, value_parser = super::role)]
    pub role: Role,
}

/// Prints the kickstart.
pub fn run(arguments: &Arguments) -> Result<()> {
    let site = Site::load(&arguments.site)?;
    let platform = platform(&site)?;
    let tree = platform
        .tree
        .as_ref()
        .context("it was chosen by its tree")?;
    let project = Project::find()?;
    let overlay = overlay::Files::load(&project.overlays(), arguments.role, &platform.name)?;
    let kickstart = Kickstart {
        platform: &platform,
        release: site.release_on(&platform),
        role: arguments.role,
        mirrors: &Mirrors::of(tree, &site),
        overlay: &overlay,
        destination: Destination::Image,
    };
    print!("{}", kickstart.text(&project.kickstart())?);
    Ok(())
}

/// The platform that the site pins, or else the one that is installed by a kickstart.
pub(super) fn platform(site: &Site) -> Result<Platform> {
    let platforms: Result<Vec<Platform>> = Platform::names().map(Platform::load).collect();
    let mut with_tree = platforms?.into_iter().filter(|it| it.tree.is_some());
    match &site.platform.name {
        None => with_tree.next().context("no platform has a tree"),
        Some(pinned) => with_tree.find(|it| it.name == *pinned).ok_or_else(|| {
            Class::BadInput.error(format!(
                "the site is for {pinned}, which is not installed by a kickstart\n\
                 hint: name = \"centos-stream-9\" or \"auto\" under [platform]"
            ))
        }),
    }
}
