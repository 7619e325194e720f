//! A disk as a file in one of the formats that people import.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;

use super::qcow2;
use super::source::Source;
use crate::whole;

/// Formats of disk images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Compressed with zstd, reads at any position; for QEMU 5.1 and later.
    Qcow2,
    /// The disk byte for byte, with holes.
    Raw,
    /// The same as one zstd stream, for `zstd -d` onto a disk.
    #[value(name = "raw.zst")]
    RawZst,
}

/// Higher levels take several times as long for a few per cent of the size.
const QCOW2_LEVEL: i32 = 3;
const STREAM_LEVEL: i32 = 3;
const BUFFER_BYTES: usize = 1 << 20;

impl Format {
    /// What a file of this format ends in.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Qcow2 => "qcow2",
            Format::Raw => "raw",
            Format::RawZst => "raw.zst",
        }
    }
}

/// Writes the disk; under its final name it is whole.
pub fn write(source: &dyn Source, format: Format, output: &Path) -> Result<()> {
    whole::write(output, 0o644, |file| match format {
        Format::Qcow2 => qcow2::write(source, file, QCOW2_LEVEL),
        Format::Raw => write_raw(source, file),
        Format::RawZst => write_stream(source, file),
    })
}

fn write_raw(source: &dyn Source, file: &File) -> Result<()> {
    file.set_len(source.size())?;
    let mut buffer = vec![0; BUFFER_BYTES];
    for range in source.data()? {
        let mut position = range.start;
        while position < range.end {
            let count = usize::try_from(range.end - position)?.min(BUFFER_BYTES);
            go_on()?;
            source.read_at(position, &mut buffer[..count])?;
            if buffer[..count].iter().any(|byte| *byte != 0) {
                file.write_all_at(&buffer[..count], position)?;
            }
            position += count as u64;
        }
    }
    Ok(())
}

fn write_stream(source: &dyn Source, file: &File) -> Result<()> {
    let mut encoder = zstd::Encoder::new(file, STREAM_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(source.size()))?;
    encoder.include_contentsize(true)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    encoder.multithread(u32::try_from(threads)?)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let zeros = vec![0; BUFFER_BYTES];
    let mut position = 0;
    let data = source.data()?;
    let end = std::iter::once(source.size()..source.size());
    for range in data.into_iter().chain(end) {
        while position < range.start {
            go_on()?;
            let count = usize::try_from(range.start - position)?.min(BUFFER_BYTES);
            encoder.write_all(&zeros[..count])?;
            position += count as u64;
        }
        while position < range.end {
            let count = usize::try_from(range.end - position)?.min(BUFFER_BYTES);
            go_on()?;
            source.read_at(position, &mut buffer[..count])?;
            encoder.write_all(&buffer[..count])?;
            position += count as u64;
        }
    }
    encoder.finish()?;
    Ok(())
}

/// An error once somebody asked for an end: the temporary file goes with it.
pub(in crate::disk) fn go_on() -> Result<()> {
    anyhow::ensure!(!firstboot::interrupt::requested(), "interrupted");
    Ok(())
}
