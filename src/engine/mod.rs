//! Makes trees of packages: the base that both roles share, then each role on top of it.
//!
//! ```text
//! mmdebstrap ─▶ base.tar ─▶ tree ─▶ packages ─▶ byte code ─▶ bake ─▶ units ─▶ cleanup ─▶ ext4
//! ```
//!
//! Nothing here knows the cache, the site's nodes or what the agent does on a node.

pub mod bake;
pub mod base;
pub mod namespace;
mod progress;
pub mod role;
pub mod tree;
pub mod units;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use firstboot::cmd::Cmd;
use firstboot::platform::Platform;

use crate::fault::Class;
use crate::report::{Report, Stage};
use crate::site::Site;
use namespace::Namespace;
use progress::{Progress, Tail};

/// How often what is shown changes.
const FRAME: Duration = Duration::from_millis(250);

/// Changes whenever equal inputs would give another tree: part of every key.
pub const VERSION: &str = "2";

/// Where packages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// Address of the archive.
    pub main: String,
    /// Address of the security updates.
    pub security: String,
}

impl Mirrors {
    /// The platform's own, where the site (if there is one) names no other.
    pub fn of(platform: &Platform, site: Option<&Site>) -> Result<Self> {
        let archive = platform.archive()?;
        let mirror = |name: &str, own: &str| {
            let named = site.and_then(|site| site.platform.mirrors.get(name));
            named.cloned().unwrap_or_else(|| own.to_owned())
        };
        Ok(Self {
            main: mirror("main", &archive.main),
            security: mirror("security", &archive.security),
        })
    }
}

/// What the stages of one build share.
pub struct Engine<'a> {
    /// The platform that is built.
    pub platform: &'a Platform,
    /// Where its packages come from.
    pub mirrors: &'a Mirrors,
    /// How trees are owned.
    pub namespace: Namespace,
    /// Where downloaded packages are kept between builds.
    pub packages: PathBuf,
    /// Where the output of commands is kept.
    pub logs: PathBuf,
    /// A directory for trees, removed by whoever made it.
    pub work: PathBuf,
    /// Where progress is shown.
    pub report: &'a Report,
}

impl Engine<'_> {
    /// Runs a command that talks to the mirrors and gives what it did; its output goes to the log
    /// of `layer`.
    fn run_online(&self, cmd: &Cmd, layer: &str, stage: &Stage<'_>) -> Result<Progress> {
        let log = self.log(layer);
        let (end, ended) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let log = log.as_path();
            let follow = scope.spawn(move || follow(log, stage, &ended));
            let outcome = cmd.run_logged(log);
            drop(end);
            let progress = follow.join().map_err(|_| anyhow!("a thread panicked"))?;
            outcome.map(|()| progress)
        })
        .map_err(|error| {
            if firstboot::interrupt::requested() {
                return error;
            }
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            match unreachable_address(&said) {
                Some(line) => Class::Network.error(format!(
                    "fetching packages: {line}\n\
                     hint: `cellboot doctor` tries the mirrors; a site can name others under \
                     mirrors in [platform]"
                )),
                None => error.context(format!("installing packages (log: {})", log.display())),
            }
        })
    }

    /// The log of a layer that begins, without what an earlier build said.
    fn new_log(&self, layer: &str) -> Result<PathBuf> {
        let log = self.log(layer);
        File::create(&log).with_context(|| format!("emptying {}", log.display()))?;
        Ok(log)
    }

    /// The log of a layer.
    fn log(&self, layer: &str) -> PathBuf {
        self.logs.join(format!("{layer}.log"))
    }

    /// The command in the tree, with the package cache of `layer` and this host's name servers.
    fn apt(&self, tree: &Path, layer: &str, args: &[&str]) -> Cmd {
        let binds = [
            (self.packages.join(layer), "/var/cache/apt/archives"),
            (PathBuf::from("/etc/resolv.conf"), "/etc/resolv.conf"),
        ];
        let apt = Cmd::new("apt-get")
            .args(["-q", "-y", "-o", "APT::Sandbox::User=root"])
            .args(["-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=2"])
            .args(args.iter().copied());
        self.namespace.inside(tree, &binds, apt)
    }
}

/// Shows what apt does until the other end of `ended` is gone, and tells what it did.
fn follow(log: &Path, stage: &Stage<'_>, ended: &Receiver<()>) -> Progress {
    let mut progress = Progress::default();
    let mut tail = Tail::of(log);
    loop {
        let is_over = ended.recv_timeout(FRAME) == Err(RecvTimeoutError::Disconnected);
        let mut changed = false;
        while let Some(line) = tail.next() {
            changed |= progress.read(&line);
        }
        if changed {
            stage.progress(&progress.told());
        }
        if is_over {
            return progress;
        }
    }
}

/// The line of apt's output that says that an address did not answer.
fn unreachable_address(said: &str) -> Option<&str> {
    let network = [
        "Could not resolve",
        "Temporary failure resolving",
        "Could not connect",
        "Unable to connect",
        "Connection timed out",
        "Connection failed",
        "Failed to fetch",
    ];
    let found = said
        .lines()
        .rev()
        .find(|line| network.iter().any(|words| line.contains(words)))?;
    let start = found.find("Failed to fetch ").map_or(0, |at| at + 16);
    Some(found[start..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_did_not_answer_is_found_in_what_apt_said() {
        let said = "Reading package lists...\n\
            W: Failed to fetch http://no.example/dists/x/InRelease  Could not resolve 'no.example'\n\
            E: Unable to locate package y\n";
        assert_eq!(
            unreachable_address(said),
            Some("http://no.example/dists/x/InRelease  Could not resolve 'no.example'")
        );
        assert_eq!(unreachable_address("E: dpkg was interrupted\n"), None);
    }
}
