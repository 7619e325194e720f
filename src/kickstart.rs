//! The kickstart of a role: what Anaconda is to install, rendered from `kickstart/`.
//!
//! A function of the platform, the release, the role and the mirrors. Whether it is carried out is
//! another module's business.

use std::path::Path;

use anyhow::{Context, Result};
use firstboot::config::Role;
use firstboot::platform::{Address, Platform, Release, Tree};
use firstboot::render;
use minijinja::value::{Serde, Value};
use serde::Serialize;
use serde_json::json;

use crate::overlay;
use crate::site::Site;

/// The disk of an image, as udev names it after its serial number.
const IMAGE_DISK: &str = "/dev/disk/by-id/virtio-target";
/// Label of the volume that carries the kickstart, the overlay and the agent.
pub const VOLUME: &str = "CELLBOOT";
const TEMPLATE: &str = "image.ks.j2";
/// How the names of units begin that no package brings.
const OURS: &str = "cellboot-";

/// Where the packages of a platform with an installation tree come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// Address of the operating system's repositories.
    pub main: String,
    /// Address of those of the special interest groups.
    pub sigs: String,
}

impl Mirrors {
    /// The platform's own, where the site names no other.
    pub fn of(tree: &Tree, site: &Site) -> Self {
        let mirror = |name: &str, own: &str| {
            let named = site.platform.mirrors.get(name);
            let address = named.map_or(own, String::as_str);
            address.trim_end_matches('/').to_owned()
        };
        Self {
            main: mirror("main", &tree.main),
            sigs: mirror("sigs", &tree.sigs),
        }
    }

    /// The address of a tree or a repository.
    pub fn url(&self, of: Address, path: &str) -> String {
        let address = match of {
            Address::Main => &self.main,
            Address::Sigs => &self.sigs,
        };
        format!("{address}/{path}/")
    }

    /// The repositories of a platform's tree and of one of its releases, besides the installer's own.
    ///
    /// # Errors
    /// When the platform has no installation tree, or not this release.
    pub fn repositories(&self, platform: &Platform, release: &str) -> Result<Vec<Repository>> {
        let tree = tree(platform)?;
        let repository = |name: &str, of, path: &str| Repository {
            name: name.to_owned(),
            url: self.url(of, path),
        };
        let mut all: Vec<Repository> = tree
            .repositories
            .iter()
            .map(|it| repository(&it.name, it.of, &it.path))
            .collect();
        let name = format!("openstack-{release}");
        let own = of_release(platform, release)?.repository.iter();
        all.extend(own.map(|path| repository(&name, Address::Sigs, path)));
        Ok(all)
    }
}

/// A repository, as the installer is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repository {
    /// What the installer calls it.
    pub name: String,
    /// Its address, with a slash at its end.
    pub url: String,
}

fn tree(platform: &Platform) -> Result<&Tree> {
    let tree = platform.tree.as_ref();
    tree.with_context(|| format!("platform {} is not installed by a kickstart", platform.name))
}

fn of_release<'a>(platform: &'a Platform, name: &str) -> Result<&'a Release> {
    let release = platform.releases.get(name);
    release.with_context(|| format!("platform {} has no release {name:?}", platform.name))
}

/// What is installed to.
#[derive(Debug, Clone, Copy)]
pub enum Destination<'a> {
    /// The disk that an image is made of, in a machine of the builder's.
    Image,
    /// A disk of the machine that boots a medium, which may have the machine's seed.
    Machine {
        /// The disk, or the only one that there is.
        disk: Option<&'a str>,
        /// Whether a seed comes with it.
        seed: bool,
    },
}

/// What is installed.
#[derive(Debug, Clone, Copy)]
pub struct Kickstart<'a> {
    /// The platform.
    pub platform: &'a Platform,
    /// The OpenStack release.
    pub release: &'a str,
    /// The role.
    pub role: Role,
    /// Where packages come from.
    pub mirrors: &'a Mirrors,
    /// The overlay of the role.
    pub overlay: &'a overlay::Files,
    /// And to what.
    pub destination: Destination<'a>,
}

impl Kickstart<'_> {
    /// Its text, from the templates in this directory.
    ///
    /// # Errors
    /// When the platform has no installation tree or not this release, or a template is wrong.
    pub fn text(&self, templates: &Path) -> Result<String> {
        let platform = self.platform;
        let tree = tree(platform)?;
        let release = of_release(platform, self.release)?;
        let repositories = self.mirrors.repositories(platform, self.release)?;
        let packages = [
            platform.packages.base.as_slice(),
            &release.packages,
            platform.packages.of(self.role),
        ];
        let runs = platform.build.commands.iter();
        let runs = runs.filter(|run| run.roles.contains(&self.role));
        let commands: Vec<String> = runs.map(|run| shell_line(&run.command)).collect();
        // A unit of ours is there where the overlay of the role lays it.
        let enable: Vec<&String> = platform
            .build
            .enable
            .iter()
            .filter(|unit| !unit.starts_with(OURS) || self.overlay.has_unit(unit))
            .collect();
        let (disk, seed) = match self.destination {
            Destination::Image => (Some(IMAGE_DISK), false),
            Destination::Machine { disk, seed } => (disk, seed),
        };
        let environment = render::environment(templates)?;
        let variables = Value::from(Serde(json!({
            "title": platform.title,
            "role": self.role.as_str(),
            "release": self.release,
            "installer": self.mirrors.url(Address::Main, &tree.installer),
            "repositories": repositories,
            "disk": disk,
            "seed": seed,
            "volume": VOLUME,
            "packages": packages.concat(),
            "enable": enable,
            "disable": platform.build.disable,
            "remove": platform.build.remove,
            "commands": commands,
            "owners": self.overlay.owners(),
        })));
        let template = environment.get_template(TEMPLATE);
        let text = template.and_then(|template| template.render(variables));
        text.with_context(|| format!("rendering {}", templates.join(TEMPLATE).display()))
    }
}

/// A command as a shell reads it back word by word.
fn shell_line(words: &[String]) -> String {
    let word = |word: &String| {
        let plain = |it: char| it.is_ascii_alphanumeric() || "_-./=".contains(it);
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_the_words_of_a_command() {
        let words = ["printf", "%s|", "a b", "it's", "", "/^x/d", "$HOME"];
        let line = shell_line(&words.map(str::to_owned));
        let said = firstboot::cmd::Cmd::new("sh").args(["-c", &line]).read();
        assert_eq!(said.unwrap(), "a b|it's||/^x/d|$HOME|");
    }
}
