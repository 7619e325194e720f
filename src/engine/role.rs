//! A role: the base with the role's packages, finished and cleaned, as an ext4 image with what is
//! needed to make disks of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use firstboot::cmd::Cmd;
use firstboot::config::Role;
use firstboot::files::{self, Ownership};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Engine;
use crate::disk::{ext4, grub};
use crate::inspect::packages;
use crate::overlay;

/// Room for what the image layer lays into the file system.
const SLACK_BYTES: u64 = 96 << 20;
/// Files of a role's cache entry.
pub const ROOT: &str = "root.ext4";
const ABOUT: &str = "role.json";
const BOOT: &str = "boot";

/// What is known of a role's file system without reading it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// UUID of the file system.
    pub root_uuid: Uuid,
    /// Its `/etc/passwd`, for the owners of what is laid into it.
    pub passwd: String,
    /// Its `/etc/group`.
    pub group: String,
}

impl About {
    /// Reads it from a role's cache entry.
    pub fn load(entry: &Path) -> Result<Self> {
        let path = entry.join(ABOUT);
        let context = || format!("reading {}", path.display());
        let text = fs::read(&path).with_context(context)?;
        serde_json::from_slice(&text).with_context(context)
    }
}

/// The boot loaders of a role's cache entry.
pub fn boot_files(entry: &Path) -> Result<grub::BootFiles> {
    grub::BootFiles::load(&entry.join(BOOT))
}

impl Engine<'_> {
    /// Makes a role from the archive of the base, into a directory that becomes its cache entry.
    /// `overlays` has the files that the platform's commands read.
    pub fn role(
        &self,
        role: Role,
        archive: &Path,
        overlays: &overlay::Files,
        root_uuid: Uuid,
        entry: &Path,
    ) -> Result<()> {
        let work = self.work.join(role.as_str());
        let tree = work.join("tree");
        let stage = self.report.begin(format!("{role}: unpacking the base"));
        self.unpack(archive, &tree)?;
        stage.finish("done");
        self.install(role, &tree)?;
        // First of all, for every program that runs in the tree imports it.
        let stage = self.report.begin(format!("{role}: making byte code"));
        self.byte_compile(&tree)?;
        stage.finish("done");
        if role == Role::Controller && self.platform.build.schemas {
            self.bake_schemas(&tree, &work.join("bake"))?;
        }
        self.finish(role, &tree, overlays)?;
        self.restore_programs(&tree)?;
        self.set_units(&tree)?;
        self.clean(&tree)?;
        self.write_boot_files(&tree, root_uuid)?;
        let stage = self
            .report
            .begin(format!("{role}: making the root file system"));
        let read = |name: &str| {
            let path = tree.join(name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let status = read("var/lib/dpkg/status")?;
        let about = About {
            root_uuid,
            passwd: read("etc/passwd")?,
            group: read("etc/group")?,
        };
        let enter = |cmd: Cmd| self.namespace.enter(cmd);
        let boot = grub::make(&enter, &tree, root_uuid)?;
        boot.save(&entry.join(BOOT))?;
        let shape = ext4::Shape {
            uuid: root_uuid,
            label: "root".to_owned(),
            slack_bytes: SLACK_BYTES,
        };
        ext4::make(&enter, &tree, &entry.join(ROOT), &shape)?;
        let text = serde_json::to_vec_pretty(&about).context("describing a role")?;
        files::replace(&entry.join(ABOUT), &text, Ownership::mode(0o644))?;
        let remove = Cmd::new("rm").args(["-rf", "--"]).path(&work);
        self.namespace.enter(remove).run()?;
        stage.finish(&format!("{} packages", packages::of_dpkg(&status).len()));
        Ok(())
    }

    fn install(&self, role: Role, tree: &Path) -> Result<()> {
        let wanted = self.platform.packages.of(role);
        let stage = self
            .report
            .begin(format!("{role}: installing {} packages", wanted.len()));
        let layer = role.as_str();
        let packages = self.packages.join(layer);
        fs::create_dir_all(&packages).with_context(|| format!("making {}", packages.display()))?;
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        self.new_log(layer)?;
        self.run_online(&self.apt(tree, layer, &["update"]), layer, &stage)?;
        let install = [&["install", "--no-install-recommends"], names.as_slice()].concat();
        let done = self.run_online(&self.apt(tree, layer, &install), layer, &stage)?;
        // What a newer version has replaced need not be kept.
        self.apt(tree, layer, &["autoclean"]).run()?;
        stage.finish(&done.outcome().unwrap_or_else(|| "done".to_owned()));
        Ok(())
    }

    fn finish(&self, role: Role, tree: &Path, overlays: &overlay::Files) -> Result<()> {
        let runs = self.platform.build.commands.iter();
        for run in runs.filter(|run| run.roles.contains(&role)) {
            let line = run.command.join(" ");
            let stage = self.report.begin(format!("{role}: {line}"));
            for path in &run.overlay {
                overlays.lay(path, tree)?;
            }
            let mut words = run.command.iter();
            let program = words.next().context("a command of the platform is empty")?;
            let command = Cmd::new(program).args(words);
            self.namespace
                .inside(tree, &[], command)
                .run_logged(&self.log(&format!("{role}-run")))?;
            stage.finish("done");
        }
        Ok(())
    }
}
