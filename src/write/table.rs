//! The partitions of the written disk: those of the image, and the seed at the disk's end.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use gpt::partition::Partition;
use gpt::{GptConfig, partition_types};

use crate::disk::image::Tables;
use crate::disk::source::{Source, Window};
use crate::disk::{ALIGNMENT_BYTES, SECTOR_BYTES, derived_uuid};
use crate::fault::Class;

/// Room for the second partition table.
const TAIL_BYTES: u64 = ALIGNMENT_BYTES;
const NAME: &str = "cidata";

/// Where everything of the written disk is.
pub(super) struct Layout {
    /// Where the image's content ends.
    pub(super) content_end: u64,
    /// Where the seed begins. The root grows up to there.
    pub(super) seed_start: u64,
    /// The first partition table, with the boot code before it.
    pub(super) primary: Vec<u8>,
    /// The second.
    pub(super) backup: Vec<u8>,
    /// Where that begins.
    pub(super) backup_start: u64,
}

impl Layout {
    /// The layout of this image and a seed of so many bytes on a disk of this size.
    ///
    /// # Errors
    /// Of class [`Class::BadInput`] when the disk is too small.
    pub(super) fn of(source: &Arc<dyn Source>, seed_bytes: u64, size: u64) -> Result<Self> {
        let device = Window::whole(Arc::clone(source));
        let table = GptConfig::new().writable(false).open_from_device(device);
        let table = table.context("reading the image's partition table")?;
        let mut partitions: BTreeMap<u32, Partition> = table.partitions().clone();
        let last = partitions.values().map(|it| it.last_lba).max();
        let last = last.context("the image has no partitions")?;
        let content_end = ((last + 1) * SECTOR_BYTES).next_multiple_of(ALIGNMENT_BYTES);
        let seed_length = seed_bytes.next_multiple_of(ALIGNMENT_BYTES);
        let needed = content_end + seed_length + TAIL_BYTES;
        ensure!(
            size >= needed,
            Class::BadInput.error(format!(
                "the disk has {} MiB, image and seed need {} MiB\nhint: take a larger disk",
                size >> 20,
                needed.div_ceil(1 << 20)
            ))
        );
        let sectors = size / SECTOR_BYTES;
        let seed_start = (size - TAIL_BYTES - seed_length) / ALIGNMENT_BYTES * ALIGNMENT_BYTES;
        let guid = *table.guid();
        let number = partitions.keys().max().copied().unwrap_or_default() + 1;
        partitions.insert(
            number,
            Partition {
                part_type_guid: partition_types::BASIC,
                part_guid: derived_uuid(&[&guid.to_string(), NAME]),
                first_lba: seed_start / SECTOR_BYTES,
                last_lba: (seed_start + seed_length) / SECTOR_BYTES - 1,
                flags: 0,
                name: NAME.to_owned(),
            },
        );
        let mut boot_code = [0; 440];
        source.read_at(0, &mut boot_code)?;
        let tables = Tables::of(sectors * SECTOR_BYTES, guid, boot_code, partitions)?;
        Ok(Self {
            content_end,
            seed_start,
            backup_start: sectors * SECTOR_BYTES - tables.backup.len() as u64,
            primary: tables.primary,
            backup: tables.backup,
        })
    }
}
