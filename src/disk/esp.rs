//! The EFI system partition: a FAT32 volume that holds one file, the boot loader.

use std::io::{Cursor, Write};

use anyhow::{Context, Result};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

/// Its size. Clusters of one sector and this many of them make it FAT32, the one kind that every
/// firmware reads from a hard disk.
pub const SIZE_BYTES: u64 = 64 << 20;
/// Where firmware looks on a disk that it has no boot entry for.
pub const LOADER: &str = "EFI/BOOT/BOOTX64.EFI";

/// The bytes of the volume.
pub fn make(loader: &[u8], volume_id: u32) -> Result<Vec<u8>> {
    format(loader, volume_id).context("making the EFI system partition")
}

fn format(loader: &[u8], volume_id: u32) -> Result<Vec<u8>> {
    let mut volume = Cursor::new(vec![0; usize::try_from(SIZE_BYTES)?]);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(512)
        .volume_id(volume_id)
        .volume_label(*b"ESP        ");
    fatfs::format_volume(&mut volume, options)?;
    let file_system = FileSystem::new(&mut volume, FsOptions::new())?;
    file_system.root_dir().create_dir("EFI")?;
    file_system.root_dir().create_dir("EFI/BOOT")?;
    let mut file = file_system.root_dir().create_file(LOADER)?;
    file.write_all(loader)?;
    file.flush()?;
    drop(file);
    file_system.unmount()?;
    Ok(volume.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn holds_the_loader_and_is_the_same_each_time() {
        let loader: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let volume = make(&loader, 7).unwrap();
        assert_eq!(volume.len() as u64, SIZE_BYTES);
        assert_eq!(volume, make(&loader, 7).unwrap());
        let file_system = FileSystem::new(Cursor::new(volume), FsOptions::new()).unwrap();
        assert_eq!(file_system.fat_type(), FatType::Fat32);
        let mut read = Vec::new();
        let mut file = file_system.root_dir().open_file(LOADER).unwrap();
        file.read_to_end(&mut read).unwrap();
        assert_eq!(read, loader);
    }
}
