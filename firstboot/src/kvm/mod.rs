//! Whether KVM runs a kernel here, found out by running one.
//!
//! A `/dev/kvm` that opens and creates machines proves nothing: there are hosts on which every
//! stock kernel hangs or aborts QEMU, and processors that claim to virtualize and are themselves
//! emulated. A kernel is booted, because a virtual processor that runs a boot sector may still hang
//! a real kernel. The builder asks this about the host of a lab, the agent about a compute.

mod userspace;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cmd::{Cmd, Failed};
use crate::files::{self, Ownership};

/// QEMU's arguments for KVM: as much of the processor as there is.
pub const ARGUMENTS: &[&str] = &["-accel", "kvm", "-cpu", "host"];

const DEVICE: &str = "/dev/kvm";
/// How long a kernel may take from power-on to user space before KVM counts as not working.
/// With KVM it is less than a second; an emulated kernel would need about as long as this.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a probe boot found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// True if the kernel reached user space.
    pub works: bool,
    /// In one line, what was seen.
    pub reason: String,
}

/// Whether `/dev/kvm` can be opened; an inner error says why not, in one line. The module makes the
/// device, and refuses where the firmware has turned virtualization off.
pub fn device() -> std::result::Result<(), String> {
    let opened = std::fs::File::options().read(true).write(true).open(DEVICE);
    opened
        .map(drop)
        .map_err(|error| format!("{DEVICE} cannot be opened: {error}"))
}

/// Boots a kernel with this QEMU under KVM, for some seconds at most.
///
/// # Errors
/// When QEMU cannot be started; one that ends badly is a finding.
pub fn boot(qemu: &Path, kernel: &Path) -> Result<Finding> {
    let directory = tempfile::tempdir().context("making a directory for the KVM probe")?;
    let initramfs = directory.path().join("initramfs");
    let content = userspace::initramfs();
    files::replace(&initramfs, &content, Ownership::mode(0o600))?;
    let started = Instant::now();
    let machine = Cmd::new(qemu)
        .args(["-machine", "q35", "-m", "512", "-nodefaults"])
        .args(["-display", "none", "-no-reboot", "-serial", "stdio"])
        .args(ARGUMENTS.iter().copied())
        .args(["-append", "console=ttyS0 panic=-1 quiet", "-kernel"])
        .path(kernel)
        .arg("-initrd")
        .path(&initramfs)
        .deadline(DEADLINE);
    let (works, reason) = match machine.any_status() {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains(userspace::MARKER) => {
            let seconds = started.elapsed().as_secs_f64();
            (true, format!("a probe boot took {seconds:.1} s"))
        }
        Ok(output) => {
            let noise = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = noise.lines().next().unwrap_or("no message").to_owned();
            (false, format!("KVM ended a probe boot: {last}"))
        }
        Err(error) if error.downcast_ref::<Failed>().is_some() => {
            let seconds = DEADLINE.as_secs();
            let text = format!("KVM let a probe boot hang (nothing in {seconds} s)");
            (false, text)
        }
        Err(error) => return Err(error),
    };
    Ok(Finding { works, reason })
}
