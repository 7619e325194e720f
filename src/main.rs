//! The builder's command line: parse, dispatch, print an error once, end with its exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use cellboot::fault::Class;
use cellboot::verbs;

/// Builds disk images that become an OpenStack cell when they are powered on.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 bad input, 3 missing on this host, \
                  4 network, 5 verification refused."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write a site.toml that works as it is
    Init(verbs::init::Arguments),
    /// Say everything that is wrong with a site.toml
    Check(verbs::check::Arguments),
    /// Show what would be built, and why
    Plan(verbs::plan::Arguments),
    /// Build the images of a site, its seeds, and the manifest of both
    Build(verbs::build::Arguments),
    /// Write the seeds of a site's nodes
    Seed(verbs::seed::Arguments),
    /// Print the kickstart that installs a role's image of CentOS Stream
    Kickstart(verbs::kickstart::Arguments),
    /// Write a medium that installs CentOS Stream on a machine by itself
    Media(verbs::media::Arguments),
    /// Boot the built images as a cell on this machine
    Lab(verbs::lab::Arguments),
    /// Check what this host has and lacks, each with its fix
    Doctor(verbs::doctor::Arguments),
    /// Show what is in an image, without mounting it
    Inspect(verbs::inspect::Arguments),
    /// Check built images: checksums, manifest, boot loaders, and that they hold no secret
    Verify(verbs::verify::Arguments),
    /// Write an image and a node's seed onto a disk
    Write(verbs::write::Arguments),
    /// Write an image in another format, or everything for libvirt, Proxmox, metal or OpenStack
    Export(verbs::export::Arguments),
    /// Write man pages and shell completions
    #[command(hide = true)]
    Reference(verbs::reference::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = ctrlc::set_handler(firstboot::interrupt::request) {
        eprintln!("cellboot: Ctrl-C will not clean up: {error}");
    }
    let result = match &cli.verb {
        Verb::Init(arguments) => verbs::init::run(arguments),
        Verb::Check(arguments) => verbs::check::run(arguments),
        Verb::Plan(arguments) => verbs::plan::run(arguments),
        Verb::Build(arguments) => verbs::build::run(arguments),
        Verb::Seed(arguments) => verbs::seed::run(arguments),
        Verb::Kickstart(arguments) => verbs::kickstart::run(arguments),
        Verb::Media(arguments) => verbs::media::run(arguments),
        Verb::Lab(arguments) => verbs::lab::run(arguments),
        Verb::Doctor(arguments) => verbs::doctor::run(arguments),
        Verb::Inspect(arguments) => verbs::inspect::run(arguments),
        Verb::Verify(arguments) => verbs::verify::run(arguments),
        Verb::Write(arguments) => verbs::write::run(arguments),
        Verb::Export(arguments) => verbs::export::run(arguments),
        Verb::Reference(arguments) => {
            verbs::reference::run(arguments, <Cli as clap::CommandFactory>::command())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if firstboot::interrupt::requested() => {
            eprintln!("cellboot: interrupted; nothing half done was left behind");
            ExitCode::from(130)
        }
        Err(error) => {
            eprint!("{}", explain(&error));
            ExitCode::from(Class::of(&error).exit_code())
        }
    }
}

/// The error and its causes in one sentence; lines that say what to do come last.
fn explain(error: &anyhow::Error) -> String {
    let text: Vec<String> = error.chain().map(ToString::to_string).collect();
    let text = text.join(": ");
    let (hints, said): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with("hint: "));
    let mut lines = vec![format!("cellboot: {}", said.join("\n"))];
    lines.extend(hints.iter().map(ToString::to_string));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn hints_come_last_on_lines_of_their_own() {
        let error = Err::<(), _>(anyhow::anyhow!("no such program\nhint: install it"))
            .context("making the disk")
            .unwrap_err();
        assert_eq!(
            explain(&error),
            "cellboot: making the disk: no such program\nhint: install it\n"
        );
    }
}
