//! Roles that an installer makes: entries of the cache with a whole disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use firstboot::config::Role;

use super::Build;
use crate::cache::Lock;
use crate::installer::machine::{Boot, Files};
use crate::installer::watch::Limits;
use crate::installer::{install, volume};
use crate::lab::accel::{self, Accelerator, Choice};
use crate::mirror::download::Patience;
use crate::plan::Source;
use crate::{mirror, plan};

/// The disk of a role's cache entry, raw.
pub(super) const DISK: &str = "disk.raw";
/// How long an installation may take where the hardware runs it.
const LIMITS: Limits = Limits {
    // The longest that Anaconda says nothing is while a large package is unpacked.
    silence: Duration::from_secs(15 * 60),
    whole: Duration::from_secs(2 * 60 * 60),
    // After an error it waits for three minutes.
    power_off: Duration::from_secs(5 * 60),
};

impl Build<'_> {
    /// The cache entries of the roles whose images are missing, installed where they are missing
    /// too, one after another: each machine wants gigabytes of memory.
    pub(super) fn installed(
        &self,
        kickstarts: &BTreeMap<Role, String>,
        agent: &dyn Fn() -> Result<Vec<u8>>,
        lock: &Lock,
        logs: &Path,
    ) -> Result<BTreeMap<Role, PathBuf>> {
        let mut entries = BTreeMap::new();
        let mut missing = Vec::new();
        for (role, layer) in self.wanted()? {
            match self.kept(role, layer) {
                Some(entry) => drop(entries.insert(role, entry)),
                None => missing.push((role, layer)),
            }
        }
        if missing.is_empty() {
            return Ok(entries);
        }
        // First what fails at once where there is no mirror.
        let boot = self.boot()?;
        let agent = agent()?;
        for (role, layer) in missing {
            let kickstart = kickstarts.get(&role);
            let kickstart = kickstart.with_context(|| format!("no kickstart for a {role}"))?;
            let entry = self
                .cache
                .add(lock, &plan::role_kind(role), &layer.inputs, |entry| {
                    let place = logs.join(format!("installer-{role}"));
                    self.install(role, &boot, kickstart, &agent, &place, entry)
                })
                .with_context(|| format!("making the {role}'s disk"))?;
            entries.insert(role, entry);
        }
        Ok(entries)
    }

    /// The installer in the cache, and how its machine is run.
    fn boot(&self) -> Result<Boot> {
        let tree = self.recipe.platform.tree.as_ref();
        let tree = tree.context("the platform has no installation tree")?;
        let Source::Tree {
            installer,
            repositories,
            ..
        } = &self.recipe.source
        else {
            bail!("the recipe has no installation tree");
        };
        let cache = self.cache.directory("")?;
        let patience = Patience::default();
        let fetched =
            mirror::installer(installer, tree, repositories, &cache, patience, self.report)?;
        let kernel = &fetched.kernel;
        let probe = fs::read(kernel).with_context(|| format!("reading {}", kernel.display()))?;
        let (accelerator, why) = accel::choose(Choice::Auto, &probe, &cache)?;
        if let Some(why) = why {
            self.report.note(&why);
        }
        let stage2 = volume::stage2_beside(&fetched.stage2);
        volume::write_stage2(&stage2, &fetched.stage2)?;
        Ok(Boot {
            kernel: fetched.kernel,
            initrd: fetched.initrd,
            stage2,
            accelerator,
        })
    }

    /// Installs a role in `place`, where the logs stay, and moves its disk into `entry`.
    fn install(
        &self,
        role: Role,
        boot: &Boot,
        kickstart: &str,
        agent: &[u8],
        place: &Path,
        entry: &Path,
    ) -> Result<()> {
        let stage = self.report.begin(format!("{role}: installing"));
        fs::create_dir_all(place).with_context(|| format!("making {}", place.display()))?;
        let files = Files::new(place);
        let overlay = self.overlays(role)?.archive(agent)?;
        volume::write_kickstart(&files.kickstart(), kickstart, &overlay)?;
        volume::write_target(&files.target(), self.recipe.disk_size_gib << 30)?;
        let done = install(&files, boot, limits(boot.accelerator), &stage);
        if done.is_err() {
            // Gigabytes of no use to anybody; the logs are what tells why.
            super::remove_file(&files.target())?;
        }
        done?;
        let target = files.target();
        let written = fs::File::open(&target).and_then(|disk| disk.sync_all());
        written.with_context(|| format!("writing {}", target.display()))?;
        let disk = entry.join(DISK);
        fs::rename(&target, &disk).with_context(|| format!("moving {}", disk.display()))?;
        stage.finish("Anaconda and the kickstart's last script both said that all is done");
        Ok(())
    }
}

fn limits(accelerator: Accelerator) -> Limits {
    let times = accelerator.patience();
    Limits {
        silence: LIMITS.silence * times,
        whole: LIMITS.whole * times,
        power_off: LIMITS.power_off,
    }
}
