//! What a disk image can be read from: a raw file, a qcow2 file, or pieces not yet written.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

/// Bytes of a disk, by position. Shared by the threads that compress it.
pub trait Source: Send + Sync {
    /// Size of the disk in bytes.
    fn size(&self) -> u64;
    /// Where anything but zeros may be: sorted, without overlaps.
    fn data(&self) -> Result<Vec<Range<u64>>>;
    /// Fills the buffer with what is at this offset; an error past the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
}

/// A raw image, sparse or not.
#[derive(Debug)]
pub struct RawFile {
    file: File,
    path: PathBuf,
    size: u64,
}

impl RawFile {
    /// Opens a raw image for reading.
    pub fn open(path: &Path) -> Result<Self> {
        let context = || format!("opening {}", path.display());
        let file = File::open(path).with_context(context)?;
        let size = file.metadata().with_context(context)?.len();
        Ok(Self {
            file,
            path: path.to_owned(),
            size,
        })
    }
}

impl Source for RawFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn data(&self) -> Result<Vec<Range<u64>>> {
        let found = data_ranges(&self.file, self.size);
        found.with_context(|| format!("looking for holes in {}", self.path.display()))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(buffer, offset);
        read.with_context(|| format!("reading {} at byte {offset}", self.path.display()))
    }
}

/// Where a sparse file has data. A file system without holes answers with the whole file.
fn data_ranges(file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?;
        ranges.push(start..end.min(size));
        position = end;
    }
    Ok(ranges)
}

/// A part of a source, such as a partition, with a position: what readers of file systems want.
/// Writing to it is refused.
#[derive(Clone)]
pub struct Window {
    source: Arc<dyn Source>,
    start: u64,
    length: u64,
    position: u64,
}

impl Window {
    /// The part of `source` that begins at `start`.
    pub fn new(source: Arc<dyn Source>, start: u64, length: u64) -> Self {
        Self {
            source,
            start,
            length,
            position: 0,
        }
    }

    /// All of it.
    pub fn whole(source: Arc<dyn Source>) -> Self {
        let length = source.size();
        Self::new(source, 0, length)
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Fills the buffer with what is at this offset of the part.
    pub fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        anyhow::ensure!(
            end.is_some_and(|end| end <= self.length),
            "reading past the end of a partition of {} bytes",
            self.length
        );
        self.source.read_at(self.start + offset, buffer)
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window({}+{})", self.start, self.length)
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.position);
        let count = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.read_exact_at(self.position, &mut buffer[..count])
            .map_err(io::Error::other)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Write for Window {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ext4_view::Ext4Read for Window {
    fn read(
        &mut self,
        start_byte: u64,
        buffer: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.read_exact_at(start_byte, buffer)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_told_from_data() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        file.as_file().write_all_at(b"here", 4 << 20).unwrap();
        let source = RawFile::open(file.path()).unwrap();
        let data = source.data().unwrap();
        assert!(data.iter().any(|range| range.contains(&(4 << 20))));
        assert!(!data.iter().any(|range| range.contains(&(1 << 20))));
    }

    #[test]
    fn a_window_ends_where_it_ends() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(b"0123456789", 0).unwrap();
        let source = Arc::new(RawFile::open(file.path()).unwrap());
        let mut window = Window::new(source, 2, 4);
        let mut text = String::new();
        window.read_to_string(&mut text).unwrap();
        assert_eq!(text, "2345");
        let error = window.read_exact_at(3, &mut [0; 2]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "reading past the end of a partition of 4 bytes"
        );
    }
}
