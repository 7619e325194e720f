//! Roles of packages that the engine unpacks: entries of the cache with a root file system, and the
//! disk that is made of one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firstboot::config::Role;

use super::{Build, in_parallel};
use crate::cache::Lock;
use crate::disk::derived_uuid;
use crate::disk::image::Disk;
use crate::disk::place::{Content, Placed, place};
use crate::engine::namespace::Namespace;
use crate::engine::role::{self, About};
use crate::engine::{Engine, Mirrors, units};
use crate::overlay::{AGENT, root_file};
use crate::{plan, workspace};

const ARCHIVE: &str = "base.tar";

impl Build<'_> {
    /// The cache entries of the roles whose images are missing, made where they are missing too.
    pub(super) fn unpacked(
        &self,
        mirrors: &Mirrors,
        namespace: Namespace,
        lock: &Lock,
        logs: &Path,
    ) -> Result<BTreeMap<Role, PathBuf>> {
        let wanted = self.wanted()?;
        if wanted.values().all(|layer| layer.cached) {
            let entries = wanted.into_iter();
            let found = entries.filter_map(|(role, layer)| Some((role, self.kept(role, layer)?)));
            return Ok(found.collect());
        }
        let (work, guard) = workspace::open(namespace, &self.cache.directory("")?)?;
        let engine = Engine {
            platform: &self.recipe.platform,
            mirrors,
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
            if let Some(entry) = self.kept(role, layer) {
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

    /// The disk of a role: its root file system with overlay and agent, copied into `work`.
    pub(super) fn assembled(
        &self,
        role: Role,
        entry: &Path,
        agent: &[u8],
        work: &Path,
    ) -> Result<Disk> {
        let about = About::load(entry)?;
        let placed = self.placed(role, &about, agent)?;
        let path = work.join(role::ROOT);
        copy_sparse(&entry.join(role::ROOT), &path)?;
        place(&path, &placed, &[])?;
        let boot = role::boot_files(entry)?;
        Disk::new(&path, about.root_uuid, &boot, self.recipe.disk_size_gib)
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

/// A copy that shares blocks where the file system can, and has holes where the original has.
fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let copy = firstboot::cmd::Cmd::new("cp")
        .args(["--reflink=auto", "--sparse=always", "--"])
        .path(from)
        .path(to);
    copy.run()
}
