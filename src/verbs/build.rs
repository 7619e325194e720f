//! `cellboot build`: the images of a site, its seeds, and the manifest of both.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use firstboot::config::Role;
use firstboot::platform::{Address, Platform};

use crate::agent::Agent;
use crate::build::Build;
use crate::cache::Cache;
use crate::disk::export::Format;
use crate::engine::Mirrors;
use crate::fault::Class;
use crate::keys::Keys;
use crate::kickstart::{Destination, Kickstart};
use crate::overlay;
use crate::plan::{Recipe, Source};
use crate::project::Project;
use crate::report::Report;
use crate::seed::{self, Carrier};
use crate::site::Site;
use crate::{host, kickstart, mirror, verbs};

/// The platform that a site gets when it leaves the choice and no mirror of the other answers.
pub(super) const DEFAULT_PLATFORM: &str = "debian-12";
const KICKSTART_PLATFORM: &str = "centos-stream-9";
const OTHER: &str = "hint: name = \"debian-12\" under [platform] builds from Debian's archive";

/// What is built.
#[derive(Debug, Args)]
pub struct Wanted {
    /// The site
    #[arg(long, default_value = "site.toml")]
    pub site: PathBuf,
    /// The platform, where the site leaves it open
    #[arg(long, default_value = "auto")]
    pub platform: String,
    /// Directory of the results, which go to a directory of the platform's name
    #[arg(long, default_value = "out")]
    pub out: PathBuf,
    /// Only this role
    #[arg(long, value_parser = super::role)]
    pub role: Option<Role>,
    /// Format of the disk images
    #[arg(long, value_enum, default_value = "qcow2")]
    pub format: Format,
    /// Directory of what earlier builds made [default: ~/.cache/cellboot]
    #[arg(long)]
    pub cache: Option<PathBuf>,
    /// A static agent to put into the images instead of that of the checkout
    #[arg(long)]
    pub agent: Option<PathBuf>,
}

/// Arguments of the verb.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    wanted: Wanted,
}

/// What is wanted, understood.
pub struct Job {
    /// The site.
    pub site: Site,
    /// What is built.
    pub recipe: Recipe,
    /// Where layers are kept.
    pub cache: Cache,
    /// Where images go.
    pub results: PathBuf,
}

impl Wanted {
    /// Reads what the arguments name.
    pub fn job(&self, report: &Report) -> Result<Job> {
        let site = Site::load(&self.site)?;
        let platform = self.choose_platform(&site, report)?;
        let project = Project::find()?;
        let roles = match self.role {
            Some(role) => vec![role],
            None => Role::ALL.to_vec(),
        };
        let overlays = |role| {
            let files = overlay::Files::load(&project.overlays(), role, &platform.name)?;
            Ok((role, files))
        };
        let roles: BTreeMap<Role, overlay::Files> =
            roles.into_iter().map(overlays).collect::<Result<_>>()?;
        let release = site.release_on(&platform).to_owned();
        let source = match &platform.tree {
            None => Source::Archive(Mirrors::of(&platform, Some(&site))?),
            Some(tree) => {
                let mirrors = kickstart::Mirrors::of(tree, &site);
                let text = |(role, overlay): (&Role, &overlay::Files)| {
                    let kickstart = Kickstart {
                        platform: &platform,
                        release: &release,
                        role: *role,
                        mirrors: &mirrors,
                        overlay,
                        destination: Destination::Image,
                    };
                    Ok((*role, kickstart.text(&project.kickstart())?))
                };
                let repositories = mirrors.repositories(&platform, &release)?;
                Source::Tree {
                    installer: mirrors.url(Address::Main, &tree.installer),
                    repositories: repositories.into_iter().map(|it| it.url).collect(),
                    kickstarts: roles.iter().map(text).collect::<Result<_>>()?,
                }
            }
        };
        let recipe = Recipe {
            release,
            source,
            roles,
            agent: Agent::of(self.agent.as_deref(), &project)?,
            format: self.format,
            disk_size_gib: site.disk_size_gib,
            platform,
        };
        Ok(Job {
            results: self.out.join(&recipe.platform.name),
            cache: Cache::at(&Cache::directory_or_default(self.cache.as_deref())?),
            site,
            recipe,
        })
    }

    /// The platform that the site pins or the arguments name, or else the one that can be built.
    fn choose_platform(&self, site: &Site, report: &Report) -> Result<Platform> {
        let asked = (self.platform != "auto").then_some(&self.platform);
        if let (Some(asked), Some(pinned)) = (asked, &site.platform.name)
            && asked != pinned
        {
            return Err(Class::BadInput.error(format!(
                "the site is for {pinned}, not for {asked}\n\
                 hint: leave --platform out, or change platform.name in {}",
                self.site.display()
            )));
        }
        let load = |name: &str| {
            let found = Platform::load(name);
            found.map_err(|error| Class::BadInput.error(error.to_string()))
        };
        if let Some(name) = asked.or(site.platform.name.as_ref()) {
            return load(name);
        }
        let platform = load(KICKSTART_PLATFORM)?;
        let tree = platform.tree.as_ref();
        let tree = tree.context("the platform has no installation tree")?;
        let mirrors = kickstart::Mirrors::of(tree, site);
        let url = mirrors.url(Address::Main, &tree.installer);
        match mirror::answers(&url) {
            Ok(()) => Ok(platform),
            Err(why) => {
                report.note(&format!(
                    "PLATFORM: {DEFAULT_PLATFORM}, because no mirror of {KICKSTART_PLATFORM} answers: \
                     {why}; a site that names its platform gets no other"
                ));
                load(DEFAULT_PLATFORM)
            }
        }
    }
}

/// Builds what is missing and says what there is.
pub fn run(arguments: &Arguments) -> Result<()> {
    let began = Instant::now();
    let report = Report::new(0);
    let wanted = &arguments.wanted;
    let job = wanted.job(&report)?;
    let plan = job.recipe.plan(&job.cache, &job.results)?;
    if plan.layers.iter().any(|layer| plan.makes(layer)) {
        host::require(match &job.recipe.source {
            Source::Archive(_) => host::BUILD,
            Source::Tree { .. } => host::INSTALL,
        })?;
    }
    let report = Report::new(plan.stages());
    let build = Build {
        recipe: &job.recipe,
        plan: &plan,
        cache: &job.cache,
        results: &job.results,
        report: &report,
    };
    let manifest = build.run().map_err(|error| match &job.recipe.source {
        Source::Tree { .. } if Class::of(&error) == Class::Network => {
            Class::Network.error(format!("{error:#}\n{OTHER}"))
        }
        _ => error,
    })?;
    let keys = Keys::beside(&wanted.site)?;
    let seeds = job.results.join("seeds");
    let seeds = seed::write_all(
        &job.site,
        &job.recipe.platform,
        &keys,
        &[],
        Carrier::Volume,
        &seeds,
    )?;
    let built = verbs::summary::Built {
        plan: &plan,
        manifest: &manifest,
        results: &job.results,
        seeds: &seeds,
        seconds: began.elapsed().as_secs_f64(),
    };
    eprint!("{}", built.table());
    Ok(())
}
