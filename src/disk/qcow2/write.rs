//! Writes a disk as a compressed qcow2 file.
//!
//! Clusters are compressed by all processors and written in order, so that equal disks give equal
//! files. Nothing but data is read: holes of the source cost no time.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, Result, anyhow};

use super::{
    CLUSTER_BITS, CLUSTER_BYTES, COMPRESSED, COMPRESSION_ZSTD, COPIED, HEADER_BYTES,
    INCOMPATIBLE_COMPRESSION, MAGIC, compressed_offset_bits,
};
use crate::disk::export::go_on;
use crate::disk::source::Source;

/// Clusters that a thread compresses in one go.
const BATCH: usize = 32;
/// Batches that a thread may be ahead of the writer.
const AHEAD: usize = 8;
const ENTRIES: usize = (CLUSTER_BYTES / 8) as usize;

/// Writes all of `source` to the empty file `file`.
pub fn write(source: &dyn Source, file: &File, level: i32) -> Result<()> {
    let clusters = clusters_with_data(source)?;
    let batches: Vec<&[u64]> = clusters.chunks(BATCH).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut layout = Layout::new(source.size(), file)?;
    std::thread::scope(|scope| {
        let mut receivers: Vec<Receiver<Result<Vec<Packed>>>> = Vec::new();
        for thread in 0..threads {
            let (sender, receiver) = sync_channel(AHEAD);
            receivers.push(receiver);
            let mine = batches.iter().skip(thread).step_by(threads).copied();
            scope.spawn(move || pack_all(source, mine, level, &sender));
        }
        // Thread t packs batches t, t + threads, ...: taking turns gives the order of the disk.
        for turn in 0..batches.len() {
            go_on()?;
            let batch = receivers[turn % threads].recv();
            for packed in batch.map_err(|_| anyhow!("a compressing thread ended early"))?? {
                layout.append(&packed)?;
            }
        }
        Ok(())
    })
    .and_then(|()| layout.finish())
    .context("writing a qcow2 image")
}

/// Numbers of the clusters that may hold anything but zeros.
fn clusters_with_data(source: &dyn Source) -> Result<Vec<u64>> {
    let mut clusters = Vec::new();
    for range in source.data()? {
        let first = range.start / CLUSTER_BYTES;
        let next = clusters.last().map_or(0, |last| last + 1);
        clusters.extend(first.max(next)..range.end.div_ceil(CLUSTER_BYTES));
    }
    Ok(clusters)
}

/// A cluster on its way into the file.
struct Packed {
    cluster: u64,
    bytes: Vec<u8>,
    compressed: bool,
}

fn pack_all<'a>(
    source: &dyn Source,
    batches: impl Iterator<Item = &'a [u64]>,
    level: i32,
    sender: &SyncSender<Result<Vec<Packed>>>,
) {
    let mut compressor = match zstd::bulk::Compressor::new(level) {
        Ok(compressor) => compressor,
        Err(error) => {
            let _ = sender.send(Err(error.into()));
            return;
        }
    };
    for batch in batches {
        let packed = pack(source, batch, &mut compressor);
        // The writer hangs up when it has failed; its error is the one to report.
        if sender.send(packed).is_err() {
            return;
        }
    }
}

fn pack(
    source: &dyn Source,
    batch: &[u64],
    compressor: &mut zstd::bulk::Compressor<'_>,
) -> Result<Vec<Packed>> {
    let mut packed = Vec::with_capacity(batch.len());
    let mut bytes = vec![0; usize::try_from(CLUSTER_BYTES)?];
    for &cluster in batch {
        let start = cluster * CLUSTER_BYTES;
        let length = usize::try_from(CLUSTER_BYTES.min(source.size() - start))?;
        bytes[length..].fill(0);
        source.read_at(start, &mut bytes[..length])?;
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        let small = compressor.compress(&bytes)?;
        let compressed = small.len() < bytes.len();
        let bytes = if compressed { small } else { bytes.clone() };
        packed.push(Packed {
            cluster,
            bytes,
            compressed,
        });
    }
    Ok(packed)
}

/// The file so far: where each cluster went, and how often each cluster of the file is used.
struct Layout<'a> {
    disk_bytes: u64,
    file: BufWriter<&'a File>,
    end: u64,
    /// Second-level entries by cluster of the disk.
    entries: Vec<u64>,
    references: Vec<u16>,
}

impl<'a> Layout<'a> {
    fn new(disk_bytes: u64, file: &'a File) -> Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.seek(SeekFrom::Start(CLUSTER_BYTES))?;
        let clusters = usize::try_from(disk_bytes.div_ceil(CLUSTER_BYTES))?;
        Ok(Self {
            disk_bytes,
            file,
            end: CLUSTER_BYTES,
            entries: vec![0; clusters],
            references: vec![1],
        })
    }

    fn append(&mut self, packed: &Packed) -> Result<()> {
        if !packed.compressed {
            self.align()?;
        }
        let start = self.end;
        let length = packed.bytes.len() as u64;
        self.file.write_all(&packed.bytes)?;
        self.end += length;
        self.refer(start, length)?;
        self.entries[usize::try_from(packed.cluster)?] = if packed.compressed {
            let sectors = (start + length - 1) / 512 - start / 512;
            COMPRESSED | (sectors << compressed_offset_bits(CLUSTER_BITS)) | start
        } else {
            COPIED | start
        };
        Ok(())
    }

    /// Counts one more use of the clusters of the file that these bytes touch.
    fn refer(&mut self, start: u64, length: u64) -> Result<()> {
        let first = usize::try_from(start / CLUSTER_BYTES)?;
        let last = usize::try_from((start + length - 1) / CLUSTER_BYTES)?;
        if self.references.len() <= last {
            self.references.resize(last + 1, 0);
        }
        for count in &mut self.references[first..=last] {
            *count = count
                .checked_add(1)
                .context("a cluster has too many uses")?;
        }
        Ok(())
    }

    fn align(&mut self) -> Result<()> {
        let aligned = self.end.next_multiple_of(CLUSTER_BYTES);
        let padding = usize::try_from(aligned - self.end)?;
        self.file.write_all(&vec![0; padding])?;
        self.end = aligned;
        Ok(())
    }

    /// Writes a table at the next cluster and gives its offset.
    fn table(&mut self, bytes: &[u8]) -> Result<u64> {
        self.align()?;
        let start = self.end;
        self.file.write_all(bytes)?;
        self.end += bytes.len() as u64;
        self.refer(start, bytes.len() as u64)?;
        Ok(start)
    }

    fn finish(mut self) -> Result<()> {
        let entries = std::mem::take(&mut self.entries);
        let mut first_level = Vec::new();
        for table in entries.chunks(ENTRIES) {
            let used = table.iter().any(|entry| *entry != 0);
            let mut bytes = big_endian(table);
            bytes.resize(usize::try_from(CLUSTER_BYTES)?, 0);
            first_level.push(if used {
                COPIED | self.table(&bytes)?
            } else {
                0
            });
        }
        let first_level_offset = self.table(&big_endian(&first_level))?;
        let counts = self.count_references()?;
        self.align()?;
        self.file.seek(SeekFrom::Start(0))?;
        let header = self.header(first_level_offset, first_level.len(), counts)?;
        self.file.write_all(&header)?;
        self.file.flush()?;
        Ok(())
    }

    /// Writes the reference counts, which count their own clusters too; gives the offset of their
    /// table and its length in clusters.
    fn count_references(&mut self) -> Result<(u64, u64)> {
        self.align()?;
        let per_block = CLUSTER_BYTES / 2;
        let before = self.end / CLUSTER_BYTES;
        let (mut blocks, mut tables) = (0, 0);
        loop {
            let needed = (before + blocks + tables).div_ceil(per_block);
            let needed_tables = (needed * 8).div_ceil(CLUSTER_BYTES);
            if (needed, needed_tables) == (blocks, tables) {
                break;
            }
            (blocks, tables) = (needed, needed_tables);
        }
        let start = self.end;
        self.refer(start, (blocks + tables) * CLUSTER_BYTES)?;
        let mut bytes: Vec<u8> = self
            .references
            .iter()
            .flat_map(|n| n.to_be_bytes())
            .collect();
        bytes.resize(usize::try_from(blocks * CLUSTER_BYTES)?, 0);
        self.file.write_all(&bytes)?;
        let offsets: Vec<u64> = (0..blocks).map(|n| start + n * CLUSTER_BYTES).collect();
        self.file.write_all(&big_endian(&offsets))?;
        self.end = start + blocks * CLUSTER_BYTES + offsets.len() as u64 * 8;
        Ok((start + blocks * CLUSTER_BYTES, tables))
    }

    fn header(&self, first_level: u64, entries: usize, counts: (u64, u64)) -> Result<Vec<u8>> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(3_u32.to_be_bytes()); // version
        header.extend([0; 12]); // no backing file
        header.extend(CLUSTER_BITS.to_be_bytes());
        header.extend(self.disk_bytes.to_be_bytes());
        header.extend(0_u32.to_be_bytes()); // not encrypted
        header.extend(u32::try_from(entries)?.to_be_bytes());
        header.extend(first_level.to_be_bytes());
        header.extend(counts.0.to_be_bytes());
        header.extend(u32::try_from(counts.1)?.to_be_bytes());
        header.extend([0; 12]); // no snapshots
        header.extend(INCOMPATIBLE_COMPRESSION.to_be_bytes());
        header.extend([0; 16]); // no compatible features, nothing to clear
        header.extend(4_u32.to_be_bytes()); // reference counts of 1 << 4 bits
        header.extend(u32::try_from(HEADER_BYTES)?.to_be_bytes());
        header.push(COMPRESSION_ZSTD);
        header.resize(HEADER_BYTES + 8, 0); // and no header extension
        Ok(header)
    }
}

fn big_endian(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}
