//! What a build would do and why: the layers, the hash of what each is made from, and whether it
//! is there already. Pure: it reads, and changes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use firstboot::config::Role;
use firstboot::platform::Platform;
use firstboot::schema;
use serde::Serialize;

use crate::agent::Agent;
use crate::cache::{Cache, Inputs};
use crate::disk::export::Format;
use crate::engine::{self, Mirrors};
use crate::installer;
use crate::manifest::Manifest;
use crate::overlay;

/// Changes whenever equal inputs would give another disk.
const IMAGE_VERSION: &str = "1";
/// Kinds of cache entries; a role's is followed by its name.
pub const BASE: &str = "base";
const ROLE: &str = "role";

/// Everything that decides what is built.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The platform.
    pub platform: Platform,
    /// The OpenStack release.
    pub release: String,
    /// Where packages come from.
    pub source: Source,
    /// The roles, with their overlay files.
    pub roles: BTreeMap<Role, overlay::Files>,
    /// Where the agent comes from.
    pub agent: Agent,
    /// Format of the disks.
    pub format: Format,
    /// Size of the disks as a machine sees them.
    pub disk_size_gib: u64,
}

/// Where packages come from, and with that what makes of them what an image holds.
#[derive(Debug, Clone)]
pub enum Source {
    /// An archive of Debian's kind: the engine makes trees of packages.
    Archive(Mirrors),
    /// An installation tree: its installer makes whole disks.
    Tree {
        /// The tree's address, with a slash at its end.
        installer: String,
        /// Those of the repositories beside it, too.
        repositories: Vec<String>,
        /// What each role's installer is told.
        kickstarts: BTreeMap<Role, String>,
    },
}

/// A layer of a build.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// `base`, `role` or `image`.
    pub layer: &'static str,
    /// The role it belongs to; the base belongs to both.
    pub role: Option<Role>,
    /// Hash of its inputs.
    pub key: String,
    /// True if it is there already.
    pub cached: bool,
    /// Why it is not: the inputs that changed, or that nothing was built before.
    pub why: Vec<String>,
    /// What it is made from.
    #[serde(skip)]
    pub inputs: Inputs,
}

/// What a build would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The platform.
    pub platform: String,
    /// The OpenStack release.
    pub release: String,
    /// The base, then each role, then each image.
    pub layers: Vec<Layer>,
}

/// The kind of a role's cache entries.
pub fn role_kind(role: Role) -> String {
    format!("{ROLE}-{role}")
}

impl Recipe {
    fn base_inputs(&self, mirrors: &Mirrors) -> Inputs {
        let build = &self.platform.build;
        let mut inputs = Inputs::default();
        inputs.add("engine", engine::VERSION);
        inputs.add("platform", &self.platform.name);
        inputs.add("mirrors", format!("{mirrors:?}"));
        let archive = self.platform.archive.as_ref();
        inputs.add(
            "suite",
            archive.map_or("", |archive| archive.suite.as_str()),
        );
        inputs.add("packages.base", self.platform.packages.base.join(" "));
        inputs.add(
            "build.exclude",
            format!("{:?}", (&build.exclude, &build.include)),
        );
        inputs.add("build.initramfs", build.initramfs.join(" "));
        inputs
    }

    fn role_inputs(&self, role: Role, base: &str, overlays: &overlay::Files) -> Result<Inputs> {
        let build = &self.platform.build;
        let mut inputs = Inputs::default();
        inputs.add("base", base);
        let packages = self.platform.packages.of(role).join(" ");
        inputs.add(format!("packages.{role}"), packages);
        inputs.add("build.enable", build.enable.join(" "));
        inputs.add("build.disable", build.disable.join(" "));
        inputs.add("build.remove", build.remove.join(" "));
        inputs.add("build.byte_compile", format!("{:?}", build.byte_compile));
        let runs = build
            .commands
            .iter()
            .filter(|run| run.roles.contains(&role));
        for run in runs {
            inputs.add(format!("build.run {}", run.command.join(" ")), "");
            for path in &run.overlay {
                inputs.add(format!("overlay {}", path.display()), overlays.input(path)?);
            }
        }
        if role == Role::Controller && build.schemas {
            inputs.add("schemas", format!("{:?}", schema::all()));
        }
        Ok(inputs)
    }

    /// An installer lays down the overlay and the agent itself, for only the installed system knows
    /// the labels of their files.
    fn disk_inputs(&self, kickstart: &str, overlays: &overlay::Files) -> Result<Inputs> {
        let mut inputs = Inputs::default();
        inputs.add("installer", installer::VERSION);
        inputs.add("kickstart", kickstart);
        inputs.add("agent", self.agent.digest()?);
        inputs.add("image.disk_size_gib", self.disk_size_gib.to_string());
        for (name, content) in overlays.inputs() {
            inputs.add(name, content);
        }
        Ok(inputs)
    }

    fn image_inputs(&self, role: &str, overlays: &overlay::Files) -> Result<Inputs> {
        let mut inputs = Inputs::default();
        inputs.add("role", role);
        inputs.add("disk", IMAGE_VERSION);
        inputs.add("agent", self.agent.digest()?);
        inputs.add("image.disk_size_gib", self.disk_size_gib.to_string());
        inputs.add("format", self.format.extension());
        inputs.add("build.enable", self.platform.build.enable.join(" "));
        for (name, content) in overlays.inputs() {
            inputs.add(name, content);
        }
        Ok(inputs)
    }

    /// The plan, given what a cache and a directory of results hold.
    pub fn plan(&self, cache: &Cache, results: &Path) -> Result<Plan> {
        let base = match &self.source {
            Source::Archive(mirrors) => {
                let inputs = self.base_inputs(mirrors);
                Some(cached_layer(cache, BASE, None, inputs)?)
            }
            Source::Tree { .. } => None,
        };
        let base_key = base.as_ref().map_or("", |base| base.key.as_str());
        let (mut roles, mut images) = (Vec::new(), Vec::new());
        let manifest = Manifest::load(results)?;
        for (role, overlays) in &self.roles {
            let inputs = match &self.source {
                Source::Archive(_) => self.role_inputs(*role, base_key, overlays)?,
                Source::Tree { kickstarts, .. } => {
                    let kickstart = kickstarts.get(role);
                    let kickstart =
                        kickstart.with_context(|| format!("no kickstart for a {role}"))?;
                    self.disk_inputs(kickstart, overlays)?
                }
            };
            let layer = cached_layer(cache, ROLE, Some(*role), inputs)?;
            let inputs = self.image_inputs(&layer.key, overlays)?;
            images.push(image_layer(*role, inputs, manifest.as_ref(), results));
            roles.push(layer);
        }
        let mut layers = Vec::from_iter(base);
        layers.extend(roles);
        layers.extend(images);
        Ok(Plan {
            platform: self.platform.name.clone(),
            release: self.release.clone(),
            layers,
        })
    }
}

impl Plan {
    /// The layer of this name and role.
    pub fn layer(&self, layer: &str, role: Option<Role>) -> Result<&Layer> {
        let mut layers = self.layers.iter();
        let found = layers.find(|known| known.layer == layer && known.role == role);
        found.with_context(|| format!("the plan has no {layer}"))
    }

    /// How many stages a build of what is missing has, as [`crate::report::Report`] counts them.
    pub fn stages(&self) -> usize {
        let stages = |layer: &Layer| match (layer.layer, layer.role) {
            ("role", _) if !self.has_base() => 1,
            ("role", Some(Role::Controller)) => 7,
            ("role", _) => 4,
            _ => 1,
        };
        let made = self.layers.iter().filter(|layer| self.makes(layer));
        let sum: usize = made.map(stages).sum();
        let installs = self
            .layers
            .iter()
            .any(|layer| layer.layer == ROLE && self.makes(layer));
        let fetches = usize::from(installs && !self.has_base());
        // The agent is built, or found built, whenever anything is.
        if sum == 0 { 0 } else { sum + 1 + fetches }
    }

    fn has_base(&self) -> bool {
        self.layers.iter().any(|layer| layer.layer == BASE)
    }

    /// True if the layer must be made: it is missing, and something above it needs it.
    pub fn makes(&self, layer: &Layer) -> bool {
        let image_missing = |role: Role| {
            let image = self.layer("image", Some(role));
            image.is_ok_and(|image| !image.cached)
        };
        !layer.cached
            && match (layer.layer, layer.role) {
                (BASE, _) => self
                    .layers
                    .iter()
                    .any(|above| above.layer == ROLE && self.makes(above)),
                (_, Some(role)) => image_missing(role),
                (_, None) => true,
            }
    }
}

fn cached_layer(
    cache: &Cache,
    layer: &'static str,
    role: Option<Role>,
    inputs: Inputs,
) -> Result<Layer> {
    let kind = role.map_or_else(|| layer.to_owned(), role_kind);
    let key = inputs.key();
    let cached = cache.find(&kind, &key).is_some();
    let why = match cache.newest_inputs(&kind)? {
        _ if cached => Vec::new(),
        None => vec!["nothing was built before".to_owned()],
        Some(before) => inputs.differences(&before),
    };
    Ok(Layer {
        layer,
        role,
        key,
        cached,
        why,
        inputs,
    })
}

fn image_layer(role: Role, inputs: Inputs, manifest: Option<&Manifest>, results: &Path) -> Layer {
    let key = inputs.key();
    let why = match manifest.and_then(|manifest| manifest.images.get(&role)) {
        None => vec!["nothing was built before".to_owned()],
        Some(before) if before.key != key => inputs.differences(&before.inputs),
        Some(before) => [&before.disk, &before.sbom]
            .into_iter()
            .filter(|file| !file.is_in(results))
            .map(|file| format!("{} is missing or cut short", file.file))
            .collect(),
    };
    Layer {
        layer: "image",
        role: Some(role),
        cached: why.is_empty(),
        key,
        why,
        inputs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstboot::files::{Ownership, replace};

    fn recipe(directory: &Path) -> Recipe {
        let agent = directory.join("agent");
        replace(&agent, b"agent", Ownership::mode(0o755)).unwrap();
        Recipe {
            platform: Platform::load("debian-12").unwrap(),
            release: "zed".to_owned(),
            source: Source::Archive(Mirrors {
                main: "http://one.example".to_owned(),
                security: "http://two.example".to_owned(),
            }),
            roles: [(Role::Compute, overlay::Files::default())].into(),
            agent: Agent::File(agent),
            format: Format::Qcow2,
            disk_size_gib: 20,
        }
    }

    fn why(plan: &Plan) -> Vec<(String, Vec<String>)> {
        let layers = plan.layers.iter();
        layers
            .map(|layer| (layer.layer.to_owned(), layer.why.clone()))
            .collect()
    }

    #[test]
    fn a_change_names_itself_and_what_stands_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(&directory.path().join("cache"));
        let mut recipe = recipe(directory.path());
        let plan = recipe.plan(&cache, directory.path()).unwrap();
        let nothing = || vec!["nothing was built before".to_owned()];
        let expected = |base, role, image| {
            vec![
                ("base".to_owned(), base),
                ("role".to_owned(), role),
                ("image".to_owned(), image),
            ]
        };
        assert_eq!(why(&plan), expected(nothing(), nothing(), nothing()));
        assert!(plan.layers.iter().all(|layer| plan.makes(layer)));

        let namespace = crate::engine::namespace::Namespace::for_this_user().unwrap();
        let lock = cache.lock(namespace).unwrap();
        for (kind, at) in [(BASE.to_owned(), 0), (role_kind(Role::Compute), 1)] {
            let inputs = &plan.layers[at].inputs;
            cache.add(&lock, &kind, inputs, |_| Ok(())).unwrap();
        }
        recipe.platform.packages.compute.push("tmux".to_owned());
        let plan = recipe.plan(&cache, directory.path()).unwrap();
        let packages = vec!["packages.compute".to_owned()];
        assert_eq!(why(&plan), expected(vec![], packages, nothing()));
        recipe.platform.packages.base.push("htop".to_owned());
        recipe.platform.packages.compute.pop();
        let plan = recipe.plan(&cache, directory.path()).unwrap();
        let changed = |name: &str| vec![name.to_owned()];
        assert_eq!(
            why(&plan),
            expected(changed("packages.base"), changed("base"), nothing())
        );
    }

    #[test]
    fn what_no_image_needs_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(&directory.path().join("cache"));
        let mut plan = recipe(directory.path())
            .plan(&cache, directory.path())
            .unwrap();
        plan.layers[2].cached = true;
        assert!(!plan.layers.iter().any(|layer| plan.makes(layer)));
        plan.layers[2].cached = false;
        plan.layers[1].cached = true;
        let makes: Vec<bool> = plan.layers.iter().map(|layer| plan.makes(layer)).collect();
        assert_eq!(makes, [false, false, true]);
    }

    #[test]
    fn what_an_installer_is_told_and_lays_down_decides_about_its_disk() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(&directory.path().join("cache"));
        let mut recipe = recipe(directory.path());
        let mut tree = |text: &str| {
            recipe.source = Source::Tree {
                installer: "http://one.example/".to_owned(),
                repositories: Vec::new(),
                kickstarts: [(Role::Compute, text.to_owned())].into(),
            };
            recipe.plan(&cache, directory.path()).unwrap()
        };
        let before = tree("poweroff");
        let layers: Vec<_> = before.layers.iter().map(|layer| layer.layer).collect();
        assert_eq!(layers, ["role", "image"]);
        assert_eq!(before.stages(), 4);
        let inputs = tree("reboot").layers[0].inputs.clone();
        assert_eq!(inputs.differences(&before.layers[0].inputs), ["kickstart"]);
    }
}
