//! `cellboot lab console`: this terminal as a node's serial console, until Ctrl-].

use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::machine::Process;

/// Ctrl-], as in telnet and virsh.
const ESCAPE: u8 = 0x1d;

/// Connects standard input and output with the console.
pub fn attach(process: &Process) -> Result<()> {
    let mut console = process.socket("serial")?.connect()?;
    let _raw = std::io::stdin()
        .is_terminal()
        .then(Raw::enter)
        .transpose()?;
    relay(&mut console)
}

fn relay(console: &mut UnixStream) -> Result<()> {
    let mut stdin = std::io::stdin();
    let mut stdout = std::io::stdout();
    let mut buffer = [0; 4096];
    loop {
        let mut ready = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::from_borrowed_fd(std::os::fd::AsFd::as_fd(&*console), PollFlags::IN),
        ];
        poll(&mut ready, None).context("waiting for the console")?;
        let [typed, said] = ready.map(|fd| !fd.revents().is_empty());
        if said {
            let length = console.read(&mut buffer).context("reading the console")?;
            if length == 0 {
                return Ok(());
            }
            stdout
                .write_all(&buffer[..length])
                .context("showing the console")?;
            stdout.flush().context("showing the console")?;
        }
        if typed {
            let length = stdin.read(&mut buffer).context("reading what was typed")?;
            let typed = &buffer[..length];
            if length == 0 || typed.contains(&ESCAPE) {
                return Ok(());
            }
            console.write_all(typed).context("typing on the console")?;
        }
    }
}

/// The terminal passes every key on while this lives.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).context("looking at the terminal")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).context("changing the terminal")?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
