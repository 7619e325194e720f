//! What boots an image: the BIOS boot code and what it points to, the UEFI loader, the kernel.

use anyhow::{Context, Result};
use fatfs::{FileSystem, FsOptions};
use serde::Serialize;

use super::Image;
use crate::disk::{SECTOR_BYTES, esp, grub};

/// Entries as the Boot Loader Specification has them.
const ENTRIES: &str = "/boot/loader/entries";

/// The boot loaders that are there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Loaders {
    /// The boot code points at the BIOS boot partition, and a `core.img` begins there that knows
    /// where its rest is.
    pub bios: bool,
    /// The EFI system partition holds the loader that firmware looks for.
    pub uefi: bool,
}

/// Looks for the boot loaders.
pub fn loaders(image: &Image) -> Result<Loaders> {
    Ok(Loaders {
        bios: bios(image).context("reading the BIOS boot code")?,
        uefi: uefi(image).context("reading the EFI system partition")?,
    })
}

fn bios(image: &Image) -> Result<bool> {
    let Some(partition) = image.partitions().iter().find(|p| p.kind == "bios") else {
        return Ok(false);
    };
    let mut boot = [0; 512];
    let mut core = [0; 512];
    image.source().read_at(0, &mut boot)?;
    image.source().read_at(partition.start_bytes, &mut core)?;
    Ok(grub::points_at(
        &boot,
        &core,
        partition.start_bytes / SECTOR_BYTES,
    ))
}

fn uefi(image: &Image) -> Result<bool> {
    let Some(window) = image.window("esp") else {
        return Ok(false);
    };
    let volume = FileSystem::new(window, FsOptions::new())?;
    let found = volume.root_dir().open_file(esp::LOADER).is_ok();
    Ok(found)
}

/// The kernel and initramfs that `grub.cfg` names, or else the last of the boot loader's entries.
pub fn kernel(image: &Image) -> Result<grub::Kernel> {
    let text = match image.read_if_exists(grub::CONFIGURATION)? {
        Some(text) => text,
        None => {
            let entries = image.list(ENTRIES)?;
            let last = entries.iter().rfind(|entry| entry.path.ends_with(".conf"));
            image.read(&last.with_context(|| format!("{ENTRIES} is empty"))?.path)?
        }
    };
    let text = String::from_utf8(text)?;
    let word = |command: &str| {
        let mut lines = text.lines().map(str::split_whitespace);
        lines.find_map(|mut words| (words.next() == Some(command)).then(|| words.next())?)
    };
    let missing = || format!("{} names no kernel", grub::CONFIGURATION);
    Ok(grub::Kernel {
        kernel: word("linux").with_context(missing)?.into(),
        initramfs: word("initrd").with_context(missing)?.into(),
    })
}
