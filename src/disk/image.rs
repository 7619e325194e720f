//! The disk: partition table, boot loaders, EFI system partition and root, as pieces that an
//! exporter reads. No raw file of it is ever made unless somebody asks for one.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::{GptConfig, partition_types};
use uuid::Uuid;

use super::grub::{self, BootFiles};
use super::source::{RawFile, Source};
use super::{ALIGNMENT_BYTES, SECTOR_BYTES, derived_uuid, esp};

/// Where the partitions are. The root is last, so that it can grow into a larger disk.
const BIOS_START: u64 = ALIGNMENT_BYTES;
const BIOS_BYTES: u64 = ALIGNMENT_BYTES;
const ESP_START: u64 = BIOS_START + BIOS_BYTES;
const ROOT_START: u64 = ESP_START + esp::SIZE_BYTES;
/// What the two partition tables take: 34 sectors at the start, 33 at the end.
const TABLE_BYTES: usize = 34 * 512;

/// A disk that boots under BIOS and UEFI.
pub struct Disk {
    size: u64,
    /// Sorted by offset, without overlaps; between them there are zeros.
    pieces: Vec<Piece>,
}

struct Piece {
    offset: u64,
    content: Box<dyn Source>,
}

/// Bytes in memory.
struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn data(&self) -> Result<Vec<Range<u64>>> {
        Ok(std::iter::once(0..self.size()).collect())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset)?;
        let bytes = self.0.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.context("reading past the end")?);
        Ok(())
    }
}

impl Disk {
    /// A disk of this size around a root file system. Its identifiers follow from `root_uuid`,
    /// which must be the UUID of that file system: equal inputs, equal disks.
    ///
    /// The partition table ends with the content and says nothing of the size: firmware and kernel
    /// take no table that reaches past the end of a disk, but a larger disk is nothing to them.
    /// So the image may be copied to any disk that has room for its content. On the node,
    /// systemd-repart moves the second table to the end.
    ///
    /// # Errors
    /// When the root file system does not fit.
    pub fn new(root: &Path, root_uuid: Uuid, boot: &BootFiles, size_gib: u64) -> Result<Self> {
        let size = size_gib << 30;
        let root = RawFile::open(root)?;
        let root_bytes = root.size().next_multiple_of(ALIGNMENT_BYTES);
        let needed = ROOT_START + root_bytes + ALIGNMENT_BYTES;
        ensure!(
            needed <= size,
            "the disk is {size_gib} GiB, its content needs {:.1} GiB\n\
             hint: set a larger disk_size_gib under [image] in site.toml",
            needed as f64 / f64::from(1 << 30)
        );
        let core_sector = BIOS_START / SECTOR_BYTES;
        let core = grub::core(&boot.core_img, core_sector)?;
        ensure!(
            core.len() as u64 <= BIOS_BYTES,
            "core.img does not fit into its partition"
        );
        let seed = root_uuid.to_string();
        let volume_id = derived_uuid(&[&seed, "esp volume"]).as_fields().0;
        let code = grub::boot_code(&boot.boot_img, core_sector)?;
        let tables =
            Tables::new(needed, root_bytes, &seed, code).context("making the partitions")?;
        let last = needed - tables.backup.len() as u64;
        let piece = |offset, bytes| Piece {
            offset,
            content: Box::new(Bytes(bytes)),
        };
        let pieces = vec![
            piece(0, tables.primary),
            piece(BIOS_START, core),
            piece(ESP_START, esp::make(&boot.efi, volume_id)?),
            Piece {
                offset: ROOT_START,
                content: Box::new(root),
            },
            piece(last, tables.backup),
        ];
        Ok(Self { size, pieces })
    }
}

impl Source for Disk {
    fn size(&self) -> u64 {
        self.size
    }

    fn data(&self) -> Result<Vec<Range<u64>>> {
        let mut ranges = Vec::new();
        for piece in &self.pieces {
            let found = piece.content.data()?.into_iter();
            ranges.extend(found.map(|r| r.start + piece.offset..r.end + piece.offset));
        }
        Ok(ranges)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset + buffer.len() as u64;
        ensure!(
            end <= self.size,
            "reading past the end of a disk of {} bytes",
            self.size
        );
        buffer.fill(0);
        for piece in &self.pieces {
            let start = offset.max(piece.offset);
            let stop = end.min(piece.offset + piece.content.size());
            if start < stop {
                let part = usize::try_from(start - offset)?..usize::try_from(stop - offset)?;
                let inside = start - piece.offset;
                piece.content.read_at(inside, &mut buffer[part])?;
            }
        }
        Ok(())
    }
}

/// Both partition tables, the first with the protective MBR and its boot code.
pub(crate) struct Tables {
    pub(crate) primary: Vec<u8>,
    pub(crate) backup: Vec<u8>,
}

impl Tables {
    /// Tables of an image of this size.
    fn new(size: u64, root_bytes: u64, seed: &str, boot_code: [u8; 440]) -> Result<Self> {
        let partitions = BTreeMap::from([
            (
                1,
                partition("bios", partition_types::BIOS, seed, BIOS_START, BIOS_BYTES),
            ),
            (
                2,
                partition(
                    "esp",
                    partition_types::EFI,
                    seed,
                    ESP_START,
                    esp::SIZE_BYTES,
                ),
            ),
            (
                3,
                partition(
                    "root",
                    partition_types::LINUX_ROOT_X64,
                    seed,
                    ROOT_START,
                    root_bytes,
                ),
            ),
        ]);
        let guid = derived_uuid(&[seed, "disk"]);
        Self::of(size, guid, boot_code, partitions)
    }

    /// Tables of a disk of this size with these partitions.
    pub(crate) fn of(
        size: u64,
        guid: Uuid,
        boot_code: [u8; 440],
        partitions: BTreeMap<u32, Partition>,
    ) -> Result<Self> {
        // The crate writes to a device of that size: an empty file that has holes only.
        let mut device = tempfile::tempfile()?;
        device.set_len(size)?;
        let sectors = u32::try_from(size / SECTOR_BYTES - 1).unwrap_or(u32::MAX);
        let mut mbr = ProtectiveMBR::with_lb_size(sectors);
        mbr.set_bootcode(boot_code);
        mbr.overwrite_lba0(&mut device)?;
        let config = GptConfig::new().writable(true);
        let mut table = config.create_from_device(device, Some(guid))?;
        table.update_partitions(partitions)?;
        let mut device = table.write()?;
        let mut primary = vec![0; TABLE_BYTES];
        device.seek(SeekFrom::Start(0))?;
        device.read_exact(&mut primary)?;
        let mut backup = vec![0; TABLE_BYTES - 512];
        device.seek(SeekFrom::Start(size - backup.len() as u64))?;
        device.read_exact(&mut backup)?;
        Ok(Self { primary, backup })
    }
}

fn partition(
    name: &str,
    kind: partition_types::Type,
    seed: &str,
    start: u64,
    length: u64,
) -> Partition {
    Partition {
        part_type_guid: kind,
        part_guid: derived_uuid(&[seed, name]),
        first_lba: start / SECTOR_BYTES,
        last_lba: (start + length) / SECTOR_BYTES - 1,
        flags: 0,
        name: name.to_owned(),
    }
}
