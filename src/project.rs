//! Where the builder's own material is: the overlay trees, the templates of kickstarts, and the
//! source of the agent or the agent itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::fault::Class;

/// A checkout, or what `make install` put beside the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// The checkout around the working directory, or else the installed material.
    ///
    /// # Errors
    /// When there is neither.
    pub fn find() -> Result<Self> {
        let here = std::env::current_dir().context("reading the working directory")?;
        let program = std::env::current_exe().context("finding this program")?;
        let installed = program
            .parent()
            .and_then(Path::parent)
            .map(|prefix| prefix.join("share/cellboot"));
        let found = here
            .ancestors()
            .map(Path::to_owned)
            .chain(installed)
            .find(|root| root.join("overlays/common").is_dir());
        let root = found.ok_or_else(|| {
            Class::MissingOnHost.error(
                "there are no overlay trees here or beside this program\n\
                 hint: run it inside a checkout of cellboot, or `make install` it",
            )
        })?;
        Ok(Self { root })
    }

    /// The overlay trees.
    pub fn overlays(&self) -> PathBuf {
        self.root.join("overlays")
    }

    /// The templates of kickstarts.
    pub fn kickstart(&self) -> PathBuf {
        self.root.join("kickstart")
    }

    /// The root of the checkout, if this is one.
    pub fn checkout(&self) -> Option<&Path> {
        let manifest = self.root.join("firstboot/Cargo.toml");
        manifest.is_file().then_some(self.root.as_path())
    }

    /// The agent that was installed beside the overlays.
    pub fn installed_agent(&self) -> Option<PathBuf> {
        let agent = self.root.join("firstboot");
        agent.is_file().then_some(agent)
    }
}
