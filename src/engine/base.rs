//! The base: a tar archive of the packages that both roles share, made by `mmdebstrap`.
//!
//! As root mmdebstrap runs in a mount namespace of its own; as a user it makes one. Either way
//! the archive holds the owners of a node.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use firstboot::cmd::Cmd;

use super::Engine;
use crate::fault::Class;

/// Programs that packages call once each and that need to run only once, at the end: a stand-in
/// that does nothing is in their place until [`super::tree::restore_programs`]. The dashboard's
/// package would compress its static files for another address, and at times fail at it (see
/// `overlays/controller/usr/libexec/cellboot/dashboard-static`, which does it instead).
pub(super) const POSTPONED: [&str; 3] = [
    "/usr/bin/py3compile",
    "/usr/sbin/update-initramfs",
    "/usr/share/openstack-dashboard/manage.py",
];

const POSTPONE: &str = include_str!("postpone.sh");
const INITRAMFS: &str = include_str!("initramfs.sh");

impl Engine<'_> {
    /// Makes the archive of the base.
    pub fn base(&self, archive: &Path) -> Result<()> {
        let layer = "base";
        let stage = self.report.begin(format!(
            "base: installing {} and its {} packages",
            self.platform.title,
            self.platform.packages.base.len()
        ));
        let packages = self.packages.join(layer);
        std::fs::create_dir_all(&packages)
            .with_context(|| format!("making {}", packages.display()))?;
        self.new_log(layer)?;
        let command = self.mmdebstrap(archive, &packages.to_string_lossy())?;
        self.run_online(&command, layer, &stage)?;
        let bytes = std::fs::metadata(archive)
            .with_context(|| format!("reading {}", archive.display()))?
            .len();
        stage.finish(&format!("{} MiB", bytes >> 20));
        Ok(())
    }

    fn mmdebstrap(&self, archive: &Path, packages: &str) -> Result<Cmd> {
        ensure!(
            packages
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./+@".contains(c)),
            Class::BadInput.error(format!(
                "the cache directory {packages} has a character that mmdebstrap's hooks cannot \
                 carry\nhint: choose another with --cache"
            ))
        );
        let archive_of = self.platform.archive()?;
        let suite = &archive_of.suite;
        let mut cmd = Cmd::new("mmdebstrap")
            .env("TMPDIR", self.work.to_string_lossy())
            .args(["--verbose", "--variant=minbase", "--format=tar"])
            .arg(if self.namespace.is_rootless() {
                "--mode=unshare"
            } else {
                "--mode=root"
            })
            .arg(format!(
                "--include={}",
                self.platform.packages.base.join(",")
            ))
            .args(["--skip=download/empty,essential/unlink,cleanup/apt,output/dev"])
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            .arg("--aptopt=Acquire::Languages \"none\"")
            .arg("--aptopt=Acquire::Retries \"2\"")
            .arg("--dpkgopt=force-unsafe-io");
        let build = &self.platform.build;
        for path in &build.exclude {
            cmd = cmd.arg(format!("--dpkgopt=path-exclude={path}"));
        }
        for path in &build.include {
            cmd = cmd.arg(format!("--dpkgopt=path-include={path}"));
        }
        let modules = build.initramfs.join(" ");
        let postponed = POSTPONED.join(" ");
        let cmd = cmd
            .arg("--setup-hook=mkdir -p \"$1/var/cache/apt/archives\"")
            .arg(format!(
                "--setup-hook=sync-in {packages} /var/cache/apt/archives"
            ))
            .arg(format!(
                "--essential-hook=set -- \"$1\" {postponed}\n{POSTPONE}"
            ))
            .arg(format!(
                "--customize-hook=sync-out /var/cache/apt/archives {packages}"
            ))
            .arg(format!(
                "--customize-hook=set -- \"$1\" {modules}\n{INITRAMFS}"
            ))
            .arg("--customize-hook=rm -rf \"$1/var/cache/apt\"/*")
            .arg(suite)
            .path(archive)
            .arg(format!("deb {} {suite} main", self.mirrors.main))
            .arg(format!("deb {} {suite}-updates main", self.mirrors.main))
            .arg(format!(
                "deb {} {suite}-security main",
                self.mirrors.security
            ))
            .deadline(super::namespace::DEADLINE);
        if self.namespace.is_rootless() {
            Ok(cmd)
        } else {
            Ok(self.namespace.enter(cmd))
        }
    }
}
