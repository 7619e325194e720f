//! `cellboot export`: an image in another format, or everything that a place needs.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::disk::export::{self, Format};
use crate::handover::{Handover, Networks, Place};
use crate::inspect;
use crate::keys::Keys;
use crate::lab::start;
use crate::report::Report;
use crate::site::Site;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The image: qcow2 or raw
    #[arg(required_unless_present = "to")]
    image: Option<PathBuf>,
    /// What to make of it
    #[arg(long, value_enum, required_unless_present = "to")]
    format: Option<Format>,
    /// Write both images, the seeds of all nodes and what makes machines of them at this place
    #[arg(long, value_enum, conflicts_with_all = ["image", "format"])]
    to: Option<Place>,
    /// The file to write, or with --to the directory
    #[arg(long, short)]
    output: PathBuf,
    /// With --to: the site
    #[arg(long, default_value = "site.toml", requires = "to")]
    site: PathBuf,
    /// With --to: where images were built
    #[arg(long, default_value = "out", requires = "to")]
    out: PathBuf,
    /// With --to: the place's own name of the network with the management addresses
    #[arg(long, value_name = "NAME", requires = "to")]
    management: Option<String>,
    /// With --to: the place's own name of the provider network
    #[arg(long, value_name = "NAME", requires = "to")]
    provider: Option<String>,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<()> {
    match (arguments.to, &arguments.image, arguments.format) {
        (Some(place), _, _) => hand_over(arguments, place),
        (None, Some(image), Some(format)) => {
            let report = Report::new(1);
            let output = arguments.output.display();
            let (_, source) = inspect::open_source(image)?;
            let stage = report.begin(format!("writing {output}"));
            export::write(source.as_ref(), format, &arguments.output)?;
            let size = std::fs::metadata(&arguments.output)?.len();
            stage.finish(&format!("{} MiB", size >> 20));
            Ok(())
        }
        // The command line says so before.
        _ => Err(anyhow::anyhow!("either an image and a format, or a place")),
    }
}

fn hand_over(arguments: &Arguments, place: Place) -> Result<()> {
    let site = Site::load(&arguments.site)?;
    let keys = Keys::beside(&arguments.site)?;
    let wanted = site.platform.name.as_deref();
    let (platform, images) = start::built_images(&arguments.out, wanted)?;
    let [management, provider] = match place {
        Place::Libvirt => ["br0", "br1"],
        Place::Proxmox => ["vmbr0", "vmbr1"],
        Place::Metal | Place::Openstack => ["management", "provider"],
    };
    let or =
        |given: &Option<String>, usual: &str| given.clone().unwrap_or_else(|| usual.to_owned());
    let networks = Networks {
        management: or(&arguments.management, management),
        provider: or(&arguments.provider, provider),
    };
    let handover = Handover {
        site: &site,
        platform: &platform,
        keys: &keys,
        images: &images,
        networks: &networks,
    };
    let report = Report::new(2);
    let first = handover
        .write(place, &arguments.output, &report)
        .with_context(|| format!("writing {}", arguments.output.display()))?;
    for path in first {
        println!("{}", path.display());
    }
    eprintln!(
        "The seeds in {} hold secrets of their nodes.",
        arguments.output.display()
    );
    Ok(())
}
