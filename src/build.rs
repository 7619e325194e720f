//! Carries out a plan: what is missing of base, roles and images, then hashes and manifest.

mod installed;
mod unpacked;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use firstboot::config::Role;
use firstboot::files::{self, Ownership};

use crate::cache::Cache;
use crate::disk::export;
use crate::disk::source::{RawFile, Source};
use crate::engine::namespace::Namespace;
use crate::manifest::{self, Hashed, Image, Manifest, Timing};
use crate::overlay;
use crate::plan::{self, Layer, Plan, Recipe, Source as Packages};
use crate::report::Report;
use crate::{equipped, inspect, sbom, verify, whole};

/// A build under way.
pub struct Build<'a> {
    /// What is built.
    pub recipe: &'a Recipe,
    /// What of it is missing.
    pub plan: &'a Plan,
    /// Where layers are kept.
    pub cache: &'a Cache,
    /// Where images go.
    pub results: &'a Path,
    /// Where progress is shown.
    pub report: &'a Report,
}

impl Build<'_> {
    /// Makes what is missing and gives the manifest of what is there now. With nothing missing it
    /// touches nothing.
    pub fn run(&self) -> Result<Manifest> {
        let before = Manifest::load(self.results)?.filter(|manifest| {
            manifest.platform == self.plan.platform && manifest.release == self.plan.release
        });
        let nothing = !self.plan.layers.iter().any(|layer| self.plan.makes(layer));
        if let (Some(manifest), true) = (&before, nothing) {
            return Ok(manifest.clone());
        }
        let namespace = Namespace::for_this_user()?;
        let lock = self.cache.lock(namespace)?;
        remove_unfinished(self.results)?;
        let logs = self.cache.directory("logs")?;
        let agent = || self.agent(&logs.join("agent.log"));
        let (roles, agent) = match &self.recipe.source {
            // The compiler has a core to itself while packages are fetched and unpacked on the
            // other.
            Packages::Archive(mirrors) => {
                let (agent, roles) = std::thread::scope(|scope| {
                    let agent = scope.spawn(agent);
                    let roles = self.unpacked(mirrors, namespace, &lock, &logs);
                    (agent.join(), roles)
                });
                let agent = agent.map_err(|_| anyhow!("the agent's thread panicked"));
                (roles?, agent??)
            }
            Packages::Tree { kickstarts, .. } => {
                let roles = self.installed(kickstarts, &agent, &lock, &logs)?;
                // It is on their disks already.
                (roles, Vec::new())
            }
        };
        let mut manifest =
            before.unwrap_or_else(|| Manifest::new(&self.plan.platform, &self.plan.release));
        // Until the new manifest is there, what is in the directory is not whole.
        for name in [manifest::NAME, manifest::SUMS] {
            remove_file(&self.results.join(name))?;
        }
        let images = in_parallel(roles, |role, entry| self.image(role, &entry, &agent))?;
        manifest.images.extend(images);
        manifest.timings = self
            .report
            .timings()
            .into_iter()
            .map(Timing::from)
            .collect();
        manifest.save(self.results)?;
        self.cache.prune(&lock)?;
        Ok(manifest)
    }

    fn agent(&self, log: &Path) -> Result<Vec<u8>> {
        let stage = self.report.begin("agent: building");
        let agent = self.recipe.agent.program(log)?;
        let mebibytes = agent.len() as f64 / f64::from(1 << 20);
        stage.finish(&format!("{mebibytes:.1} MiB"));
        Ok(agent)
    }

    /// The layers of the roles whose images are missing.
    fn wanted(&self) -> Result<BTreeMap<Role, &Layer>> {
        let mut wanted = BTreeMap::new();
        for role in self.recipe.roles.keys() {
            if !self.plan.layer("image", Some(*role))?.cached {
                wanted.insert(*role, self.plan.layer("role", Some(*role))?);
            }
        }
        Ok(wanted)
    }

    /// The cache entry of a role, if it is there.
    fn kept(&self, role: Role, layer: &Layer) -> Option<PathBuf> {
        let entry = self.cache.find(&plan::role_kind(role), &layer.key)?;
        self.cache.touch(&entry).ok()?;
        Some(entry)
    }

    fn overlays(&self, role: Role) -> Result<&overlay::Files> {
        let found = self.recipe.roles.get(&role);
        found.with_context(|| format!("the recipe has no {role}"))
    }

    /// Makes the image of a role from the role's cache entry.
    fn image(&self, role: Role, entry: &Path, agent: &[u8]) -> Result<Image> {
        let layer = self.plan.layer("image", Some(role))?;
        let format = self.recipe.format;
        let name = format!("{role}.{}", format.extension());
        let stage = self.report.begin(format!("{role}: writing {name}"));
        let root = tempfile::Builder::new()
            .prefix(".pending-")
            .tempdir_in(self.cache.directory("entries/image")?)
            .context("making room for an image")?;
        let disk: Arc<dyn Source> = match &self.recipe.source {
            Packages::Archive(_) => Arc::new(self.assembled(role, entry, agent, root.path())?),
            Packages::Tree { .. } => Arc::new(RawFile::open(&entry.join(installed::DISK))?),
        };
        fs::create_dir_all(self.results)
            .with_context(|| format!("making {}", self.results.display()))?;
        let output = self.results.join(&name);
        // Judged before it is written: what is refused never has its name.
        let image = inspect::of(&output, format, Arc::clone(&disk))?;
        verify::refuse(&image)?;
        equipped::judge(&image, &self.recipe.platform, role)?;
        let packages = inspect::packages::of(&image)?;
        export::write(disk.as_ref(), format, &output)?;
        let sbom_path = self.results.join(format!("{role}.spdx.json"));
        let bill = sbom::document(role.as_str(), &layer.key, &self.recipe.platform, &packages)?;
        files::replace(&sbom_path, &bill, Ownership::mode(0o644))?;
        let disk = Hashed::of(&output)?;
        stage.finish(&format!("{} MiB", disk.bytes >> 20));
        Ok(Image {
            disk,
            virtual_bytes: self.recipe.disk_size_gib << 30,
            key: layer.key.clone(),
            inputs: layer.inputs.clone(),
            sbom: Hashed::of(&sbom_path)?,
            packages,
        })
    }
}

impl From<crate::report::Timing> for Timing {
    fn from(timing: crate::report::Timing) -> Self {
        Self {
            stage: timing.stage,
            seconds: (timing.duration.as_secs_f64() * 1000.0).round() / 1000.0,
        }
    }
}

/// Does the same for each role at once; when one fails, the error is that of the first of them.
fn in_parallel<I: Send, O: Send>(
    inputs: BTreeMap<Role, I>,
    work: impl Fn(Role, I) -> Result<O> + Sync,
) -> Result<BTreeMap<Role, O>> {
    std::thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> = inputs
            .into_iter()
            .map(|(role, input)| (role, scope.spawn(move || work(role, input))))
            .collect();
        let ended: Vec<_> = started
            .into_iter()
            .map(|(role, thread)| (role, thread.join()))
            .collect();
        let mut outputs = BTreeMap::new();
        for (role, result) in ended {
            let result = result.map_err(|_| anyhow!("the thread of the {role} panicked"))?;
            outputs.insert(role, result?);
        }
        Ok(outputs)
    })
}

/// Removes what a build that was killed left among the results: files without their names.
fn remove_unfinished(results: &Path) -> Result<()> {
    let entries = match fs::read_dir(results) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("reading {}", results.display()))?,
    };
    for entry in entries.flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(whole::UNFINISHED)
        {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
