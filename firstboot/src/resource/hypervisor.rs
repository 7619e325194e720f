//! Whether this machine's processor runs instances itself or a program has to emulate one.
//!
//! Known without trying where there is no `/dev/kvm`. Where there is one, a probe boot decides
//! ([`crate::kvm`]), once for each processor and kernel: what it found is kept, so that a later boot
//! under load does not change what instances run on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::{self, Ownership};
use crate::kvm::{self, Finding};
use crate::paths;
use crate::platform::Platform;

const PROCESSORS: &str = "/proc/cpuinfo";

/// What runs the processors of instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hypervisor {
    /// The hardware.
    Kvm,
    /// QEMU's translator, and why.
    Emulated(String),
}

/// The file of what was found.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The processor and the kernel that were probed, as [`subject`] names them.
    subject: String,
    finding: Finding,
}

impl Hypervisor {
    /// What this machine has; `None` until a probe boot has told.
    ///
    /// # Errors
    /// When what was found cannot be read.
    pub fn known() -> Result<Option<Self>> {
        if let Err(reason) = kvm::device() {
            return Ok(Some(Self::Emulated(reason)));
        }
        let Some(text) = files::read_if_exists(Path::new(paths::HYPERVISOR))? else {
            return Ok(None);
        };
        Self::of_kept(&text, &subject()?)
    }

    /// Boots the kernel that runs here under KVM, and keeps what came of it.
    ///
    /// # Errors
    /// When QEMU cannot be started, or the finding cannot be kept.
    pub fn probe(platform: &Platform) -> Result<()> {
        let kept = Kept {
            subject: subject()?,
            finding: kvm::boot(platform.program("qemu")?, &kernel())?,
        };
        let text = serde_json::to_vec_pretty(&kept).context("writing JSON")?;
        files::replace(Path::new(paths::HYPERVISOR), &text, Ownership::mode(0o644))
    }

    /// Nova's word for it.
    pub fn virt_type(&self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Emulated(_) => "qemu",
        }
    }

    fn of_kept(text: &str, subject: &str) -> Result<Option<Self>> {
        let kept: Kept = serde_json::from_str(text).with_context(|| {
            let path = paths::HYPERVISOR;
            format!("reading {path}\nhint: remove the file and run `firstboot apply`")
        })?;
        if kept.subject != subject {
            return Ok(None);
        }
        Ok(Some(match kept.finding.works {
            true => Self::Kvm,
            false => Self::Emulated(kept.finding.reason),
        }))
    }
}

/// The kernel that runs here, where both families of distributions keep it.
fn kernel() -> PathBuf {
    Path::new("/boot").join(format!("vmlinuz-{}", release()))
}

fn release() -> String {
    let system = rustix::system::uname();
    system.release().to_string_lossy().into_owned()
}

/// Names this kernel and this processor: its model and what it can do, not how fast it is now.
fn subject() -> Result<String> {
    let processors = files::read_if_exists(Path::new(PROCESSORS))?.unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(release());
    for key in ["model name", "flags"] {
        let line = processors.lines().find(|line| line.starts_with(key));
        hash.update(line.unwrap_or_default());
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(works: bool) -> String {
        format!(r#"{{"subject": "this", "finding": {{"works": {works}, "reason": "KVM hangs"}}}}"#)
    }

    #[test]
    fn what_a_probe_found_decides() {
        let found = |works| Hypervisor::of_kept(&kept(works), "this").unwrap().unwrap();
        assert_eq!(found(true), Hypervisor::Kvm);
        assert_eq!(found(false), Hypervisor::Emulated("KVM hangs".into()));
        assert_eq!(found(true).virt_type(), "kvm");
        assert_eq!(found(false).virt_type(), "qemu");
    }

    #[test]
    fn another_processor_or_kernel_is_probed_again() {
        assert_eq!(Hypervisor::of_kept(&kept(true), "other").unwrap(), None);
    }

    #[test]
    fn a_damaged_finding_is_told_with_what_to_do() {
        let error = Hypervisor::of_kept("{", "this").unwrap_err().to_string();
        assert_eq!(
            error,
            "reading /var/lib/cellboot/hypervisor.json\n\
             hint: remove the file and run `firstboot apply`"
        );
    }
}
