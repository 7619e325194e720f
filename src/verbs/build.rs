//! `cellboot build`.

use anyhow::Result;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Runs it.
pub fn run(_arguments: &Arguments) -> Result<()> {
    Ok(())
}
