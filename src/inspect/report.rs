//! All that `cellboot inspect` says about an image, for people and for programs.

use std::fmt;
use std::io::ErrorKind;

use anyhow::{Context, Result};
use firstboot::hash::sha256;
use serde::Serialize;

use super::boot::{self, Loaders};
use super::features::{self, Features};
use super::packages::{self, Package};
use super::{Image, Partition, units};
use crate::overlay::AGENT;

/// What an image is.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `qcow2` or `raw`.
    pub format: String,
    /// Size of the file; 0 while the disk is not written yet.
    pub file_bytes: u64,
    /// Size of the disk.
    pub disk_bytes: u64,
    /// The partitions.
    pub partitions: Vec<Partition>,
    /// The boot loaders.
    pub loaders: Loaders,
    /// Path of the kernel it boots; links followed.
    pub kernel: Option<String>,
    /// What `os-release` calls it.
    pub system: Option<String>,
    /// UUID of the root file system.
    pub root_uuid: String,
    /// Features of the root file system.
    pub features: Features,
    /// The agent, if it is there.
    pub agent: Option<Agent>,
    /// Units that start at boot.
    pub units: Vec<String>,
    /// Installed packages.
    pub packages: Vec<Package>,
}

/// The agent in an image.
#[derive(Debug, Serialize)]
pub struct Agent {
    /// Its version, if the binary says so.
    pub version: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of the binary.
    pub sha256: String,
}

impl Report {
    /// Looks at everything.
    pub fn of(image: &Image) -> Result<Self> {
        let file_bytes = match std::fs::metadata(image.path()) {
            Ok(file) => file.len(),
            // The build looks at a disk before it writes it.
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", image.path().display()));
            }
        };
        let kernel = boot::kernel(image).ok().and_then(|kernel| {
            let link = kernel.kernel.to_str()?;
            let target = image
                .link(link)
                .map(|to| format!("/{}", to.trim_start_matches('/')));
            Some(target.unwrap_or_else(|_| link.to_owned()))
        });
        let system = image
            .read_if_exists("/usr/lib/os-release")?
            .and_then(|bytes| {
                let text = String::from_utf8(bytes).ok()?;
                let name = text
                    .lines()
                    .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
                Some(name.trim_matches('"').to_owned())
            });
        Ok(Self {
            format: image.format().extension().to_owned(),
            file_bytes,
            disk_bytes: image.source().size(),
            partitions: image.partitions().to_vec(),
            loaders: boot::loaders(image)?,
            kernel,
            system,
            root_uuid: image.root_uuid(),
            features: features::of(image)?,
            agent: image.read_if_exists(AGENT)?.map(|bytes| Agent::of(&bytes)),
            units: units::enabled(image)?,
            packages: packages::of(image)?,
        })
    }

    /// What keeps the image from booting everywhere and growing, one line each.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.loaders.bios {
            faults.push("no boot loader for BIOS".to_owned());
        }
        if !self.loaders.uefi {
            faults.push("no boot loader for UEFI".to_owned());
        }
        for feature in &self.features.not_allowed {
            faults.push(format!(
                "the root file system has the feature {feature}, which not every platform reads"
            ));
        }
        if self.kernel.is_none() {
            faults.push("the boot loader's configuration names no kernel".to_owned());
        }
        faults
    }
}

impl Agent {
    fn of(bytes: &[u8]) -> Self {
        let mark = firstboot::VERSION_MARK
            .split_once('=')
            .map_or("", |(name, _)| name);
        let found = memchr::memmem::find(bytes, format!("{mark}=").as_bytes());
        let version = found.and_then(|at| {
            let rest = &bytes[at + mark.len() + 1..];
            let end = rest.iter().position(|byte| *byte == b';')?;
            String::from_utf8(rest[..end].to_vec()).ok()
        });
        Self {
            version,
            size_bytes: bytes.len() as u64,
            sha256: sha256(bytes),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
        writeln!(f, "format      {}", self.format)?;
        writeln!(f, "file        {}", mebibytes(self.file_bytes))?;
        writeln!(f, "disk        {}", mebibytes(self.disk_bytes))?;
        for partition in &self.partitions {
            writeln!(
                f,
                "partition {} {:<5} at {}, {}",
                partition.number,
                partition.name,
                mebibytes(partition.start_bytes),
                mebibytes(partition.size_bytes)
            )?;
        }
        let present = |yes| if yes { "present" } else { "MISSING" };
        writeln!(f, "BIOS        boot loader {}", present(self.loaders.bios))?;
        writeln!(f, "UEFI        boot loader {}", present(self.loaders.uefi))?;
        writeln!(
            f,
            "kernel      {}",
            self.kernel.as_deref().unwrap_or("MISSING")
        )?;
        writeln!(
            f,
            "system      {}",
            self.system.as_deref().unwrap_or("unknown")
        )?;
        writeln!(f, "root        {}", self.root_uuid)?;
        writeln!(f, "features    {}", self.features.present.join(" "))?;
        if !self.features.not_allowed.is_empty() {
            writeln!(f, "NOT ALLOWED {}", self.features.not_allowed.join(" "))?;
        }
        match &self.agent {
            None => writeln!(f, "agent       MISSING")?,
            Some(agent) => writeln!(
                f,
                "agent       {}, {:.1} MiB, sha256 {}",
                agent.version.as_deref().unwrap_or("of unknown version"),
                agent.size_bytes as f64 / f64::from(1 << 20),
                agent.sha256
            )?,
        }
        writeln!(f, "units       {} enabled", self.units.len())?;
        self.units
            .iter()
            .try_for_each(|unit| writeln!(f, "  {unit}"))?;
        writeln!(f, "packages    {} installed", self.packages.len())?;
        for package in &self.packages {
            writeln!(f, "  {} {}", package.name, package.version)?;
        }
        Ok(())
    }
}
