//! The disk that is written to: there, nobody's, and of a kind that the image can be on.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;

use crate::disk::SECTOR_BYTES;
use crate::fault::Class;

const MOUNTS: &str = "/proc/self/mountinfo";
const SWAPS: &str = "/proc/swaps";
const BLOCKS: &str = "/sys/dev/block";

/// A disk, open for this program alone.
#[derive(Debug)]
pub struct Target {
    /// Its path.
    pub path: PathBuf,
    /// The disk itself.
    pub device: File,
    /// Its size in bytes.
    pub size: u64,
    /// What people know it by: its maker's name for it, where there is one.
    pub model: Option<String>,
    /// What is on it now: the names of its partitions.
    pub partitions: Vec<String>,
}

impl Target {
    /// Opens the disk; a file takes the place of one, as machines that are emulated have it.
    ///
    /// # Errors
    /// Of class [`Class::BadInput`] when it is not there, in use, no whole disk, or has sectors of
    /// another size than the image.
    pub fn open(path: &Path) -> Result<Self> {
        let refuse = |why: String, hint: &str| {
            Class::BadInput.error(format!("{}: {why}\nhint: {hint}", path.display()))
        };
        let metadata = fs::metadata(path)
            .map_err(|error| refuse(error.to_string(), "`lsblk` lists the disks of this host"))?;
        let kind = metadata.file_type();
        if !kind.is_block_device() && !kind.is_file() {
            return Err(refuse(
                "it is no disk".to_owned(),
                "`lsblk` lists the disks of this host",
            ));
        }
        let mut found = Self {
            path: path.to_owned(),
            device: open(path, kind.is_block_device())?,
            size: 0,
            model: None,
            partitions: Vec::new(),
        };
        if kind.is_block_device() {
            found.look(metadata.rdev(), &refuse)?;
        }
        let end = found.device.seek(SeekFrom::End(0));
        found.size = end.with_context(|| format!("asking for the size of {}", path.display()))?;
        Ok(found)
    }

    fn look(&mut self, number: u64, refuse: &dyn Fn(String, &str) -> anyhow::Error) -> Result<()> {
        let sector = rustix::fs::ioctl_blksszget(&self.device);
        let sector = sector.context("asking for the size of a sector")?;
        if u64::from(sector) != SECTOR_BYTES {
            return Err(refuse(
                format!("its sectors have {sector} bytes, the image is made for {SECTOR_BYTES}"),
                "take a disk with sectors of 512 bytes, or set it to these (`nvme format`, \
                 `hdparm --set-sector-size`)",
            ));
        }
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let block = Path::new(BLOCKS).join(format!("{major}:{minor}"));
        if block.join("partition").exists() {
            return Err(refuse(
                "it is a partition".to_owned(),
                "name the whole disk: the image has partitions of its own",
            ));
        }
        let model = fs::read_to_string(block.join("device/model")).unwrap_or_default();
        self.model = Some(model.trim().to_owned()).filter(|model| !model.is_empty());
        let entries =
            fs::read_dir(&block).with_context(|| format!("reading {}", block.display()))?;
        for entry in entries.flatten() {
            if entry.path().join("partition").exists() {
                self.partitions
                    .push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        self.partitions.sort();
        Ok(())
    }
}

/// Opened for itself alone, a disk that is mounted, swapped to or part of another is refused by the
/// kernel, its partitions included.
fn open(path: &Path, is_disk: bool) -> Result<File> {
    let alone = if is_disk {
        OFlags::EXCL
    } else {
        OFlags::empty()
    };
    let opened = File::options()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(alone.bits())?)
        .open(path);
    let error = match opened {
        Ok(file) => return Ok(file),
        Err(error) => error,
    };
    if error.kind() != std::io::ErrorKind::ResourceBusy {
        return Err(error).with_context(|| format!("opening {}", path.display()));
    }
    let name = path.to_string_lossy();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let users = users(&name, &read(MOUNTS), &read(SWAPS));
    let what = match users.as_slice() {
        [] => "something on this host".to_owned(),
        some => some.join(", "),
    };
    bail!(Class::BadInput.error(format!(
        "{name} is in use: {what}\n\
         hint: unmount what is on it (`umount`, `swapoff`, `vgchange --activate n`), or take another \
         disk"
    )))
}

/// What uses the disk or a partition of it, from the kernel's tables of mounts and of swap.
fn users(disk: &str, mounts: &str, swaps: &str) -> Vec<String> {
    let is_of_it = |device: &str| {
        let rest = device.strip_prefix(disk);
        rest.is_some_and(|rest| {
            let number = rest.strip_prefix('p').unwrap_or(rest);
            number.chars().all(|digit| digit.is_ascii_digit())
        })
    };
    let mounted = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let device = after.split(' ').nth(1)?;
        let place = before.split(' ').nth(4)?;
        is_of_it(device).then(|| format!("{device} is mounted on {place}"))
    });
    let swapped = swaps.lines().filter_map(|line| {
        let device = line.split_whitespace().next()?;
        is_of_it(device).then(|| format!("{device} is swapped to"))
    });
    mounted.chain(swapped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_uses_a_disk_is_named() {
        let mounts = "22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw\n\
                      30 22 8:17 / /mnt rw - vfat /dev/sdaa1 rw\n\
                      31 22 259:1 / /boot/efi rw shared:2 - vfat /dev/nvme0n1p1 rw\n";
        let swaps = "Filename\t\t\tType\t\tSize\n/dev/sda3   partition\t1\n";
        assert_eq!(
            users("/dev/sda", mounts, swaps),
            ["/dev/sda2 is mounted on /", "/dev/sda3 is swapped to"]
        );
        assert_eq!(
            users("/dev/nvme0n1", mounts, swaps),
            ["/dev/nvme0n1p1 is mounted on /boot/efi"]
        );
        assert_eq!(users("/dev/sdb", mounts, swaps), [""; 0]);
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        for (path, why) in [
            (
                "/dev/null",
                "/dev/null: it is no disk\nhint: `lsblk` lists the disks of this host",
            ),
            (
                "/dev/no-such-disk",
                "/dev/no-such-disk: No such file or directory (os error 2)\n\
                 hint: `lsblk` lists the disks of this host",
            ),
        ] {
            let error = Target::open(Path::new(path)).unwrap_err();
            assert_eq!(error.to_string(), why);
            assert_eq!(Class::of(&error), Class::BadInput);
        }
    }
}
