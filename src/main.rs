//! The builder's command line: parse, dispatch, print an error once, end with its exit code.

use clap::Parser;

/// Builds disk images that become an OpenStack cell when they are powered on.
#[derive(Parser)]
#[command(version, max_term_width = 80)]
struct Cli {}

fn main() {
    Cli::parse();
}
