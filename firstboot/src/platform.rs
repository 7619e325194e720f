//! The one table of packages, units, users, paths and programs of each platform.
//!
//! A platform is a file in `firstboot/platforms/`; it is compiled in, so that the builder and the
//! agent of an image cannot disagree about it. Nothing else in the project may name a unit, a
//! service user or a package.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::config::Role;

const SOURCES: [(&str, &str); 2] = [
    ("debian-12", include_str!("../platforms/debian-12.toml")),
    (
        "centos-stream-9",
        include_str!("../platforms/centos-stream-9.toml"),
    ),
];

/// One platform; the fields are the keys of its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// Its name, as in `site.toml`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// The OpenStack release of a site that names none.
    pub release: String,
    /// Every OpenStack release that it carries.
    pub releases: BTreeMap<String, Release>,
    /// Where its packages come from: an archive of Debian's kind.
    #[serde(default)]
    pub archive: Option<Archive>,
    /// Or the tree that its installer and its packages come from.
    #[serde(default)]
    pub tree: Option<Tree>,
    /// Packages by layer.
    pub packages: Packages,
    /// What the build does to the tree of packages before it becomes a disk.
    pub build: Build,
    /// Services, by the name that steps use.
    pub services: BTreeMap<String, Service>,
    /// Programs that steps run, by the name that steps use.
    pub programs: BTreeMap<String, PathBuf>,
    /// Other paths that differ between platforms, by the name that steps use.
    pub paths: BTreeMap<String, PathBuf>,
}

/// Where packages come from, unless a site names mirrors of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The suite, as in `bookworm`.
    pub suite: String,
    /// Address of the archive.
    pub main: String,
    /// Address of the security updates.
    pub security: String,
}

/// What an OpenStack release adds to a platform; nothing where the platform carries just one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its repository, below the address of the SIGs.
    #[serde(default)]
    pub repository: Option<String>,
    /// Packages that every role has besides.
    #[serde(default)]
    pub packages: Vec<String>,
}

/// An installation tree with the repositories that belong to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// Address of the operating system's repositories.
    pub main: String,
    /// Address of those of the special interest groups.
    pub sigs: String,
    /// Where the first is kept when the stream has ended.
    pub vault_main: String,
    /// Where the second is kept then.
    pub vault_sigs: String,
    /// Where the installer is, with its `.treeinfo`, below `main`.
    pub installer: String,
    /// The version that its `.treeinfo` has to name.
    pub version: String,
    /// Repositories besides that of the installer.
    pub repositories: Vec<Repository>,
}

/// A repository of packages.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// What the installer calls it.
    pub name: String,
    /// Whose it is.
    pub of: Address,
    /// Its path below that address.
    pub path: String,
}

/// One of the addresses of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// The operating system's.
    Main,
    /// The special interest groups'.
    Sigs,
}

/// Packages by layer. Dependencies follow by themselves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// What every role has.
    pub base: Vec<String>,
    /// What a controller has besides.
    pub controller: Vec<String>,
    /// What a compute has besides.
    pub compute: Vec<String>,
}

impl Packages {
    /// The packages that a role has besides the base.
    pub fn of(&self, role: Role) -> &[String] {
        match role {
            Role::Controller => &self.controller,
            Role::Compute => &self.compute,
        }
    }
}

/// What the build does to a tree of packages. Units of both lists need not exist in a role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Units that start at every boot of every node, configured or not.
    pub enable: Vec<String>,
    /// Units that the packages enable and that must not start by themselves: those that nobody
    /// asked for, and those that the agent starts and enables when they are configured.
    pub disable: Vec<String>,
    /// Files and directories (with a trailing slash: the files below, so that services keep their
    /// directories) that installing the packages leaves and that are an identity, a secret or a
    /// log. Shell globs.
    pub remove: Vec<String>,
    /// Paths in packages that are never unpacked, as dpkg's patterns.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Paths that are unpacked although `exclude` names them.
    #[serde(default)]
    pub include: Vec<String>,
    /// Directories of Python programs whose byte code is made by the build.
    #[serde(default)]
    pub byte_compile: Vec<PathBuf>,
    /// Whether the tables of every database are made by the build, so that no node has to.
    #[serde(default)]
    pub schemas: bool,
    /// Kernel modules that find the root disk, whatever it hangs from; their dependencies follow.
    #[serde(default)]
    pub initramfs: Vec<String>,
    /// Commands run in the finished tree, in this order, before the removals.
    #[serde(default, rename = "run")]
    pub commands: Vec<Bake>,
}

/// Work that the build does once so that no node has to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bake {
    /// The roles whose tree it is run in.
    pub roles: Vec<Role>,
    /// Plain overlay files that must be in the tree by then.
    #[serde(default)]
    pub overlay: Vec<PathBuf>,
    /// Program and arguments, run as root with the tree as its root.
    pub command: Vec<String>,
}

/// One service of a platform.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its systemd units, in the order in which they start.
    pub units: Vec<String>,
    /// The user it runs as.
    pub user: String,
    /// The files that its units read when they start: they are restarted when one of them changes.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// True if its units read these files when they are reloaded, too, and should be: a restart
    /// would do harm.
    #[serde(default)]
    pub reloads: bool,
}

impl Platform {
    /// Names of all platforms, in the order in which they are listed.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SOURCES.iter().map(|(name, _)| *name)
    }

    /// The platform of this name.
    ///
    /// # Errors
    /// When there is none, or its file is wrong (which a test rules out).
    pub fn load(name: &str) -> Result<Self> {
        let source = SOURCES.iter().find(|(known, _)| *known == name);
        let known: Vec<_> = Self::names().collect();
        let (_, text) = source
            .with_context(|| format!("no platform {name:?}; there are: {}", known.join(", ")))?;
        toml::from_str(text).with_context(|| format!("reading the platform {name}"))
    }

    /// The text of the platform's file, as an input of cache keys.
    pub fn source(name: &str) -> Option<&'static str> {
        SOURCES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, text)| *text)
    }

    /// The archive of a platform that has one.
    pub fn archive(&self) -> Result<&Archive> {
        let found = self.archive.as_ref();
        found.with_context(|| format!("platform {} has no archive of packages", self.name))
    }

    /// The facts of a service.
    pub fn service(&self, name: &str) -> Result<&Service> {
        let found = self.services.get(name);
        found.with_context(|| format!("platform {} has no service {name:?}", self.name))
    }

    /// The files that a unit reads when it starts: those of every service that it runs, each once.
    pub fn files_of(&self, unit: &str) -> BTreeSet<&Path> {
        let services = self.services.values();
        services
            .filter(|service| service.units.iter().any(|known| known == unit))
            .flat_map(|service| service.files.iter().map(PathBuf::as_path))
            .collect()
    }

    /// The full path of a program.
    pub fn program(&self, name: &str) -> Result<&PathBuf> {
        let found = self.programs.get(name);
        found.with_context(|| format!("platform {} has no program {name:?}", self.name))
    }

    /// A path that differs between platforms.
    pub fn path(&self, name: &str) -> Result<&PathBuf> {
        let found = self.paths.get(name);
        found.with_context(|| format!("platform {} has no path {name:?}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_loads_under_its_own_name() {
        for name in Platform::names() {
            let platform = Platform::load(name).unwrap();
            assert_eq!(platform.name, name);
            assert!(platform.releases.contains_key(&platform.release));
            assert!(platform.archive.is_some() != platform.tree.is_some());
        }
    }

    #[test]
    fn a_unit_that_runs_several_services_reads_the_files_of_all_of_them() {
        let platform = Platform::load("centos-stream-9").unwrap();
        let files = platform.files_of("httpd.service");
        for service in ["keystone", "placement", "dashboard"] {
            let service = platform.service(service).unwrap();
            assert!(!service.files.is_empty());
            for file in &service.files {
                assert!(files.contains(file.as_path()), "{}", file.display());
            }
        }
        let platform = Platform::load("debian-12").unwrap();
        let own = platform.files_of("keystone.service");
        assert!(!own.contains(Path::new("/etc/placement/placement.conf")));
    }

    #[test]
    fn an_unknown_platform_is_answered_with_the_known_ones() {
        let error = Platform::load("debian-13").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no platform \"debian-13\"; there are: debian-12, centos-stream-9"
        );
    }
}
