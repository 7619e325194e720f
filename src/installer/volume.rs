//! The volumes beside the disk that is installed to: FAT without a partition table, found by label.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use firstboot::hash::sha256;

use crate::{kickstart, whole};

/// Label of the volume with the installer's second stage.
pub const STAGE2: &str = "STAGE2";
/// Where dracut looks for it below the root of a volume that has no `.treeinfo`.
pub(crate) const STAGE2_PATH: &str = "images/install.img";
/// The kickstart's name on its volume.
pub const KICKSTART: &str = "ks.cfg";
/// The overlay's archive beside it, and its checksum.
pub(crate) const OVERLAY: &str = "overlay.tgz";
pub(crate) const OVERLAY_SUM: &str = "overlay.sum";
const MIB: u64 = 1 << 20;
/// Smaller volumes would be of a kind of FAT that some kernels' tools guess wrong.
const LEAST: u64 = 8 * MIB;

/// A file for a volume: its path there, and where its content is.
pub type Item<'a> = (&'a str, &'a mut dyn Read);

/// Writes the volume that tells Anaconda what to do: `ks.cfg`, and the overlay with its checksum.
///
/// # Errors
/// When it cannot be written.
pub fn write_kickstart(place: &Path, text: &str, overlay: &[u8]) -> Result<()> {
    let sum = overlay_sum(overlay);
    let size = (text.len() + overlay.len()) as u64;
    let items: [Item<'_>; 3] = [
        (KICKSTART, &mut text.as_bytes()),
        (OVERLAY, &mut &*overlay),
        (OVERLAY_SUM, &mut sum.as_bytes()),
    ];
    write(place, kickstart::VOLUME, size, items)
}

/// The overlay's checksum, as `sha256sum --check` takes it.
pub(crate) fn overlay_sum(overlay: &[u8]) -> String {
    format!("{}  {OVERLAY}\n", sha256(overlay))
}

/// Writes the volume with the second stage, unless it is there already.
///
/// # Errors
/// When it cannot be written.
pub fn write_stage2(place: &Path, stage2: &Path) -> Result<()> {
    if place.exists() {
        return Ok(());
    }
    let context = || format!("reading {}", stage2.display());
    let mut file = File::open(stage2).with_context(context)?;
    let size = file.metadata().with_context(context)?.len();
    let items: [Item<'_>; 1] = [(STAGE2_PATH, &mut file)];
    write(place, STAGE2, size, items)
}

/// Whole under its name, or not there.
pub(crate) fn write<'a>(
    place: &Path,
    label: &str,
    content: u64,
    items: impl IntoIterator<Item = Item<'a>>,
) -> Result<()> {
    // Room for the tables, and for the last cluster of each file.
    let size = (content + content / 64 + MIB)
        .next_multiple_of(MIB)
        .max(LEAST);
    whole::write(place, 0o600, |file| Ok(fill(file, label, size, items)?))
}

fn fill<'a>(
    mut file: &File,
    label: &str,
    size: u64,
    items: impl IntoIterator<Item = Item<'a>>,
) -> io::Result<()> {
    file.set_len(size)?;
    let mut padded = [b' '; 11];
    padded[..label.len()].copy_from_slice(label.as_bytes());
    let options = FormatVolumeOptions::new().volume_label(padded);
    fatfs::format_volume(file, options)?;
    file.seek(SeekFrom::Start(0))?;
    let system = FileSystem::new(file, FsOptions::new())?;
    {
        let root = system.root_dir();
        for (path, content) in items {
            for (at, _) in path.match_indices('/') {
                root.create_dir(&path[..at])?;
            }
            let mut target = root.create_file(path)?;
            io::copy(
                &mut io::BufReader::with_capacity(1 << 20, content),
                &mut target,
            )?;
            target.flush()?;
        }
    }
    system.unmount()
}

/// Where the second stage's volume of a tree is kept, beside the tree's own file.
pub fn stage2_beside(stage2: &Path) -> PathBuf {
    stage2.with_file_name("stage2.img")
}

/// Makes an empty disk to install to, of this size.
///
/// # Errors
/// When it cannot be made.
pub fn write_target(place: &Path, bytes: u64) -> Result<()> {
    let context = || format!("making {}", place.display());
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(context);
        }
        _ => {}
    }
    let file = File::options().write(true).create_new(true).open(place);
    file.and_then(|file| file.set_len(bytes))
        .with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(place: &Path, name: &str) -> Vec<u8> {
        let file = File::open(place).unwrap();
        let system = FileSystem::new(file, FsOptions::new()).unwrap();
        let mut bytes = Vec::new();
        let mut found = system.root_dir().open_file(name).unwrap();
        found.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn label(place: &Path) -> String {
        let system = FileSystem::new(File::open(place).unwrap(), FsOptions::new()).unwrap();
        system.volume_label()
    }

    #[test]
    fn a_kickstart_travels_with_its_overlay_and_the_checksum() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("kickstart.img");
        write_kickstart(&place, "poweroff\n", b"an overlay").unwrap();
        assert_eq!(label(&place), "CELLBOOT");
        assert_eq!(read(&place, "ks.cfg"), b"poweroff\n");
        assert_eq!(read(&place, "overlay.tgz"), b"an overlay");
        let sum = String::from_utf8(read(&place, "overlay.sum")).unwrap();
        assert_eq!(sum, format!("{}  overlay.tgz\n", sha256(b"an overlay")));
    }

    #[test]
    fn a_second_stage_is_where_dracut_looks() {
        let directory = tempfile::tempdir().unwrap();
        let stage2 = directory.path().join("install.img");
        let content: Vec<u8> = (0..20 * MIB).map(|at| (at / 4096) as u8).collect();
        firstboot::files::replace(&stage2, &content, firstboot::files::Ownership::mode(0o644))
            .unwrap();
        let place = stage2_beside(&stage2);
        write_stage2(&place, &stage2).unwrap();
        assert_eq!(label(&place), "STAGE2");
        assert!(read(&place, "images/install.img") == content);
        let made = fs::metadata(&place).unwrap().modified().unwrap();
        write_stage2(&place, &stage2).unwrap();
        assert_eq!(fs::metadata(&place).unwrap().modified().unwrap(), made);
    }
}
