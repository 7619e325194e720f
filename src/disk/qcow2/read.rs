//! Reads a qcow2 file at any position, with zlib or zstd clusters.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use super::{
    COMPRESSED, COMPRESSION_ZLIB, COMPRESSION_ZSTD, HEADER_BYTES, INCOMPATIBLE_COMPRESSION,
    INCOMPATIBLE_DIRTY, MAGIC, OFFSET_MASK, ZERO, compressed_offset_bits,
};
use crate::disk::source::Source;

/// Unpacked clusters that are kept: file systems look at the same few again and again.
const KEPT_CLUSTERS: usize = 256;

/// A qcow2 file.
#[derive(Debug)]
pub struct Qcow2File {
    file: File,
    path: PathBuf,
    cluster_bits: u32,
    size: u64,
    compression: u8,
    /// All second-level entries, by cluster of the disk.
    entries: Vec<u64>,
    kept: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
}

impl Qcow2File {
    /// Opens a qcow2 file and reads its tables.
    ///
    /// # Errors
    /// When it is none, is cut short, or needs another file or a key to be read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read_tables(path).with_context(|| format!("opening {}", path.display()))
    }

    fn read_tables(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0)
            .context("reading the header")?;
        let header = Header::parse(&bytes)?;
        let cluster_bytes = 1_u64 << header.cluster_bits;
        let clusters = usize::try_from(header.size.div_ceil(cluster_bytes))?;
        let per_table = usize::try_from(cluster_bytes / 8)?;
        let mut entries = vec![0; clusters];
        let tables = clusters.div_ceil(per_table);
        ensure!(tables <= header.tables, "its first table is too short");
        let file_bytes = file.metadata()?.len();
        ensure!(
            header.first_level + tables as u64 * 8 <= file_bytes,
            "the file is cut short"
        );
        let first_level = numbers(&file, header.first_level, tables)?;
        for (table, chunk) in first_level.iter().zip(entries.chunks_mut(per_table)) {
            if table & OFFSET_MASK != 0 {
                let numbers = numbers(&file, table & OFFSET_MASK, chunk.len())?;
                chunk.copy_from_slice(&numbers);
            }
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            cluster_bits: header.cluster_bits,
            size: header.size,
            compression: header.compression,
            entries,
            kept: Mutex::default(),
        })
    }

    fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn entry(&self, cluster: u64) -> u64 {
        usize::try_from(cluster)
            .ok()
            .and_then(|index| self.entries.get(index).copied())
            .unwrap_or(0)
    }

    fn is_data(entry: u64) -> bool {
        entry & COMPRESSED != 0 || (entry & ZERO == 0 && entry & OFFSET_MASK != 0)
    }

    /// Fills the buffer from within one cluster.
    fn read_cluster(&self, cluster: u64, inside: u64, buffer: &mut [u8]) -> Result<()> {
        let entry = self.entry(cluster);
        if !Self::is_data(entry) {
            buffer.fill(0);
        } else if entry & COMPRESSED == 0 {
            self.file
                .read_exact_at(buffer, (entry & OFFSET_MASK) + inside)?;
        } else {
            let unpacked = self.unpacked(cluster, entry)?;
            let start = usize::try_from(inside)?;
            buffer.copy_from_slice(&unpacked[start..start + buffer.len()]);
        }
        Ok(())
    }

    fn unpacked(&self, cluster: u64, entry: u64) -> Result<Arc<Vec<u8>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = kept.iter().position(|(number, _)| *number == cluster) {
            let found = kept.remove(index).context("looking into the cache")?;
            let bytes = Arc::clone(&found.1);
            kept.push_front(found);
            return Ok(bytes);
        }
        drop(kept);
        let bytes = Arc::new(self.unpack(entry)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((cluster, Arc::clone(&bytes)));
        kept.truncate(KEPT_CLUSTERS);
        Ok(bytes)
    }

    fn unpack(&self, entry: u64) -> Result<Vec<u8>> {
        let bits = compressed_offset_bits(self.cluster_bits);
        let offset = entry & ((1 << bits) - 1);
        let sectors = ((entry & !COMPRESSED) >> bits) + 1;
        let length = sectors * 512 - offset % 512;
        let mut packed = Vec::new();
        let mut bytes = vec![0; usize::try_from(self.cluster_bytes())?];
        // The last sector of the last cluster may lie past the end of the file.
        let available = self
            .file
            .metadata()?
            .len()
            .saturating_sub(offset)
            .min(length);
        packed.resize(usize::try_from(available)?, 0);
        self.file.read_exact_at(&mut packed, offset)?;
        if self.compression == COMPRESSION_ZSTD {
            let mut decoder = zstd::Decoder::new(packed.as_slice())?.single_frame();
            decoder.read_exact(&mut bytes)?;
        } else {
            flate2::read::DeflateDecoder::new(packed.as_slice()).read_exact(&mut bytes)?;
        }
        Ok(bytes)
    }
}

impl Source for Qcow2File {
    fn size(&self) -> u64 {
        self.size
    }

    fn data(&self) -> Result<Vec<Range<u64>>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (cluster, entry) in self.entries.iter().enumerate() {
            if !Self::is_data(*entry) {
                continue;
            }
            let start = cluster as u64 * self.cluster_bytes();
            let end = (start + self.cluster_bytes()).min(self.size);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        Ok(ranges)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        ensure!(
            end.is_some_and(|end| end <= self.size),
            "reading past the end of {}",
            self.path.display()
        );
        let mut position = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let inside = position % self.cluster_bytes();
            let count = usize::try_from(self.cluster_bytes() - inside)?.min(rest.len());
            let (part, after) = rest.split_at_mut(count);
            self.read_cluster(position / self.cluster_bytes(), inside, part)
                .with_context(|| format!("reading {} at byte {position}", self.path.display()))?;
            position += count as u64;
            rest = after;
        }
        Ok(())
    }
}

/// What matters of a header.
struct Header {
    cluster_bits: u32,
    size: u64,
    tables: usize,
    first_level: u64,
    compression: u8,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self> {
        ensure!(bytes.starts_with(&MAGIC), "it is no qcow2 image");
        let version = word(bytes, 4);
        ensure!(
            version == 2 || version == 3,
            "qcow2 version {version} is unknown"
        );
        if long(bytes, 8) != 0 {
            bail!("it has a backing file\nhint: convert it to an image that stands alone");
        }
        ensure!(word(bytes, 32) == 0, "it is encrypted");
        let cluster_bits = word(bytes, 20);
        ensure!(
            (9..=21).contains(&cluster_bits),
            "its clusters are of 2^{cluster_bits} bytes"
        );
        let incompatible = if version == 3 { long(bytes, 72) } else { 0 };
        let unknown = incompatible & !(INCOMPATIBLE_COMPRESSION | INCOMPATIBLE_DIRTY);
        ensure!(
            unknown == 0,
            "it needs features that are unknown here: {unknown:#x}"
        );
        let compression = if incompatible & INCOMPATIBLE_COMPRESSION == 0 {
            COMPRESSION_ZLIB
        } else {
            bytes[104]
        };
        ensure!(
            compression == COMPRESSION_ZLIB || compression == COMPRESSION_ZSTD,
            "its compression type {compression} is unknown"
        );
        Ok(Self {
            cluster_bits,
            size: long(bytes, 24),
            tables: usize::try_from(word(bytes, 36))?,
            first_level: long(bytes, 40),
            compression,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) << 32 | u64::from(word(bytes, at + 4))
}

fn numbers(file: &File, offset: u64, count: usize) -> Result<Vec<u64>> {
    let mut bytes = vec![0; count * 8];
    file.read_exact_at(&mut bytes, offset)
        .context("reading a table")?;
    Ok((0..count).map(|index| long(&bytes, index * 8)).collect())
}
