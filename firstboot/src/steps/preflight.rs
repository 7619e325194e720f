//! Whether this machine can become the node at all, asked before anything is changed.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::config::Role;
use crate::files;
use crate::resource::network;
use crate::step::{Check, Context, Step};
use crate::wait::Probe;

const GIB: u64 = 1024 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;

/// What a role needs of its machine.
struct Needs {
    /// Size of the root file system.
    root_gib: u64,
    /// A disk that is surely enough, for the hint.
    disk_gib: u64,
    /// Memory that the kernel can use, which is a little less than the machine has.
    memory_mib: u64,
    /// Memory that is surely enough, for the hint.
    machine_gib: u64,
}

const fn needs(role: Role) -> Needs {
    match role {
        Role::Controller => Needs {
            root_gib: 8,
            disk_gib: 10,
            memory_mib: 3584,
            machine_gib: 4,
        },
        Role::Compute => Needs {
            root_gib: 6,
            disk_gib: 10,
            memory_mib: 1536,
            machine_gib: 2,
        },
    }
}

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step::new(
            "base/preflight",
            "disk, memory and interfaces are what the role needs",
        )
        .hint("give the machine what it lacks and power on again")
        .check(|context| {
            let role = context.config.role;
            root_is_large_enough(role, root_file_system()?)?;
            memory_is_enough(role, memory()?)?;
            interfaces(context)?;
            Ok(Check::Done)
        }),
    ]
}

fn root_is_large_enough(role: Role, bytes: u64) -> Result<()> {
    let needs = needs(role);
    if bytes >= needs.root_gib * GIB {
        return Ok(());
    }
    bail!(
        "the root file system has {}, a {role} needs {} GiB\n\
         hint: grow the disk to at least {} GiB and power on again",
        gib(bytes),
        needs.root_gib,
        needs.disk_gib
    )
}

fn memory_is_enough(role: Role, bytes: u64) -> Result<()> {
    let needs = needs(role);
    if bytes >= needs.memory_mib * MIB {
        return Ok(());
    }
    bail!(
        "the machine has {} of memory, a {role} needs {}\n\
         hint: give the machine at least {} GiB and power on again",
        gib(bytes),
        gib(needs.memory_mib * MIB),
        needs.machine_gib
    )
}

fn interfaces(context: &Context) -> Result<()> {
    let management = &context.config.management;
    network::find_interface(&management.interface).context("finding the management interface")?;
    if let Some(provider) = &context.config.provider {
        network::find_interface(&provider.interface).context("finding the provider interface")?;
    }
    let address = management.address.addr();
    let what = format!("the management address {address}");
    context.wait(&what, Duration::from_secs(120), || Ok(configured(address)))
}

/// Binding tells whether the kernel has an address, whoever gave it.
fn configured(address: Ipv4Addr) -> Probe<()> {
    match TcpListener::bind((address, 0)) {
        Ok(_) => Probe::Ready(()),
        Err(error) => Probe::NotYet(error.to_string()),
    }
}

fn root_file_system() -> Result<u64> {
    let state = rustix::fs::statvfs("/").context("looking at the root file system")?;
    Ok(state.f_blocks * state.f_frsize)
}

fn memory() -> Result<u64> {
    let text = files::read_if_exists(Path::new("/proc/meminfo"))?.unwrap_or_default();
    memory_total(&text).context("finding MemTotal in /proc/meminfo")
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// One decimal place, rounded down: a disk that is too small must not look large enough.
fn gib(bytes: u64) -> String {
    format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_small_is_told_in_numbers() {
        let error = root_is_large_enough(Role::Controller, 4 * GIB - 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the root file system has 3.9 GiB, a controller needs 8 GiB\n\
             hint: grow the disk to at least 10 GiB and power on again"
        );
        root_is_large_enough(Role::Controller, 8 * GIB).unwrap();
    }

    #[test]
    fn memory_that_is_too_small_is_told_in_numbers() {
        let error = memory_is_enough(Role::Controller, 2 * GIB).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the machine has 2.0 GiB of memory, a controller needs 3.5 GiB\n\
             hint: give the machine at least 4 GiB and power on again"
        );
    }

    #[test]
    fn the_kernel_counts_memory_in_kib() {
        let text = "MemTotal:        6084180 kB\nMemFree: 1 kB\n";
        assert_eq!(memory_total(text), Some(6_084_180 * 1024));
        assert_eq!(memory_total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn loopback_is_always_configured() {
        assert!(matches!(configured(Ipv4Addr::LOCALHOST), Probe::Ready(())));
    }
}
