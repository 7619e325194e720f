//! `cellboot reference`: man pages and shell completions, made from the command line itself, and
//! the page on `site.toml`, made from its table of keys.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use clap_complete::Shell;
use firstboot::files::{self, Ownership};

/// Where the pages go.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Directory that receives man1/*.1 and completions/*
    #[arg(long, default_value = "target/reference")]
    pub out: PathBuf,
    /// Directory that receives site.md
    #[arg(long, default_value = "docs")]
    pub docs: PathBuf,
}

/// Writes one man page for each verb and one completion file for each shell.
pub fn run(arguments: &Arguments, mut command: clap::Command) -> Result<()> {
    command.build();
    let mut pages = vec![(command.get_name().to_owned(), command.clone())];
    for verb in command.get_subcommands() {
        if !verb.is_hide_set() && verb.get_name() != "help" {
            let name = format!("{}-{}", command.get_name(), verb.get_name());
            pages.push((name, verb.clone()));
        }
    }
    for (name, page) in pages {
        let mut text = Vec::new();
        clap_mangen::Man::new(page)
            .title(name.to_uppercase())
            .render(&mut text)
            .with_context(|| format!("writing the manual page of {name}"))?;
        let path = arguments.out.join("man1").join(format!("{name}.1"));
        files::replace(&path, &text, Ownership::mode(0o644))?;
    }
    for shell in Shell::value_variants() {
        let mut text = Vec::new();
        clap_complete::generate(*shell, &mut command.clone(), "cellboot", &mut text);
        let path = arguments.out.join("completions").join(shell.to_string());
        files::replace(&path, &text, Ownership::mode(0o644))?;
    }
    let page = crate::site::reference::markdown();
    let path = arguments.docs.join("site.md");
    files::replace(&path, page.as_bytes(), Ownership::mode(0o644))
}
