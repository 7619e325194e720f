//! The programs of this host that a build runs, and the Debian packages that have them.

use std::path::PathBuf;

use anyhow::Result;

use crate::fault::Class;
use crate::lab::machine::OVMF;
use crate::media::LOADER;

/// A program (or a file, by its whole path) and the package that has it.
pub type Program = (&'static str, &'static str);

/// What a build runs.
pub const BUILD: &[Program] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("unshare", "util-linux"),
    ("tar", "tar"),
    ("cp", "coreutils"),
    ("mke2fs", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("newuidmap", "uidmap"),
];

/// What fetches an installer and runs it.
pub const INSTALL: &[Program] = &[
    ("curl", "curl"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    (OVMF[0], "ovmf"),
];

/// What fetches an installer and puts it onto a medium.
pub const MEDIUM: &[Program] = &[("curl", "curl"), (LOADER, "systemd-boot-efi")];

/// What the lab runs besides.
pub const LAB: &[Program] = &[
    ("qemu-img", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("vde_switch", "vde-switch"),
    ("ssh", "openssh-client"),
];

const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program in `PATH` or where Debian keeps those of the system.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path);
    let system = SYSTEM_DIRECTORIES.iter().map(Into::into);
    own.chain(system)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// True if this host has the program.
pub fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Refuses to go on without these programs; the error names all that are missing.
pub fn require(programs: &[Program]) -> Result<()> {
    let missing: Vec<_> = programs.iter().filter(|(name, _)| !has(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    Err(Class::MissingOnHost.error(format!(
        "this host lacks {}\nhint: apt-get install {}",
        names.join(", "),
        packages.join(" ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        require(&[("sh", "dash")]).unwrap();
        let wanted = [("sh", "dash"), ("no-such-a", "pa"), ("no-such-b", "pa")];
        assert_eq!(
            require(&wanted).unwrap_err().to_string(),
            "this host lacks no-such-a, no-such-b\nhint: apt-get install pa"
        );
    }
}
