//! `cellboot verify`: a directory of built images against its checksums, its manifest and the
//! rule that an image holds no secret.

use std::path::PathBuf;

use anyhow::Result;

use crate::verify;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What `cellboot build` wrote, as in out/debian-12
    directory: PathBuf,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<()> {
    verify::directory(&arguments.directory)
}
