//! How the processors of a lab are run: by KVM where a probe boot works ([`firstboot::kvm`]).
//!
//! The image's own kernel is booted once for each boot of this host, kernel and QEMU, and the
//! answer is kept in the cache.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use firstboot::cmd::Cmd;
use firstboot::files::{self, Ownership};
use firstboot::hash::hex;
use firstboot::kvm::{self, Finding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fault::Class;

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Choice {
    /// KVM if a probe boot works, else emulation.
    #[default]
    Auto,
    /// KVM, or an error that says why not.
    Kvm,
    /// Emulation.
    Tcg,
}

/// How a machine's processor is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// By the hardware.
    Kvm,
    /// By QEMU's translator: works everywhere, about twenty times slower.
    Tcg,
}

impl Accelerator {
    /// QEMU's arguments for it.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => kvm::ARGUMENTS,
            // The processor: QEMU does `rep movsb`, by which a guest copies where it sees `erms`, a
            // byte at a time, and AVX by calls. Linux trusts the time stamp counter of Intel's
            // alone where there are several (a read of the HPET is a call of a device), and the
            // Atom of 2008 needs no retpolines. All of it: memory is zeroed in half the time.
            //
            // QEMU 7.2 keeps translated code by its virtual address, so that each process would
            // have the same libraries translated anew: 50,000 blocks for one login by SSH, 14
            // with addresses that stay the same. And it forgets at each change of process where
            // translated code and memory are, which was every 4 ms where services load side by
            // side; with 40 ms they load in 0.9 of the time.
            // systemd-sysctl and systemd-tmpfiles read the credentials.
            Self::Tcg => &[
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max,-erms,-avx,-avx2,vendor=GenuineIntel,family=6,model=28,stepping=2",
                "-smbios",
                "type=11,value=io.systemd.credential:sysctl.extra=kernel.randomize_va_space=0,\
                 value=io.systemd.credential:tmpfiles.extra=\
                 w /sys/kernel/debug/sched/min_granularity_ns - - - - 40000000",
            ],
        }
    }

    /// How many times longer than with KVM a wait may take.
    pub fn patience(self) -> u32 {
        match self {
            Self::Kvm => 1,
            Self::Tcg => 6,
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// The accelerator for a choice, and a line about it when it is not what one would hope for.
///
/// # Errors
/// When KVM was demanded and does not work.
pub fn choose(
    choice: Choice,
    kernel: &[u8],
    cache: &Path,
) -> Result<(Accelerator, Option<String>)> {
    if choice == Choice::Tcg {
        return Ok((Accelerator::Tcg, None));
    }
    let finding = probe(kernel, cache)?;
    match (finding.works, choice) {
        (true, _) => Ok((Accelerator::Kvm, None)),
        (false, Choice::Kvm) => Err(Class::MissingOnHost.error(format!(
            "KVM does not work here: {}\nhint: `--accel tcg` emulates the processor, slowly",
            finding.reason
        ))),
        (false, _) => Ok((
            Accelerator::Tcg,
            Some(format!(
                "emulating the processor (TCG), slowly: {}",
                finding.reason
            )),
        )),
    }
}

/// Boots `kernel` under KVM, or repeats what it did when it was booted last.
pub fn probe(kernel: &[u8], cache: &Path) -> Result<Finding> {
    if let Err(reason) = kvm::device() {
        return Ok(Finding {
            works: false,
            reason,
        });
    }
    let path = cache.join("kvm").join(format!("{}.json", key(kernel)?));
    let known = files::read_if_exists(&path)?;
    if let Some(finding) = known.and_then(|text| serde_json::from_str(&text).ok()) {
        return Ok(finding);
    }
    let finding = boot(kernel)?;
    let text = serde_json::to_vec(&finding).context("writing what the KVM probe found")?;
    files::replace(&path, &text, Ownership::mode(0o644))?;
    Ok(finding)
}

/// Names this boot of this host, this kernel and this QEMU.
fn key(kernel: &[u8]) -> Result<String> {
    let boot = Path::new("/proc/sys/kernel/random/boot_id");
    let mut hash = Sha256::new();
    hash.update(files::read_if_exists(boot)?.unwrap_or_default());
    hash.update(Cmd::new(super::machine::QEMU).arg("--version").read()?);
    hash.update(kernel);
    Ok(hex(&hash.finalize()))
}

fn boot(kernel: &[u8]) -> Result<Finding> {
    let directory = tempfile::tempdir().context("making a directory for the KVM probe")?;
    let place = directory.path().join("kernel");
    files::replace(&place, kernel, Ownership::mode(0o600))?;
    kvm::boot(Path::new(super::machine::QEMU), &place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_emulation_probes_nothing() {
        let nowhere = Path::new("/proc/no-cache");
        let (accelerator, why) = choose(Choice::Tcg, b"", nowhere).unwrap();
        assert_eq!(accelerator, Accelerator::Tcg);
        assert_eq!(why, None);
    }
}
