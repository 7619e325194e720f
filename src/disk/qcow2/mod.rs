//! The qcow2 format: as much of it as images of ours, and images that others made from them, use.
//!
//! All numbers in a qcow2 file are big-endian. A cluster of the disk is found through two levels
//! of tables; one that no table names is zeros. Backing files, snapshots, encryption and extended
//! entries are refused by name.

mod read;
mod write;

pub use read::Qcow2File;
pub use write::write;

/// What a file begins with.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

const CLUSTER_BITS: u32 = 16;
const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
/// Header with the compression type, padded to a multiple of eight.
const HEADER_BYTES: usize = 112;
/// "The compression type is not zlib", the third incompatible feature.
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
/// "The reference counts may be wrong": an image that was not closed. Reading needs none.
const INCOMPATIBLE_DIRTY: u64 = 1;
const COMPRESSION_ZLIB: u8 = 0;
const COMPRESSION_ZSTD: u8 = 1;
/// In a table entry: exactly one reference, so that the cluster may be written in place.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Reads as zeros although a cluster is allocated.
const ZERO: u64 = 1;
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

/// How many low bits of a compressed cluster's entry are its offset; the rest, up to bit 61,
/// counts the sectors that it touches after the first.
fn compressed_offset_bits(cluster_bits: u32) -> u32 {
    62 - (cluster_bits - 8)
}
