//! A role: the base with the role's packages, finished and cleaned, as an ext4 image with what is
//! needed to make disks of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firstboot::cmd::Cmd;
use firstboot::config::Role;
use firstboot::files::{self, Ownership};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Engine;
use crate::disk::{ext4, grub};
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
    /// Every package in it.
    pub packages: Vec<Package>,
    /// Its `/etc/passwd`, for the owners of what is laid into it.
    pub passwd: String,
    /// Its `/etc/group`.
    pub group: String,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// Its source package.
    pub source: String,
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
        if role == Role::Controller {
            self.bake_schemas(&tree, &work.join("bake"))?;
        }
        self.finish(role, &tree, overlays)?;
        let packages = installed(&tree)?;
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
        let about = About {
            root_uuid,
            packages,
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
        stage.finish(&format!("{} packages", about.packages.len()));
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

/// The packages that are installed in a tree.
fn installed(tree: &Path) -> Result<Vec<Package>> {
    let path: PathBuf = tree.join("var/lib/dpkg/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut packages: Vec<Package> = text.split("\n\n").filter_map(package).collect();
    packages.sort();
    Ok(packages)
}

/// The package of a paragraph of dpkg's status, if it is installed.
fn package(paragraph: &str) -> Option<Package> {
    let field = |name: &str| {
        let prefix = format!("{name}: ");
        let line = paragraph.lines().find(|line| line.starts_with(&prefix))?;
        Some(line[prefix.len()..].to_owned())
    };
    let name = field("Package")?;
    (field("Status")? == "install ok installed").then_some(())?;
    let source = field("Source").unwrap_or_else(|| name.clone());
    Some(Package {
        version: field("Version")?,
        architecture: field("Architecture")?,
        source: source.split(' ').next()?.to_owned(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_is_listed() {
        let text = "Package: a\nStatus: install ok installed\nArchitecture: all\n\
                    Source: src (1)\nVersion: 1-2\nDescription: x\n Version: no\n";
        let found = package(text).unwrap();
        assert_eq!(
            (
                found.name.as_str(),
                found.version.as_str(),
                found.source.as_str()
            ),
            ("a", "1-2", "src")
        );
        let removed = text.replace("install ok installed", "deinstall ok config-files");
        assert_eq!(package(&removed), None);
    }
}
