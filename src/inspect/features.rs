//! The features of the root file system, from its superblock, held against the allowed ones.

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::Image;
use crate::disk::ext4::FEATURES;

/// Bits of the compatible, incompatible and read-only-compatible words, as `dumpe2fs` names them.
const NAMES: [&[(u32, &str)]; 3] = [
    &[
        (0x4, "has_journal"),
        (0x8, "ext_attr"),
        (0x10, "resize_inode"),
        (0x20, "dir_index"),
        (0x200, "sparse_super2"),
        (0x400, "fast_commit"),
        (0x800, "stable_inodes"),
        (0x1000, "orphan_file"),
    ],
    &[
        (0x2, "filetype"),
        (0x4, "needs_recovery"),
        (0x10, "meta_bg"),
        (0x40, "extent"),
        (0x80, "64bit"),
        (0x100, "mmp"),
        (0x200, "flex_bg"),
        (0x400, "ea_inode"),
        (0x2000, "metadata_csum_seed"),
        (0x4000, "large_dir"),
        (0x8000, "inline_data"),
        (0x1_0000, "encrypt"),
        (0x2_0000, "casefold"),
    ],
    &[
        (0x1, "sparse_super"),
        (0x2, "large_file"),
        (0x8, "huge_file"),
        (0x10, "uninit_bg"),
        (0x20, "dir_nlink"),
        (0x40, "extra_isize"),
        (0x100, "quota"),
        (0x200, "bigalloc"),
        (0x400, "metadata_csum"),
        (0x2000, "project"),
        (0x8000, "verity"),
        (0x1_0000, "orphan_present"),
    ],
];

/// The features of a file system.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Features {
    /// Those that it has.
    pub present: Vec<String>,
    /// Those of them that not every platform's kernel, e2fsck and GRUB read.
    pub not_allowed: Vec<String>,
}

/// Reads the features of the root file system.
pub fn of(image: &Image) -> Result<Features> {
    let window = image.window("root").context("finding the root partition")?;
    let mut superblock = [0; 1024];
    window.read_exact_at(1024, &mut superblock)?;
    ensure!(
        superblock[0x38..0x3a] == [0x53, 0xef],
        "the root file system is not ext4"
    );
    Ok(parse(&superblock))
}

fn parse(superblock: &[u8; 1024]) -> Features {
    let mut present = Vec::new();
    for (index, names) in NAMES.iter().enumerate() {
        let at = 0x5c + index * 4;
        let bytes = &superblock[at..at + 4];
        let word = bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        for bit in (0..32)
            .map(|shift| 1 << shift)
            .filter(|bit| word & bit != 0)
        {
            let name = names.iter().find(|(known, _)| *known == bit);
            let unknown = || format!("unknown-{index}-{bit:#x}");
            present.push(name.map_or_else(unknown, |(_, name)| (*name).to_owned()));
        }
    }
    let not_allowed = present
        .iter()
        .filter(|name| !FEATURES.contains(&name.as_str()));
    Features {
        not_allowed: not_allowed.cloned().collect(),
        present,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_e2fsck_cannot_read_is_named() {
        let mut superblock = [0; 1024];
        superblock[0x5c..0x60].copy_from_slice(&0x1004_u32.to_le_bytes());
        superblock[0x60..0x64].copy_from_slice(&0x2040_u32.to_le_bytes());
        superblock[0x64..0x68].copy_from_slice(&0x8000_0400_u32.to_le_bytes());
        let features = parse(&superblock);
        assert_eq!(
            features.present,
            [
                "has_journal",
                "orphan_file",
                "extent",
                "metadata_csum_seed",
                "metadata_csum",
                "unknown-2-0x80000000"
            ]
        );
        assert_eq!(
            features.not_allowed,
            ["orphan_file", "metadata_csum_seed", "unknown-2-0x80000000"]
        );
    }
}
