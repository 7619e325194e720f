//! The built images as a cell on this machine: no root, nothing but QEMU, everything on loopback.
//!
//! ```text
//! images + seeds ─▶ machine (QEMU, daemon) ─▶ serial log ─▶ events ─▶ READY ─▶ clouds.yaml
//!                      └ network, accel            state: lab.json in the lab's directory
//! ```
//!
//! `cellboot lab`, the VM tests and the benches all go through here. An image is never written
//! to: each machine has a disk of its own laid over it, thrown away with the lab.

pub mod accel;
pub mod clouds;
pub mod console;
pub mod machine;
pub mod network;
pub(crate) mod qmp;
pub mod serial;
pub mod ssh;
pub mod start;
pub mod state;
pub mod switch;
pub mod timings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use firstboot::config::Role;
use firstboot::files::{self, Ownership};
use firstboot::wait::{self, Probe};

use crate::report::Report;
use machine::Machine;
use serial::{Event, Follow};
use state::{Node, State};
use switch::Switch;

/// How long a node may take to its last line where the processor is not emulated.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// How many lines of a serial log are worth repeating in an error message.
const TAIL_LINES: usize = 15;

/// A lab that was started.
pub struct Lab {
    directory: PathBuf,
    state: State,
}

impl Lab {
    /// The lab in a directory, if there is one.
    pub fn find(directory: &Path) -> Result<Option<Self>> {
        Ok(State::load(directory)?.map(|state| Self {
            directory: directory.to_owned(),
            state,
        }))
    }

    /// Its nodes, controller first.
    pub fn nodes(&self) -> &[Node] {
        &self.state.nodes
    }

    /// How the processors are run.
    pub fn accelerator(&self) -> accel::Accelerator {
        self.state.accelerator
    }

    /// What the machines start with.
    pub fn firmware(&self) -> machine::Firmware {
        self.state.firmware
    }

    /// The node of this name; without a name, the controller.
    pub fn node(&self, name: Option<&str>) -> Result<&Node> {
        let mut nodes = self.state.nodes.iter();
        let found = match name {
            None => nodes.find(|node| node.role == Role::Controller),
            Some(name) => nodes.find(|node| node.machine.name == name),
        };
        let known: Vec<&str> = self.names().collect();
        found.with_context(|| {
            let known = known.join(", ");
            format!(
                "the lab has no node {}; it has: {known}",
                name.unwrap_or("controller")
            )
        })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.state
            .nodes
            .iter()
            .map(|node| node.machine.name.as_str())
    }

    /// Turns a node on and notes where in its log this boot begins.
    pub fn power_on(&mut self, name: &str) -> Result<()> {
        let node = self
            .state
            .nodes
            .iter_mut()
            .find(|node| node.machine.name == name)
            .with_context(|| format!("the lab has no node {name}"))?;
        if !node.image.is_unchanged() {
            let image = node.image.path.display();
            bail!(
                "the image {image} has changed since the disk of {name} was laid over it\n\
                 hint: `cellboot lab down` throws the disk away"
            );
        }
        for port in &node.machine.ports {
            Switch::new(&self.directory, &port.id).start()?;
        }
        node.boot_begins = node.machine.power_on()?;
        self.state.save(&self.directory)
    }

    /// The agent's lines in a node's present boot, from its beginning.
    pub fn follow(&self, node: &Node) -> Follow {
        Follow::new(&node.machine.log(), node.boot_begins)
    }

    /// The last of the agent's lines that says how a node stands.
    pub fn standing(&self, node: &Node) -> Result<Standing> {
        let running = node.machine.process().pid()?.is_some();
        let events = self.follow(node).events()?;
        let last = events
            .into_iter()
            .rfind(|event| !matches!(event, Event::Said(_)));
        Ok(Standing::of(running, last))
    }

    /// Waits until every node has said that it is what it is for, and shows what they say meanwhile.
    ///
    /// # Errors
    /// When a node says that it failed, lacks its seed, turns itself off, or takes too long.
    pub fn await_ready(&self, report: &Report) -> Result<()> {
        for node in &self.state.nodes {
            let goal = match node.role {
                Role::Controller => "READY",
                Role::Compute => "JOINED",
            };
            let stage = report.begin(format!("{}: from power-on to {goal}", node.machine.name));
            let event = self.await_event(node, |said| stage.progress(said), is_the_end)?;
            match event {
                Event::Ready { seconds, .. } | Event::Joined { seconds, .. } => {
                    stage.finish(&format!("{goal} {seconds} s after power-on"));
                }
                Event::Failed { step, reason, hint } => bail!(
                    "{}: step {step} failed: {reason}\nhint: {hint}\nhint: its console is in {}",
                    node.machine.name,
                    node.machine.log().display()
                ),
                Event::Waiting(what) | Event::Said(what) => {
                    bail!("{} is waiting {what}", node.machine.name)
                }
            }
        }
        Ok(())
    }

    /// Waits for the first of the agent's lines that `wanted` accepts; `said` sees the others.
    pub fn await_event(
        &self,
        node: &Node,
        said: impl FnMut(&str),
        wanted: impl FnMut(&Event) -> bool,
    ) -> Result<Event> {
        let deadline = PATIENCE * self.state.accelerator.patience();
        await_event(&node.machine, node.boot_begins, deadline, said, wanted)
    }

    /// How to log in to a node.
    pub fn login(&self, node: &Node) -> Result<ssh::Login> {
        let door = node.doors.get("ssh").context("finding the door for SSH")?;
        Ok(ssh::Login {
            node: node.machine.name.clone(),
            port: door.host_port,
            key: self.state.key.clone(),
            known_hosts: self.directory.join("known_hosts"),
        })
    }

    /// The address of each of the controller's services, through its door.
    pub fn endpoints(&self) -> Result<BTreeMap<String, String>> {
        let doors = self.node(None)?.doors.iter();
        let ports = doors
            .map(|(name, door)| (name.clone(), door.host_port))
            .collect();
        Ok(clouds::endpoints(&ports))
    }

    /// Where this host's `clouds.yaml` is, or will be once the controller is ready.
    pub fn clouds_yaml(&self) -> PathBuf {
        self.directory.join("clouds.yaml")
    }

    /// Takes the controller's credentials and writes [`Lab::clouds_yaml`] for this host.
    pub fn fetch_clouds_yaml(&self) -> Result<PathBuf> {
        let login = self.login(self.node(None)?)?;
        let text = login
            .run("cat /etc/openstack/clouds.yaml")
            .read()
            .context("fetching the controller's clouds.yaml")?;
        let path = self.clouds_yaml();
        let own = clouds::rewrite(&text, &self.endpoints()?)?;
        files::replace(&path, own.as_bytes(), Ownership::mode(0o600))?;
        Ok(path)
    }

    /// Ends every machine. With `keep`, by the power button and with its disk left as it is;
    /// otherwise at once, and the disks, keys and logs of the lab are removed.
    pub fn down(self, keep: bool) -> Result<()> {
        for node in self.state.nodes.iter().rev() {
            let process = node.machine.process();
            let deadline = Duration::from_secs(120) * self.state.accelerator.patience();
            let shut_down = keep.then(|| process.shut_down(deadline));
            if !matches!(shut_down, Some(Ok(()))) {
                process.cut_power()?;
            }
        }
        for port in self.state.nodes.iter().flat_map(|node| &node.machine.ports) {
            Switch::new(&self.directory, &port.id).stop()?;
        }
        if !keep {
            std::fs::remove_dir_all(&self.directory)
                .with_context(|| format!("removing {}", self.directory.display()))?;
        }
        Ok(())
    }
}

/// Waits for the first line of the agent that `wanted` accepts in the boot of a machine that
/// begins there in its log; `said` sees the lines about steps.
///
/// # Errors
/// When the machine turns itself off or takes too long; with the last lines of its console.
pub fn await_event(
    machine: &Machine,
    boot_begins: u64,
    deadline: Duration,
    mut said: impl FnMut(&str),
    mut wanted: impl FnMut(&Event) -> bool,
) -> Result<Event> {
    let name = &machine.name;
    let mut follow = Follow::new(&machine.log(), boot_begins);
    let mut last = "nothing yet".to_owned();
    let waited = wait::until(&format!("{name} to say how it stands"), deadline, || {
        let running = machine.process().pid()?.is_some();
        for event in follow.events()? {
            if let Event::Said(text) = &event {
                said(text);
                last.clone_from(text);
            }
            if wanted(&event) {
                return Ok(Probe::Ready(event));
            }
        }
        if !running {
            bail!("{name} is off");
        }
        Ok(Probe::NotYet(format!("the last it said was {last:?}")))
    });
    waited.map_err(|error| anyhow!("{error:#}{}", last_words(machine, boot_begins)))
}

/// The end of a machine's console, as it goes on after what went wrong.
fn last_words(machine: &Machine, boot_begins: u64) -> String {
    let log = machine.log();
    let lines = Follow::new(&log, boot_begins).lines().unwrap_or_default();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    format!(
        "; its console ends so:\n{tail}\nhint: all of the console is in {}",
        log.display()
    )
}

fn is_the_end(event: &Event) -> bool {
    !matches!(event, Event::Said(_))
}

/// How a node stands, in a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its machine is off.
    Off,
    /// It has not said anything final.
    Booting,
    /// It said so, that many seconds after power-on.
    Ready(u64),
    /// Likewise, of a compute.
    Joined(u64),
    /// It said so.
    Failed(String),
    /// It waits for somebody to do something.
    Waiting(String),
}

impl Standing {
    fn of(running: bool, last: Option<Event>) -> Self {
        match last {
            _ if !running => Self::Off,
            Some(Event::Ready { seconds, .. }) => Self::Ready(seconds),
            Some(Event::Joined { seconds, .. }) => Self::Joined(seconds),
            Some(Event::Failed { step, reason, .. }) => Self::Failed(format!("{step}: {reason}")),
            Some(Event::Waiting(what)) => Self::Waiting(what),
            Some(Event::Said(_)) | None => Self::Booting,
        }
    }

    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Booting => "booting",
            Self::Ready(_) => "ready",
            Self::Joined(_) => "joined",
            Self::Failed(_) => "failed",
            Self::Waiting(_) => "waiting",
        }
    }

    /// What there is to say about it besides.
    pub fn detail(&self) -> &str {
        match self {
            Self::Failed(text) | Self::Waiting(text) => text,
            _ => "",
        }
    }

    /// Seconds from power-on to READY or JOINED.
    pub fn seconds(&self) -> Option<u64> {
        match self {
            Self::Ready(seconds) | Self::Joined(seconds) => Some(*seconds),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_off_is_off_whatever_it_said() {
        let ready = Event::Ready {
            node: "controller".into(),
            seconds: 9,
        };
        assert_eq!(Standing::of(false, Some(ready.clone())), Standing::Off);
        assert_eq!(Standing::of(true, Some(ready)), Standing::Ready(9));
        assert_eq!(Standing::of(true, None).word(), "booting");
    }
}
