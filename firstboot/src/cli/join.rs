//! `firstboot join`: a compute without a seed becomes the node of a line.

use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{BadConfiguration, Verdict};
use crate::seed::Seed;
use crate::{paths, typed};

pub(super) fn run() -> Result<Verdict> {
    if let Seed::Good(config) = Seed::look(Path::new(paths::NODE_CONFIG)) {
        let name = config.name;
        let error = anyhow::anyhow!(
            "this node has a seed: it is {name}\nhint: `firstboot status` shows how far its join is"
        );
        return Err(error.context(BadConfiguration("looking at the node")));
    }
    eprintln!("the line that `firstboot token create` printed on the controller:");
    let mut line = String::new();
    let stdin = std::io::stdin();
    let read = stdin.lock().read_line(&mut line);
    if read.context("reading standard input")? == 0 {
        bail!("there was no line");
    }
    typed::take(&line)?;
    eprintln!("the seed is here; the machine starts anew with it");
    typed::reboot()?;
    Ok(Verdict::Good)
}
