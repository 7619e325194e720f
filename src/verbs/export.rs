//! `cellboot export`: an image in another format.

use std::path::PathBuf;

use anyhow::Result;

use crate::disk::export::{self, Format};
use crate::inspect;
use crate::report::Report;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The image: qcow2 or raw
    image: PathBuf,
    /// What to make of it
    #[arg(long, value_enum)]
    format: Format,
    /// The file to write
    #[arg(long, short)]
    output: PathBuf,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let report = Report::new(1);
    let output = arguments.output.display();
    let (_, source) = inspect::open_source(&arguments.image)?;
    let stage = report.begin(format!("writing {output}"));
    export::write(source.as_ref(), arguments.format, &arguments.output)?;
    let size = std::fs::metadata(&arguments.output)?.len();
    stage.finish(&format!("{} MiB", size >> 20));
    Ok(())
}
