//! The kickstart of a role: what Anaconda is to install, rendered from `kickstart/`.
//!
//! A function of the platform, the release, the role and the mirrors. Whether it is carried out is
//! another module's business.

use std::path::Path;

use anyhow::{Context, Result};
use firstboot::config::Role;
use firstboot::platform::{Address, Platform, Tree};
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

#[derive(Serialize)]
struct Source {
    name: String,
    url: String,
}

impl Kickstart<'_> {
    /// Its text, from the templates in this directory.
    ///
    /// # Errors
    /// When the platform has no installation tree or not this release, or a template is wrong.
    pub fn text(&self, templates: &Path) -> Result<String> {
        let platform = self.platform;
        let tree = platform.tree.as_ref();
        let tree = tree.with_context(|| {
            format!("platform {} is not installed by a kickstart", platform.name)
        })?;
        let release = platform.releases.get(self.release);
        let release = release.with_context(|| {
            format!(
                "platform {} has no release {:?}",
                platform.name, self.release
            )
        })?;
        let source = |name: &str, of, path: &str| Source {
            name: name.to_owned(),
            url: self.mirrors.url(of, path),
        };
        let mut repositories: Vec<Source> = tree
            .repositories
            .iter()
            .map(|it| source(&it.name, it.of, &it.path))
            .collect();
        let name = format!("openstack-{}", self.release);
        let own = release.repository.iter();
        repositories.extend(own.map(|path| source(&name, Address::Sigs, path)));
        let packages = [
            platform.packages.base.as_slice(),
            &release.packages,
            platform.packages.of(self.role),
        ];
        let runs = platform.build.commands.iter();
        let runs = runs.filter(|run| run.roles.contains(&self.role));
        let commands: Vec<String> = runs.map(|run| shell_line(&run.command)).collect();
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
            "enable": platform.build.enable,
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
