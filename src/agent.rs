//! The agent that goes into images: built from a checkout or given as a file, and refused if the
//! node could not load it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use firstboot::cmd::Cmd;
use firstboot::hash::hex;
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};
use sha2::{Digest, Sha256};

use crate::fault::Class;
use crate::project::Project;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Of the checkout: what the agent is made from, and where cargo puts it.
const SOURCES: [&str; 5] = [
    "Cargo.toml",
    "Cargo.lock",
    "firstboot/Cargo.toml",
    "firstboot/src",
    "firstboot/platforms",
];
const BUILD: &str = "target/agent";

/// Where the agent comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// A file that somebody built.
    File(PathBuf),
    /// The checkout with this root, from which cargo builds it.
    Checkout(PathBuf),
}

impl Agent {
    /// The agent that was asked for, or else that of the project.
    pub fn of(asked: Option<&Path>, project: &Project) -> Result<Self> {
        if let Some(path) = asked {
            return Ok(Self::File(path.to_owned()));
        }
        let checkout = project
            .checkout()
            .map(|root| Self::Checkout(root.to_owned()));
        checkout
            .or_else(|| project.installed_agent().map(Self::File))
            .ok_or_else(|| {
                Class::MissingOnHost.error(
                    "there is no agent beside the overlay trees\n\
                     hint: name one with --agent, or build in a checkout",
                )
            })
    }

    /// A hash of what the agent is or is made from.
    pub fn digest(&self) -> Result<String> {
        let mut hash = Sha256::new();
        match self {
            Self::File(path) => add(path, &mut hash)?,
            Self::Checkout(root) => {
                for name in SOURCES {
                    add(&root.join(name), &mut hash)?;
                }
            }
        }
        Ok(hex(&hash.finalize()))
    }

    /// The program, built if need be and found fit for an image.
    pub fn program(&self, log: &Path) -> Result<Vec<u8>> {
        let path = match self {
            Self::File(path) => path.clone(),
            Self::Checkout(root) => build(root, log)?,
        };
        let program = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        refuse_dynamic(&program)
            .map_err(|error| Class::Refused.error(format!("{}: {error:#}", path.display())))?;
        Ok(program)
    }
}

/// Adds a file, or every file below a directory, with its name.
fn add(path: &Path, hash: &mut Sha256) -> Result<()> {
    let context = || format!("reading {}", path.display());
    if path.is_dir() {
        let entries: Result<Vec<_>, _> = fs::read_dir(path).with_context(context)?.collect();
        let mut paths: Vec<PathBuf> = entries
            .with_context(context)?
            .iter()
            .map(fs::DirEntry::path)
            .collect();
        paths.sort();
        return paths.iter().try_for_each(|path| add(path, hash));
    }
    let content = fs::read(path).with_context(context)?;
    hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    hash.update((content.len() as u64).to_le_bytes());
    hash.update(content);
    Ok(())
}

fn build(root: &Path, log: &Path) -> Result<PathBuf> {
    let cargo = Cmd::new("cargo")
        .args(["build", "--release", "--quiet", "--locked"])
        .args(["--package", "firstboot", "--target", TARGET])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", root.join(BUILD).to_string_lossy())
        .directory(root)
        .deadline(Duration::from_secs(3600));
    cargo.run_logged(log).context("building the agent")?;
    Ok(built(root))
}

/// Where the agent of a checkout is once it was built.
pub fn built(root: &Path) -> PathBuf {
    root.join(BUILD).join(TARGET).join("release/firstboot")
}

/// An agent with an interpreter needs libraries of the host that built it, newer than the node's.
fn refuse_dynamic(program: &[u8]) -> Result<()> {
    let header = FileHeader64::<Endianness>::parse(program).context("it is no 64-bit program")?;
    let endian = header.endian().context("it is no 64-bit program")?;
    anyhow::ensure!(
        header.e_machine(endian) == elf::EM_X86_64,
        "it is not for x86_64"
    );
    let segments = header
        .program_headers(endian, program)
        .context("it is damaged")?;
    anyhow::ensure!(
        segments.iter().all(|part| part.p_type(endian) != PT_INTERP),
        "it is not static: it needs libraries that the node may not have\n\
         hint: build it with RUSTFLAGS='-C target-feature=+crt-static' --target {TARGET}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_a_loader_is_refused() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let error = refuse_dynamic(&own).unwrap_err().to_string();
        let first = error.lines().next().unwrap();
        assert_eq!(
            first,
            "it is not static: it needs libraries that the node may not have"
        );
        let error = refuse_dynamic(b"#!/bin/sh\n").unwrap_err();
        assert_eq!(error.to_string(), "it is no 64-bit program");
    }

    #[test]
    fn the_digest_changes_with_a_source() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let mode = firstboot::files::Ownership::mode(0o644);
            firstboot::files::replace(&root.path().join(name), text.as_bytes(), mode).unwrap();
        };
        for name in ["Cargo.toml", "Cargo.lock", "firstboot/Cargo.toml"] {
            write(name, "");
        }
        write("firstboot/platforms/p.toml", "");
        write("firstboot/src/main.rs", "one");
        let agent = Agent::Checkout(root.path().to_owned());
        let before = agent.digest().unwrap();
        assert_eq!(agent.digest().unwrap(), before);
        write("firstboot/src/main.rs", "two");
        assert_ne!(agent.digest().unwrap(), before);
    }
}
