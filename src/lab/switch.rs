//! The switches that the machines of a lab are plugged into: one `vde_switch` for each network.
//!
//! A switch and not a hub: QEMU's user network takes every frame that reaches it for its own, and
//! answers what one node says to another with a reset. Needs no root; lives as long as the lab.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use firstboot::cmd::Cmd;
use firstboot::wait::{self, Probe};

use super::machine::{Process, Socket};

/// The switch.
pub const PROGRAM: &str = "vde_switch";
/// More than any lab has machines.
const PORTS: &str = "256";

const START: Duration = Duration::from_secs(20);

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
        // What one that was killed left: where there is a file with a process id, the next one
        // removes it and ends, without a word.
        let left = [
            std::fs::remove_dir_all(self.directory.join(&socket)),
            std::fs::remove_file(process.pidfile()),
        ];
        for removed in left {
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(context);
                }
                _ => {}
            }
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
            .deadline(START)
            .run()
            .with_context(context)?;
        // It ends with 0 whether it goes on or not.
        let control = Socket::of(&self.directory, format!("{socket}/ctl"))?;
        wait::until("the switch to be reached", START, || {
            Ok(match control.connect() {
                Ok(_) => Probe::Ready(()),
                Err(error) => Probe::NotYet(format!("{error:#}")),
            })
        })
        .with_context(context)
    }

    /// Ends it.
    pub fn stop(&self) -> Result<()> {
        self.process().cut_power()
    }
}
