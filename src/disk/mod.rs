//! From a tree of packages to a disk that boots: file system, boot loaders, partitions, formats.
//!
//! ```text
//! tree ─▶ ext4 ─▶ place ─┐
//!    └──▶ grub ──────────┴▶ image::Disk (pieces, not yet a file) ─▶ export: qcow2 | raw | raw.zst
//! ```
//! Nothing here needs root, a loop device or a mount. What must see a tree with the owners that
//! its files shall have takes a runner, which puts a command into the namespace of the tree.

pub mod esp;
pub mod export;
pub mod ext4;
pub mod grub;
pub mod image;
pub mod place;
pub mod qcow2;
pub mod source;

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A sector, the unit in which partition tables and BIOS calls count.
pub const SECTOR_BYTES: u64 = 512;
/// Partitions begin at multiples of this.
pub const ALIGNMENT_BYTES: u64 = 1 << 20;
/// The time that everything made here says it was made at (2026-01-01 00:00 UTC), so that equal
/// inputs give equal disks and no clock is ever behind its file system.
pub const TIMESTAMP_SECONDS: u64 = 1_767_225_600;

/// An identifier that depends on nothing but these words.
pub fn derived_uuid(words: &[&str]) -> Uuid {
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_depends_on_every_word_and_on_where_it_ends() {
        assert_eq!(derived_uuid(&["a", "b"]), derived_uuid(&["a", "b"]));
        assert_ne!(derived_uuid(&["a", "b"]), derived_uuid(&["ab", ""]));
        assert_eq!(derived_uuid(&["a"]).get_version_num(), 8);
    }
}
