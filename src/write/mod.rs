//! An image and a seed onto the disk of a machine, by hand of whoever has the disk here.
//!
//! ```text
//! image (verified) ─┐
//! seed (a volume) ──┴▶ target (nobody's, large enough) ─▶ content ─▶ read back ─▶ first MiB
//! ```
//! Until its last write the disk has no partition table: a machine boots all of it or nothing.

mod table;
pub mod target;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use fatfs::{FileSystem, FsOptions};
use firstboot::volume::LABEL;
use rustix::fs::{FallocateFlags, fallocate};

use crate::disk::ALIGNMENT_BYTES;
use crate::disk::source::Source;
use crate::fault::Class;
use crate::manifest::{Hashed, SUMS};
use crate::report::{Report, Stage};
use crate::{inspect, verify};
use table::Layout;
use target::Target;

const BUFFER_BYTES: usize = 4 << 20;
/// A seed is some kilobytes of text.
const LARGEST_SEED_BYTES: u64 = 64 << 20;

/// The seed of a node, read and known to be one.
///
/// # Errors
/// Of class [`Class::BadInput`] when it is no volume that cloud-init would take.
pub fn seed(path: &Path) -> Result<Vec<u8>> {
    let wrong = |why: String| {
        Class::BadInput.error(format!(
            "{}: {why}\nhint: `cellboot seed` writes the seeds of a site",
            path.display()
        ))
    };
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if length.len() > LARGEST_SEED_BYTES {
        return Err(wrong("it is too large for a seed".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let volume = FileSystem::new(std::io::Cursor::new(bytes.clone()), FsOptions::new())
        .map_err(|error| wrong(format!("it is no FAT volume: {error}")))?;
    let label = volume.volume_label();
    if label.trim() != LABEL {
        return Err(wrong(format!("its label is {label:?}, not {LABEL}")));
    }
    for name in ["user-data", "meta-data"] {
        if volume.root_dir().open_file(name).is_err() {
            return Err(wrong(format!("it has no {name}")));
        }
    }
    Ok(bytes)
}

/// The bytes of an image that is as it was built, by the checksums beside it.
///
/// # Errors
/// Of class [`Class::Refused`] when it is not, or holds what no image may.
pub fn verified(path: &Path, report: &Report) -> Result<Arc<dyn Source>> {
    let stage = report.begin(format!("{}: verifying", path.display()));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let sums = path.with_file_name(SUMS);
    let text = std::fs::read_to_string(&sums).map_err(|error| {
        Class::BadInput.error(format!(
            "{}: {error}\nhint: an image is written from the directory that it was built to, where \
             its checksum is",
            sums.display()
        ))
    })?;
    let expected = verify::sums(&text)?.remove(name.as_ref());
    let expected = expected.ok_or_else(|| {
        Class::Refused.error(format!(
            "{} has no checksum of {name}\nhint: `make images` builds it anew",
            sums.display()
        ))
    })?;
    if Hashed::of(path)?.sha256 != expected {
        return Err(Class::Refused.error(format!(
            "{} is not the file that was built\nhint: `make images` builds it anew",
            path.display()
        )));
    }
    let image = inspect::open(path)?;
    verify::refuse(&image)?;
    stage.finish("is as it was built");
    Ok(Arc::clone(image.source()))
}

/// Whether image and seed fit onto the disk.
///
/// # Errors
/// Of class [`Class::BadInput`] when they do not.
pub fn fits(source: &Arc<dyn Source>, seed: &[u8], target: &Target) -> Result<()> {
    let layout = Layout::of(source, seed.len() as u64, target.size);
    layout
        .map(drop)
        .with_context(|| format!("looking whether {} is large enough", target.path.display()))
}

/// Writes image and seed to a disk that is known to be large enough and nobody's.
///
/// # Errors
/// When the disk does not take it, or gives back something else.
pub fn write(
    source: &Arc<dyn Source>,
    seed: &[u8],
    target: &Target,
    report: &Report,
) -> Result<()> {
    let layout = Layout::of(source, seed.len() as u64, target.size)?;
    let device = &target.device;
    let content = ALIGNMENT_BYTES..layout.content_end;
    let first = usize::try_from(ALIGNMENT_BYTES)?;
    // From here on the disk is no disk until the last write.
    device.write_all_at(&vec![0; first], 0)?;
    device.sync_data()?;

    let stage = report.begin(format!("{}: writing", target.path.display()));
    let mut done = 0;
    walk(source.as_ref(), &content, |position, piece| {
        match piece {
            Piece::Data(bytes) => {
                device.write_all_at(bytes, position)?;
                done += bytes.len() as u64;
                progress(&stage, done);
            }
            Piece::Zeros(length) => zero(device, position, length)?,
        }
        Ok(())
    })
    .with_context(|| format!("writing to {}", target.path.display()))?;
    device.write_all_at(seed, layout.seed_start)?;
    device.write_all_at(&layout.backup, layout.backup_start)?;
    device.sync_all()?;
    stage.finish(&format!("{} MiB", done >> 20));

    let stage = report.begin(format!("{}: reading back", target.path.display()));
    let mut found = vec![0; BUFFER_BYTES];
    let mut done = 0;
    let mut same = |position: u64, expected: &[u8]| -> Result<()> {
        let found = &mut found[..expected.len()];
        device.read_exact_at(found, position)?;
        ensure!(
            found == expected,
            Class::Refused.error(format!(
                "{} does not give back what was written at byte {position}\n\
                 hint: the disk is broken, or smaller than it says: take another",
                target.path.display()
            ))
        );
        done += expected.len() as u64;
        progress(&stage, done);
        Ok(())
    };
    let zeros = vec![0; BUFFER_BYTES];
    walk(source.as_ref(), &content, |position, piece| match piece {
        Piece::Data(bytes) => same(position, bytes),
        Piece::Zeros(length) => {
            let mut at = 0;
            while at < length {
                let count = usize::try_from(length - at)?.min(BUFFER_BYTES);
                same(position + at, &zeros[..count])?;
                at += count as u64;
            }
            Ok(())
        }
    })?;
    same(layout.seed_start, seed)?;
    same(layout.backup_start, &layout.backup)?;
    stage.finish("all of it as it was written");

    let mut start = vec![0; first];
    source.read_at(0, &mut start)?;
    start[..layout.primary.len()].copy_from_slice(&layout.primary);
    device.write_all_at(&start, 0)?;
    device.sync_all()?;
    let mut found = vec![0; first];
    device.read_exact_at(&mut found, 0)?;
    ensure!(
        found == start,
        "{} does not keep its partition table",
        target.path.display()
    );
    Ok(())
}

fn progress(stage: &Stage<'_>, bytes: u64) {
    stage.progress(&format!("{} MiB", bytes >> 20));
}

enum Piece<'a> {
    Data(&'a [u8]),
    /// So many zeros, which the image does not store.
    Zeros(u64),
}

/// Everything of a part of the disk, in order.
fn walk(
    source: &dyn Source,
    part: &Range<u64>,
    mut visit: impl FnMut(u64, Piece<'_>) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut position = part.start;
    let end = std::iter::once(part.end..part.end);
    for range in source.data()?.into_iter().chain(end) {
        let (start, stop) = (range.start.max(part.start), range.end.min(part.end));
        if start > position {
            visit(position, Piece::Zeros(start - position))?;
            position = start;
        }
        while position < stop {
            if firstboot::interrupt::requested() {
                bail!("interrupted: the disk has no partition table now");
            }
            let count = usize::try_from(stop - position)?.min(BUFFER_BYTES);
            source.read_at(position, &mut buffer[..count])?;
            visit(position, Piece::Data(&buffer[..count]))?;
            position += count as u64;
        }
    }
    Ok(())
}

/// Makes a part of the disk zeros, without sending them where the disk can do that itself. What was
/// there before must go: a hole in an image is zeros, in the midst of files and tables.
fn zero(device: &File, start: u64, length: u64) -> Result<()> {
    let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    if fallocate(device, flags, start, length).is_ok() {
        return Ok(());
    }
    let zeros = vec![0; BUFFER_BYTES];
    let mut at = 0;
    while at < length {
        let count = usize::try_from(length - at)?.min(BUFFER_BYTES);
        device.write_all_at(&zeros[..count], start + at)?;
        at += count as u64;
    }
    Ok(())
}
