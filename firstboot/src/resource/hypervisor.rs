//! Whether this machine's processor runs instances itself or a program has to emulate one.

use std::path::Path;

use anyhow::Result;

use crate::files;

const PROCESSORS: &str = "/proc/cpuinfo";
const DEVICE: &str = "/dev/kvm";

/// What runs the processors of instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hypervisor {
    /// The hardware.
    Kvm,
    /// QEMU's translator, and why.
    Emulated(String),
}

impl Hypervisor {
    /// What this machine has. Opening the device proves more than its file: the module makes it,
    /// and refuses where the firmware has turned virtualization off.
    pub fn of_machine() -> Result<Self> {
        let processors = files::read_if_exists(Path::new(PROCESSORS))?.unwrap_or_default();
        let device = std::fs::File::options().read(true).write(true).open(DEVICE);
        Ok(Self::decide(&processors, device.map(drop)))
    }

    /// Nova's word for it.
    pub fn virt_type(&self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Emulated(_) => "qemu",
        }
    }

    fn decide(processors: &str, device: std::io::Result<()>) -> Self {
        let flags = processors.lines().filter(|line| line.starts_with("flags"));
        let mut flags = flags.flat_map(str::split_whitespace);
        if !flags.any(|flag| matches!(flag, "vmx" | "svm")) {
            return Self::Emulated("the processor offers neither vmx nor svm".into());
        }
        match device {
            Ok(()) => Self::Kvm,
            Err(error) => Self::Emulated(format!("{DEVICE} cannot be opened: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    #[test]
    fn the_flag_and_the_device_decide_together() {
        let able = "processor\t: 0\nflags\t\t: fpu vme svm sse2\n";
        assert_eq!(Hypervisor::decide(able, Ok(())), Hypervisor::Kvm);
        let refused = Hypervisor::decide(able, Err(Error::from(ErrorKind::NotFound)));
        let reason = "/dev/kvm cannot be opened: entity not found";
        assert_eq!(refused, Hypervisor::Emulated(reason.into()));
        assert_eq!(refused.virt_type(), "qemu");
    }

    #[test]
    fn a_flag_is_a_whole_word_among_the_flags() {
        let reason = "the processor offers neither vmx nor svm";
        for text in [
            "",
            "flags : fpu svm_lock\n",
            "vmx flags : ept\nmodel name : vmx\n",
        ] {
            let found = Hypervisor::decide(text, Ok(()));
            assert_eq!(found, Hypervisor::Emulated(reason.into()), "{text}");
        }
    }
}
