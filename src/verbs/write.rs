//! `cellboot write`: an image and a node's seed onto a disk.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::fault::Class;
use crate::report::Report;
use crate::write;
use crate::write::target::Target;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The image, in the directory that it was built to
    image: PathBuf,
    /// The seed of the node that the machine is to be
    #[arg(long)]
    seed: PathBuf,
    /// The disk, as in /dev/sdb: everything on it is lost
    device: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let seed = write::seed(&arguments.seed)?;
    let target = Target::open(&arguments.device)?;
    let report = Report::new(3);
    let source = write::verified(&arguments.image, &report)?;
    write::fits(&source, &seed, &target)?;
    if !arguments.yes {
        ask(&target)?;
    }
    write::write(&source, &seed, &target, &report)?;
    eprintln!(
        "{} is that node's disk now. Put it into the machine, and power that on.",
        target.path.display()
    );
    Ok(())
}

/// Shows what would be lost and asks for the word.
fn ask(target: &Target) -> Result<()> {
    ensure!(
        std::io::stdin().is_terminal(),
        Class::BadInput.error("nobody is there to be asked\nhint: `--yes` writes without asking")
    );
    let mut told = format!(
        "{}: {:.1} GB",
        target.path.display(),
        target.size as f64 / 1e9
    );
    if let Some(model) = &target.model {
        told += &format!(", {model}");
    }
    if !target.partitions.is_empty() {
        told += &format!(", with {}", target.partitions.join(", "));
    }
    eprint!("{told}\nEverything on it is lost. Type yes to go on: ");
    std::io::stderr()
        .flush()
        .context("writing to standard error")?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("reading the answer")?;
    ensure!(
        answer.trim() == "yes",
        Class::BadInput.error("nothing was written")
    );
    Ok(())
}
