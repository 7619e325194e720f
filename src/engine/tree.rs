//! A tree of packages becomes the root file system of an image: what was postponed is done, what
//! is an identity or a log is removed, and the files that make a disk of it are written.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use firstboot::cmd::Cmd;
use firstboot::files::{self, Ownership};
use uuid::Uuid;

use super::{Engine, base, units};
use crate::disk::grub;

const REMOVE: &str = include_str!("../../kickstart/remove.sh");
/// What the build itself left, besides what the platform's packages leave.
const LEFTOVERS: [&str; 7] = [
    "/usr/sbin/policy-rc.d",
    "/etc/apt/apt.conf.d/99mmdebstrap",
    "/etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "/var/lib/dpkg/*-old",
    "/var/cache/debconf/*-old",
    "/var/cache/ldconfig/",
    "/etc/.pwd.lock",
];

impl Engine<'_> {
    /// Unpacks the archive of the base.
    pub(super) fn unpack(&self, archive: &Path, tree: &Path) -> Result<()> {
        fs::create_dir_all(tree).with_context(|| format!("making {}", tree.display()))?;
        let tar = Cmd::new("tar")
            .args(["--extract", "--numeric-owner", "--preserve-permissions"])
            .args([
                "--xattrs",
                "--xattrs-include=*",
                "--exclude=./dev/*",
                "--file",
            ])
            .path(archive)
            .arg("--directory")
            .path(tree);
        self.namespace.enter(tar).run()
    }

    /// Makes byte code of every Python program, on every core at once. A file that no Python 3
    /// can compile (a template, a test of an old syntax) is none of ours.
    pub(super) fn byte_compile(&self, tree: &Path) -> Result<()> {
        let build = &self.platform.build;
        let exist =
            |path: &&std::path::PathBuf| tree.join(path.strip_prefix("/").unwrap_or(path)).exists();
        let directories = build.byte_compile.iter().filter(exist);
        let compile = Cmd::new("python3")
            .args(["-m", "compileall", "-qq", "-j", "0"])
            .args(directories.map(|path| path.to_string_lossy()));
        self.namespace.inside(tree, &[], compile).any_status()?;
        Ok(())
    }

    /// Puts the real programs back where stand-ins were; a role may lack the package of one.
    pub(super) fn restore_programs(&self, tree: &Path) -> Result<()> {
        for program in base::POSTPONED {
            let divert = Cmd::new("dpkg-divert").args([
                "--quiet",
                "--local",
                "--no-rename",
                "--remove",
                program,
            ]);
            self.namespace.inside(tree, &[], divert).run()?;
            let path = tree.join(program.trim_start_matches('/'));
            let real = tree.join(format!("{}.real", program.trim_start_matches('/')));
            if real.exists() {
                fs::rename(&real, &path).with_context(|| format!("restoring {program}"))?;
            } else {
                fs::remove_file(&path)
                    .with_context(|| format!("removing the stand-in of {program}"))?;
                // The directory too, where it was made for the stand-in alone.
                let _ = path.parent().map(fs::remove_dir);
            }
        }
        Ok(())
    }

    /// Enables and disables units as the platform says.
    pub(super) fn set_units(&self, tree: &Path) -> Result<()> {
        for unit in &self.platform.build.disable {
            units::disable(tree, unit)?;
        }
        for unit in &self.platform.build.enable {
            units::enable(tree, unit)?;
        }
        Ok(())
    }

    /// Removes identities, secrets and logs.
    pub(super) fn clean(&self, tree: &Path) -> Result<()> {
        let patterns = self.platform.build.remove.iter().map(String::as_str);
        let remove = Cmd::new("sh")
            .args(["-c", REMOVE, "remove.sh"])
            .args(patterns.chain(LEFTOVERS));
        self.namespace
            .inside(tree, &[], remove)
            .run()
            .context("removing what is not for an image")?;
        // Empty, not absent: absent means to systemd that this is a new machine whose units are
        // to be enabled by presets.
        files::replace(&tree.join("etc/machine-id"), b"", Ownership::mode(0o444))
    }

    /// Writes the mount table and the boot loader's configuration.
    pub(super) fn write_boot_files(&self, tree: &Path, root: Uuid) -> Result<()> {
        let kernel = grub::Kernel::of(tree)?;
        let configuration = grub::configuration(root, &kernel);
        let path = tree.join(grub::CONFIGURATION.trim_start_matches('/'));
        files::replace(&path, configuration.as_bytes(), Ownership::mode(0o644))?;
        let mounts = format!("UUID={root} / ext4 errors=remount-ro,x-systemd.growfs 0 1\n");
        files::replace(
            &tree.join("etc/fstab"),
            mounts.as_bytes(),
            Ownership::mode(0o644),
        )
    }
}
