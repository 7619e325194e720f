//! Carries out a plan: what is missing of base, roles and images, then hashes and manifest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use firstboot::config::Role;
use firstboot::files::{self, Ownership};

use crate::cache::{Cache, Lock};
use crate::disk::place::{Content, Placed, place};
use crate::disk::source::Source;
use crate::disk::{derived_uuid, export, image::Disk};
use crate::engine::namespace::Namespace;
use crate::engine::role::{self, About};
use crate::engine::{Engine, units};
use crate::manifest::{self, Hashed, Image, Manifest, Timing};
use crate::overlay::{self, root_file};
use crate::plan::{self, Layer, Plan, Recipe};
use crate::report::Report;
use crate::{inspect, sbom, verify, workspace};

/// Where the agent is in an image.
const AGENT: &str = "/usr/libexec/cellboot/firstboot";
const ARCHIVE: &str = "base.tar";
/// How the names begin of files that are not whole yet, as [`export::write`] makes them.
const UNFINISHED: &str = ".cellboot-";

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
        // The compiler has a core to itself while packages are fetched and unpacked on the other.
        let (agent, roles) = std::thread::scope(|scope| {
            let agent = scope.spawn(|| self.agent(&logs.join("agent.log")));
            let roles = self.roles(namespace, &lock, &logs);
            (agent.join(), roles)
        });
        let agent = agent.map_err(|_| anyhow!("the agent's thread panicked"));
        let (roles, agent) = (roles?, agent??);
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

    /// The cache entries of the roles whose images are missing, made where they are missing too.
    fn roles(
        &self,
        namespace: Namespace,
        lock: &Lock,
        logs: &Path,
    ) -> Result<BTreeMap<Role, PathBuf>> {
        let mut wanted = BTreeMap::new();
        for role in self.recipe.roles.keys() {
            if !self.plan.layer("image", Some(*role))?.cached {
                wanted.insert(*role, self.plan.layer("role", Some(*role))?);
            }
        }
        let kept = |role: Role, layer: &Layer| {
            let entry = self.cache.find(&plan::role_kind(role), &layer.key)?;
            self.cache.touch(&entry).ok()?;
            Some(entry)
        };
        if wanted.values().all(|layer| layer.cached) {
            let entries = wanted.into_iter();
            let found = entries.filter_map(|(role, layer)| Some((role, kept(role, layer)?)));
            return Ok(found.collect());
        }
        let (work, guard) = workspace::open(namespace, &self.cache.directory("")?)?;
        let engine = Engine {
            platform: &self.recipe.platform,
            mirrors: &self.recipe.mirrors,
            namespace,
            packages: self.cache.directory("packages")?,
            logs: logs.to_owned(),
            work,
            report: self.report,
        };
        let base = self.plan.layer(plan::BASE, None)?;
        let base = match self.cache.find(plan::BASE, &base.key) {
            Some(entry) => {
                self.cache.touch(&entry)?;
                entry
            }
            None => self.cache.add(lock, plan::BASE, &base.inputs, |entry| {
                engine.base(&entry.join(ARCHIVE))
            })?,
        };
        let archive = base.join(ARCHIVE);
        let made = in_parallel(wanted, |role, layer| {
            if let Some(entry) = kept(role, layer) {
                return Ok(entry);
            }
            let uuid = derived_uuid(&["root", role.as_str(), &layer.key]);
            let overlays = self.overlays(role)?;
            self.cache
                .add(lock, &plan::role_kind(role), &layer.inputs, |entry| {
                    engine.role(role, &archive, overlays, uuid, entry)
                })
                .with_context(|| format!("making the {role}'s packages"))
        });
        drop(guard);
        made
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
        let about = About::load(entry)?;
        let placed = self.placed(role, &about, agent)?;
        let root = tempfile::Builder::new()
            .prefix(".pending-")
            .tempdir_in(self.cache.directory("entries/image")?)
            .context("making room for an image")?;
        let path = root.path().join(role::ROOT);
        copy_sparse(&entry.join(role::ROOT), &path)?;
        place(&path, &placed, &[])?;
        let boot = role::boot_files(entry)?;
        let disk = Disk::new(&path, about.root_uuid, &boot, self.recipe.disk_size_gib)?;
        let disk: Arc<dyn Source> = Arc::new(disk);
        fs::create_dir_all(self.results)
            .with_context(|| format!("making {}", self.results.display()))?;
        let output = self.results.join(&name);
        // Judged before it is written: what is refused never has its name.
        verify::refuse(&inspect::of(&output, format, Arc::clone(&disk))?)?;
        export::write(disk.as_ref(), format, &output)?;
        let sbom_path = self.results.join(format!("{role}.spdx.json"));
        let packages = &about.packages;
        let bill = sbom::document(role.as_str(), &layer.key, &self.recipe.platform, packages)?;
        files::replace(&sbom_path, &bill, Ownership::mode(0o644))?;
        let disk = Hashed::of(&output)?;
        stage.finish(&format!("{} MiB", disk.bytes >> 20));
        Ok(Image {
            disk,
            virtual_bytes: self.recipe.disk_size_gib << 30,
            key: layer.key.clone(),
            inputs: layer.inputs.clone(),
            sbom: Hashed::of(&sbom_path)?,
            packages: about.packages,
        })
    }

    /// What is laid over the role's packages: overlay, agent, and the links of overlay units.
    fn placed(&self, role: Role, about: &About, agent: &[u8]) -> Result<Vec<Placed>> {
        let overlays = self.overlays(role)?;
        let mut placed = overlays.placed(&about.passwd, &about.group)?;
        placed.push(root_file(AGENT, agent.to_vec(), 0o755));
        for unit in &self.recipe.platform.build.enable {
            let Some(text) = overlays.unit(unit) else {
                continue;
            };
            for (path, target) in units::links(unit, &text) {
                placed.push(Placed {
                    path,
                    content: Content::Link(target),
                    mode: 0o777,
                    uid: 0,
                    gid: 0,
                });
            }
        }
        Ok(placed)
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
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
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

/// A copy that shares blocks where the file system can, and has holes where the original has.
fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let copy = firstboot::cmd::Cmd::new("cp")
        .args(["--reflink=auto", "--sparse=always", "--"])
        .path(from)
        .path(to);
    copy.run()
}
