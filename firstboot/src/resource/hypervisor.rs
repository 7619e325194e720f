//! Whether this machine's processor runs instances itself or a program has to emulate one.
//!
//! Found out once for each processor and kernel, by a probe boot ([`crate::kvm`]) where the
//! processor offers to virtualize. What was found is kept and decides from then on: neither a boot
//! under load nor a device that udev makes a moment later changes what instances run on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cmd::Cmd;
use crate::files::{self, Ownership};
use crate::hash::hex;
use crate::kvm::{self, Finding};
use crate::paths;
use crate::platform::Platform;

const PROCESSORS: &str = "/proc/cpuinfo";
/// udev itself gives up on a device after three minutes.
const SETTLED_SECONDS: &str = "180";

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
    /// What this machine has; `None` until that was found out.
    ///
    /// # Errors
    /// When what was found cannot be read.
    pub fn known() -> Result<Option<Self>> {
        Self::of_kept(Path::new(paths::HYPERVISOR), &subject()?)
    }

    /// Boots the kernel that runs here under KVM, and keeps what came of it.
    ///
    /// # Errors
    /// When udev or QEMU cannot be started, or the finding cannot be kept.
    pub fn probe(platform: &Platform) -> Result<()> {
        let processors = files::read_if_exists(Path::new(PROCESSORS))?.unwrap_or_default();
        let finding = match Self::unable(&processors, platform)? {
            Some(reason) => Finding {
                works: false,
                reason,
            },
            None => kvm::boot(platform.program("qemu")?, &kernel())?,
        };
        let kept = Kept {
            subject: subject()?,
            finding,
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

    /// Why nothing has to be tried, if it is so.
    fn unable(processors: &str, platform: &Platform) -> Result<Option<String>> {
        let flags = processors.lines().filter(|line| line.starts_with("flags"));
        let mut flags = flags.flat_map(str::split_whitespace);
        if !flags.any(|flag| matches!(flag, "vmx" | "svm")) {
            return Ok(Some("the processor offers neither vmx nor svm".into()));
        }
        // The device comes with a module, which udev may still be about to load.
        Cmd::new(platform.program("udevadm")?)
            .args(["settle", "--timeout", SETTLED_SECONDS])
            .any_status()?;
        Ok(kvm::device().err())
    }

    fn of_kept(path: &Path, subject: &str) -> Result<Option<Self>> {
        let Some(text) = files::read_if_exists(path)? else {
            return Ok(None);
        };
        let kept: Kept = serde_json::from_str(&text).with_context(|| {
            let path = path.display();
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
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str, subject: &str) -> Result<Option<Hypervisor>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hypervisor.json");
        files::replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
        Hypervisor::of_kept(&path, subject)
    }

    fn text(works: bool) -> String {
        format!(r#"{{"subject": "this", "finding": {{"works": {works}, "reason": "KVM hangs"}}}}"#)
    }

    #[test]
    fn what_a_probe_found_decides() {
        let found = |works| kept(&text(works), "this").unwrap().unwrap();
        assert_eq!(found(true), Hypervisor::Kvm);
        assert_eq!(found(false), Hypervisor::Emulated("KVM hangs".into()));
        assert_eq!(found(true).virt_type(), "kvm");
        assert_eq!(found(false).virt_type(), "qemu");
    }

    #[test]
    fn what_nobody_tried_is_not_known_whether_there_is_a_device_or_not() {
        let nothing = Path::new("/no/such/file");
        assert_eq!(Hypervisor::of_kept(nothing, "this").unwrap(), None);
        assert_eq!(kept(&text(true), "another kernel").unwrap(), None);
    }

    #[test]
    fn a_processor_that_offers_nothing_is_not_tried() {
        let platform = Platform::load("debian-12").unwrap();
        for processors in [
            "",
            "flags : fpu svm_lock\n",
            "vmx flags : ept\nmodel name : vmx\n",
        ] {
            let reason = Hypervisor::unable(processors, &platform).unwrap();
            let expected = "the processor offers neither vmx nor svm";
            assert_eq!(reason.as_deref(), Some(expected), "{processors}");
        }
    }

    #[test]
    fn a_damaged_finding_is_told_with_what_to_do() {
        let error = kept("{", "this").unwrap_err().to_string();
        assert!(
            error.ends_with("hypervisor.json\nhint: remove the file and run `firstboot apply`"),
            "{error}"
        );
    }
}
