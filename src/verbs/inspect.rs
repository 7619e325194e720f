//! `cellboot inspect`: what is in an image, without mounting it.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::inspect::report::Report;
use crate::inspect::{self, Kind};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The image: qcow2 or raw
    image: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// Print the content of this file of the image
    #[arg(long, value_name = "PATH", conflicts_with = "list")]
    cat: Option<String>,
    /// List this directory of the image
    #[arg(long, value_name = "PATH")]
    list: Option<String>,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let image = inspect::open(&arguments.image)?;
    let mut output = std::io::stdout().lock();
    let written = if let Some(path) = &arguments.cat {
        image.copy(path, &mut output)?;
        Ok(())
    } else if let Some(path) = &arguments.list {
        let directory = image
            .entry(path)?
            .is_some_and(|entry| entry.kind != Kind::File);
        ensure!(
            directory,
            "{path} is no directory of {}",
            arguments.image.display()
        );
        let entries = image.list(path)?;
        if arguments.json {
            writeln!(output, "{}", serde_json::to_string_pretty(&entries)?)
        } else {
            entries.iter().try_for_each(|entry| {
                let kind = match entry.kind {
                    Kind::File => '-',
                    Kind::Directory => 'd',
                    Kind::Link => 'l',
                    Kind::Special => 's',
                };
                writeln!(
                    output,
                    "{kind} {:04o} {:>5}:{:<5} {:>10} {}",
                    entry.mode, entry.uid, entry.gid, entry.size_bytes, entry.path
                )
            })
        }
    } else {
        let report = Report::of(&image)?;
        if arguments.json {
            writeln!(output, "{}", serde_json::to_string_pretty(&report)?)
        } else {
            write!(output, "{report}")
        }
    };
    match written {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}
