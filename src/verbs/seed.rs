//! `cellboot seed`: the seeds of a site's nodes, without building anything.

use std::path::PathBuf;

use anyhow::Result;
use firstboot::platform::Platform;

use crate::fault::Class;
use crate::keys::Keys;
use crate::seed::{self, Carrier};
use crate::site::Site;

/// Which seeds, and where they go.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The site
    #[arg(long, default_value = "site.toml")]
    pub site: PathBuf,
    /// Directory of the results; seeds go to PLATFORM/seeds/ below it
    #[arg(long, default_value = "out")]
    pub out: PathBuf,
    /// The platform of the images, where the site leaves it open
    #[arg(long)]
    pub platform: Option<String>,
    /// What carries a seed
    #[arg(long = "as", value_enum, default_value = "volume")]
    pub carrier: Carrier,
    /// The nodes; all of them when none is named
    pub nodes: Vec<String>,
}

/// Writes the seeds and prints their paths.
pub fn run(arguments: &Arguments) -> Result<()> {
    let site = Site::load(&arguments.site)?;
    let platform = platform(arguments, &site)?;
    let keys = Keys::beside(&arguments.site)?;
    let directory = arguments.out.join(&platform.name).join("seeds");
    let carrier = arguments.carrier;
    let paths = seed::write_all(
        &site,
        &platform,
        &keys,
        &arguments.nodes,
        carrier,
        &directory,
    )?;
    for path in paths {
        println!("{}", path.display());
    }
    Ok(())
}

/// The platform of the images that the seeds are for: what was asked for, what the site pins, or
/// else the one that images were built for.
fn platform(arguments: &Arguments, site: &Site) -> Result<Platform> {
    if let (Some(asked), Some(pinned)) = (&arguments.platform, &site.platform.name)
        && asked != pinned
    {
        return Err(Class::BadInput.error(format!(
            "the site is for {pinned}, not for {asked}\n\
             hint: leave --platform out, or change platform.name in {}",
            arguments.site.display()
        )));
    }
    if let Some(name) = arguments.platform.as_ref().or(site.platform.name.as_ref()) {
        return Platform::load(name).map_err(|error| Class::BadInput.error(error.to_string()));
    }
    let known: Vec<_> = Platform::names().collect();
    let built: Vec<_> = known
        .iter()
        .copied()
        .filter(|name| arguments.out.join(name).join("manifest.json").exists())
        .collect();
    match (built.as_slice(), known.as_slice()) {
        ([one], _) | ([], [one]) => Platform::load(one),
        _ => Err(Class::BadInput.error(format!(
            "the site leaves the platform open\nhint: add --platform {}",
            known.join(" or --platform ")
        ))),
    }
}
