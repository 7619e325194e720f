//! The switches that the machines of a lab are plugged into: one `vde_switch` for each network.
//!
//! A switch and not a hub: QEMU's user network takes every frame that reaches it for its own, and
//! answers what one node says to another with a reset. Needs no root; lives as long as the lab.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use firstboot::cmd::Cmd;

use super::machine::Process;

/// The switch.
pub const PROGRAM: &str = "vde_switch";
/// More than any lab has machines.
const PORTS: &str = "256";

/// The switch of a network, in the directory of a lab.
pub struct Switch {
    directory: PathBuf,
    network: String,
}

impl Switch {
    /// The switch of this network in this directory.
    pub fn new(directory: &Path, network: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            network: network.to_owned(),
        }
    }

    /// Its socket, relative to the directory: the path of a socket may have only 107 bytes.
    pub fn socket(network: &str) -> String {
        format!("{network}.switch")
    }

    fn process(&self) -> Process {
        Process::new(&self.directory, &Self::socket(&self.network))
    }

    /// Makes sure that it runs.
    pub fn start(&self) -> Result<()> {
        let process = self.process();
        if process.pid()?.is_some() {
            return Ok(());
        }
        let context = || format!("starting the switch of the {} network", self.network);
        let socket = Self::socket(&self.network);
        // What one that was killed left would be taken for a switch that runs.
        match std::fs::remove_dir_all(self.directory.join(&socket)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(context);
            }
            _ => {}
        }
        Cmd::new(PROGRAM)
            .directory(&self.directory)
            .args([
                "--daemon",
                "--mode",
                "600",
                "--numports",
                PORTS,
                "--sock",
                &socket,
            ])
            .arg("--pidfile")
            .path(process.pidfile())
            .deadline(Duration::from_secs(20))
            .run()
            .with_context(context)
    }

    /// Ends it.
    pub fn stop(&self) -> Result<()> {
        self.process().cut_power()
    }
}
