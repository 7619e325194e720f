//! A medium that installs a machine by itself: the installer of a tree, a kickstart, overlay, agent and
//! the machine's seed, on a disk that UEFI firmware boots.
//!
//! ```text
//! systemd-boot ─▶ kernel, initrd ─▶ second stage ─▶ ks.cfg (the one disk, the seed) ─▶ power off
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use gpt::partition::Partition;
use gpt::partition_types;

use crate::disk::image::Tables;
use crate::disk::{ALIGNMENT_BYTES, SECTOR_BYTES, derived_uuid};
use crate::installer::machine::append;
use crate::installer::volume::{self, Item, KICKSTART, OVERLAY, OVERLAY_SUM, STAGE2_PATH};
use crate::kickstart;
use crate::mirror::Installer;
use crate::whole;

/// The boot loader of a medium.
pub const LOADER: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";
/// The seed on the medium.
const SEED: &str = "seed.img";

/// What a medium carries.
pub struct Medium<'a> {
    /// The installer, from the cache.
    pub installer: &'a Installer,
    /// What it is told.
    pub kickstart: &'a str,
    /// What it lays down, as [`crate::overlay::Files::archive`] has it.
    pub overlay: &'a [u8],
    /// The seed of the machine, if it is for just one.
    pub seed: Option<&'a [u8]>,
}

impl Medium<'_> {
    /// Writes the medium as a raw disk; under its name it is whole, and closed to others if it has a
    /// seed.
    ///
    /// # Errors
    /// When something cannot be read or written.
    pub fn write(&self, output: &Path) -> Result<()> {
        let mode = if self.seed.is_some() { 0o600 } else { 0o644 };
        let directory = output.parent().filter(|it| !it.as_os_str().is_empty());
        let work = tempfile::tempdir_in(directory.unwrap_or(Path::new(".")));
        let work = work.with_context(|| format!("making room for {}", output.display()))?;
        let system = work.path().join("system");
        self.file_system(&system)?;
        let mut content = File::open(&system).context("reading the medium's file system")?;
        let length = content.metadata()?.len();
        let size = length + 2 * ALIGNMENT_BYTES;
        let tables = tables(size, length)?;
        whole::write(output, mode, |mut disk| {
            disk.set_len(size)?;
            disk.write_all_at(&tables.primary, 0)?;
            disk.write_all_at(&tables.backup, size - tables.backup.len() as u64)?;
            disk.seek(SeekFrom::Start(ALIGNMENT_BYTES))?;
            std::io::copy(&mut content, &mut disk)?;
            Ok(())
        })
    }

    /// The one file system of a medium.
    fn file_system(&self, place: &Path) -> Result<()> {
        let open = |path: &Path| -> Result<(File, u64)> {
            let context = || format!("reading {}", path.display());
            let file = File::open(path).with_context(context)?;
            let length = file.metadata().with_context(context)?.len();
            Ok((file, length))
        };
        let (mut kernel, mut size) = open(&self.installer.kernel)?;
        let (mut initrd, length) = open(&self.installer.initrd)?;
        size += length;
        let (mut stage2, length) = open(&self.installer.stage2)?;
        size += length;
        let (mut loader, length) = open(Path::new(LOADER))?;
        size += length;
        let menu = "timeout 3\ndefault install\neditor no\n";
        let entry = format!(
            "title Install: everything on the disk of this machine is lost\nlinux /vmlinuz\n\
             initrd /initrd.img\noptions {} console=tty0\n",
            append(kickstart::VOLUME)
        );
        let sum = volume::overlay_sum(self.overlay);
        let seed = self.seed.unwrap_or_default();
        size += (self.kickstart.len() + self.overlay.len() + seed.len()) as u64;
        let mut items: Vec<(&str, Box<dyn Read + '_>)> = vec![
            ("EFI/BOOT/BOOTX64.EFI", Box::new(&mut loader)),
            ("loader/loader.conf", Box::new(menu.as_bytes())),
            ("loader/entries/install.conf", Box::new(entry.as_bytes())),
            ("vmlinuz", Box::new(&mut kernel)),
            ("initrd.img", Box::new(&mut initrd)),
            (STAGE2_PATH, Box::new(&mut stage2)),
            (KICKSTART, Box::new(self.kickstart.as_bytes())),
            (OVERLAY, Box::new(self.overlay)),
            (OVERLAY_SUM, Box::new(sum.as_bytes())),
        ];
        if self.seed.is_some() {
            items.push((SEED, Box::new(seed)));
        }
        let items = items.iter_mut().map(|(name, content)| {
            let item: Item<'_> = (name, content);
            item
        });
        volume::write(place, kickstart::VOLUME, size, items)
    }
}

fn tables(size: u64, length: u64) -> Result<Tables> {
    let guid = derived_uuid(&["medium"]);
    let partition = Partition {
        part_type_guid: partition_types::EFI,
        part_guid: derived_uuid(&["medium", "system"]),
        first_lba: ALIGNMENT_BYTES / SECTOR_BYTES,
        last_lba: (ALIGNMENT_BYTES + length) / SECTOR_BYTES - 1,
        flags: 0,
        name: "cellboot".to_owned(),
    };
    Tables::of(size, guid, [0; 440], BTreeMap::from([(1, partition)]))
}
