//! Whether the seed has told this machine which node it is, and waiting until it has.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::changes::Changes;
use crate::config::{Identify, NodeConfig};
use crate::files;
use crate::identity::{self, Found};
use crate::platform::Platform;
use crate::prompt::Prompt;

/// What the seed left.
#[derive(Debug)]
pub enum Seed {
    /// Nothing: no file, or an empty one.
    Missing,
    /// Something that describes no node.
    Broken(anyhow::Error),
    /// Any number of computes, and this machine does not know yet which one it is.
    Shared(Box<NodeConfig>, Identify),
    /// As [`Seed::Shared`], and the machine has no address yet; and why.
    NoAddress(String),
    /// A node.
    Good(Box<NodeConfig>),
}

/// How often a machine without an address looks for one: the kernel has it when DHCP is through.
const LOOK_FOR_ADDRESS: Duration = Duration::from_secs(1);

impl Seed {
    /// Looks at the file that cloud-init writes.
    pub fn look(path: &Path) -> Self {
        match parse(path) {
            Ok(None) => Self::Missing,
            Ok(Some(config)) => match config.identify.clone() {
                Some(identify) => Self::Shared(Box::new(config), identify),
                None => Self::Good(Box::new(config)),
            },
            Err(error) => Self::Broken(error),
        }
    }
}

/// Waits, without using the processor, until the file describes a node. Tells `tell` of each state
/// in which it does not, once each, and of the node that a machine with a shared seed turns out to
/// be; and `typed` of each line that somebody types meanwhile.
///
/// # Errors
/// When the file's directory cannot be made or watched.
pub fn wait(
    path: &Path,
    prompt: &mut Prompt,
    mut tell: impl FnMut(&Seed),
    mut typed: impl FnMut(&str),
) -> Result<NodeConfig> {
    let directory = path
        .parent()
        .context("finding the directory of the seed's file")?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    std::fs::create_dir_all(directory)
        .with_context(|| format!("making {}", directory.display()))?;
    let mut changes = Changes::of(directory)?;
    let mut told = None;
    loop {
        let mut seed = Seed::look(path);
        if let Seed::Shared(config, identify) = &seed {
            seed = match identity::settle(config, identify, path) {
                Ok(Found::Node(config)) => Seed::Good(config),
                Ok(Found::NoAddress(why)) => Seed::NoAddress(why),
                Err(error) => Seed::Broken(error),
            };
            if let Seed::Good(_) = seed {
                tell(&seed);
            }
        }
        if let Seed::Good(config) = seed {
            return Ok(*config);
        }
        let what = match &seed {
            Seed::Broken(error) => format!("{error:#}"),
            Seed::NoAddress(why) => why.clone(),
            _ => String::new(),
        };
        let most = matches!(seed, Seed::NoAddress(_)).then_some(LOOK_FOR_ADDRESS);
        if told.as_ref() != Some(&what) {
            tell(&seed);
            told = Some(what);
        }
        changes.wait_or(name, &prompt.descriptors(), most)?;
        for line in prompt.lines() {
            typed(&line);
        }
    }
}

fn parse(path: &Path) -> Result<Option<NodeConfig>> {
    let text = files::read_if_exists(path)?.unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(None);
    }
    let config = NodeConfig::parse(&text).with_context(|| format!("reading {}", path.display()))?;
    Platform::load(&config.platform).with_context(|| format!("reading {}", path.display()))?;
    Ok(Some(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use crate::files::Ownership;
    use crate::node::Node;
    use std::io::Write;

    fn put(path: &Path, text: &str) {
        files::replace(path, text.as_bytes(), Ownership::mode(0o600)).unwrap();
    }

    #[test]
    fn nothing_broken_and_good_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        assert!(matches!(Seed::look(&path), Seed::Missing));
        put(&path, " \n");
        assert!(matches!(Seed::look(&path), Seed::Missing));
        put(&path, "name = ");
        let Seed::Broken(error) = Seed::look(&path) else {
            panic!("it is broken");
        };
        let place = format!("reading {}", path.display());
        assert_eq!(error.to_string(), place);
        let config = Node::example(Role::Compute).config;
        put(&path, &config.to_toml().unwrap());
        let Seed::Good(found) = Seed::look(&path) else {
            panic!("it is good");
        };
        assert_eq!(*found, config);
    }

    #[test]
    fn a_platform_of_another_image_is_broken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        let mut config = Node::example(Role::Compute).config;
        config.platform = "plan-9".into();
        put(&path, &config.to_toml().unwrap());
        assert!(matches!(Seed::look(&path), Seed::Broken(_)));
    }

    #[test]
    fn waiting_ends_with_the_first_good_file_and_tells_each_bad_one_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("etc/node.toml");
        let config = Node::example(Role::Controller).config;
        let good = config.to_toml().unwrap();
        let mut told = Vec::new();
        // Each answer to a bad state is the next state, so nothing here depends on time.
        let bad = |seed: &Seed| {
            told.push(matches!(seed, Seed::Missing));
            match told.len() {
                1 => put(&path, "schema = 1\n"),
                2 => {
                    put(&path, "schema = 1\n");
                    put(&path, &good);
                }
                _ => panic!("told too often"),
            }
        };
        let nobody = &mut Prompt::default();
        let found = wait(&path, nobody, bad, |line| panic!("{line:?} was typed"));
        assert_eq!(found.unwrap(), config);
        assert_eq!(told, [true, false]);
    }

    #[test]
    fn a_machine_with_a_shared_seed_waits_for_an_address_and_is_then_a_node() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("etc/node.toml");
        let shared = |network: &str| {
            let mut config = Node::example(Role::Compute).config;
            config.nodes.retain(|peer| peer.role == Role::Controller);
            config.nodes[0].address = std::net::Ipv4Addr::LOCALHOST;
            config.management.address = network.parse().unwrap();
            config.management.interface = "lo".into();
            config.identify = Some(Identify {
                name_prefix: "rack1".into(),
                name_from: crate::config::NameFrom::Mac,
            });
            config.to_toml().unwrap()
        };
        let mut told = Vec::new();
        let bad = |seed: &Seed| match seed {
            // Loopback has an address in the second of these networks alone.
            Seed::Missing => put(&path, &shared("10.20.0.0/24")),
            Seed::NoAddress(why) => {
                told.push(why.clone());
                put(&path, &shared("127.0.0.0/8"));
            }
            Seed::Good(config) => told.push(config.name.clone()),
            other => panic!("{other:?}"),
        };
        let nobody = &mut Prompt::default();
        let found = wait(&path, nobody, bad, |line| panic!("{line:?} was typed")).unwrap();
        assert_eq!(
            told,
            ["127.0.0.1 is not in 10.20.0.0/24", "rack1-000000000000"]
        );
        assert!(matches!(Seed::look(&path), Seed::Good(kept) if *kept == found));
    }

    #[test]
    fn what_is_typed_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("etc/node.toml");
        let console = directory.path().join("console");
        crate::cmd::Cmd::new("mkfifo").path(&console).run().unwrap();
        let config = Node::example(Role::Compute).config;
        let mut prompt = Prompt::of(&[&console]);
        let mut keys = std::fs::File::options().write(true).open(&console).unwrap();
        let bad = |_: &Seed| keys.write_all(b"firstboot join\n").unwrap();
        let mut typed = Vec::new();
        let take = |line: &str| {
            typed.push(line.to_owned());
            put(&path, &config.to_toml().unwrap());
        };
        assert_eq!(wait(&path, &mut prompt, bad, take).unwrap(), config);
        assert_eq!(typed, ["firstboot join"]);
    }
}
