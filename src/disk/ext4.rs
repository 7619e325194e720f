//! A tree of packages as an ext4 file system in a file, with the owners the tree has.
//!
//! The features are pinned to what the kernels, e2fsck and GRUB of every platform read: a newer
//! mke2fs on the build host turns on others by itself, and the image then ends in an emergency
//! shell.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use firstboot::cmd::Cmd;
use uuid::Uuid;

use super::{ALIGNMENT_BYTES, TIMESTAMP_SECONDS, derived_uuid};

/// Every feature of a root file system. What e2fsck 1.46, Linux 5.14 and GRUB 2.06 read: no
/// `orphan_file`, no `metadata_csum_seed`.
pub const FEATURES: &[&str] = &[
    "has_journal",
    "ext_attr",
    "resize_inode",
    "dir_index",
    "filetype",
    "extent",
    "64bit",
    "flex_bg",
    "sparse_super",
    "large_file",
    "huge_file",
    "dir_nlink",
    "extra_isize",
    "metadata_csum",
];
const BLOCK_BYTES: u64 = 4096;
const INODE_BYTES: u64 = 256;
const JOURNAL_BYTES: u64 = 64 << 20;

/// What a file system is besides its content.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Its UUID: what GRUB and the kernel look for.
    pub uuid: Uuid,
    /// Its label, up to 16 bytes.
    pub label: String,
    /// Free space beyond the content, for what is placed into it later.
    pub slack_bytes: u64,
}

/// Makes the file system `image` (sparse) from a tree. `run` puts a command into the namespace of
/// the tree, where its files have the owners that they shall have on the node.
pub fn make(run: &dyn Fn(Cmd) -> Cmd, tree: &Path, image: &Path, shape: &Shape) -> Result<()> {
    let content = Content::of(run, tree)?;
    let (size, inodes) = content.room(shape.slack_bytes);
    let context = || format!("making {}", image.display());
    let file = File::create(image).with_context(context)?;
    file.set_len(size).with_context(context)?;
    // Checksums of metadata are left out while the tree is copied and computed once at the end:
    // mke2fs computes that of a directory or an extent tree anew with each entry it adds.
    let features: Vec<&str> = FEATURES
        .iter()
        .copied()
        .filter(|name| *name != "metadata_csum")
        .collect();
    let hash_seed = derived_uuid(&[&shape.uuid.to_string(), "hash seed"]);
    let mke2fs = Cmd::new("mke2fs")
        .args([
            "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "1",
        ])
        .args(["-N".to_owned(), inodes.to_string()])
        .args(["-J".to_owned(), format!("size={}", JOURNAL_BYTES >> 20)])
        .args(["-O".to_owned(), format!("none,{}", features.join(","))])
        .args(["-E".to_owned(), format!("hash_seed={hash_seed},nodiscard")])
        .args(["-U".to_owned(), shape.uuid.to_string()])
        .args(["-L", &shape.label])
        .arg("-d")
        .path(tree)
        .path(image)
        // Nothing of this host's own preferences.
        .env("MKE2FS_CONFIG", "/dev/null");
    run(fixed_clock(mke2fs)).run()?;
    fixed_clock(
        Cmd::new("tune2fs")
            .args(["-O", "metadata_csum"])
            .path(image),
    )
    .run()?;
    // Computes the checksums and indexes the large directories, which mke2fs leaves linear. Its
    // exit status is a set of bits: 1 says that it changed something.
    let cmd = fixed_clock(Cmd::new("e2fsck").arg("-fyD").path(image));
    let output = cmd.any_status()?;
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "`{cmd}` ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout).trim_end()
    );
    check(image)
}

/// Refuses a file system in which e2fsck finds anything to mend.
pub fn check(image: &Path) -> Result<()> {
    let cmd = fixed_clock(Cmd::new("e2fsck").arg("-fn").path(image));
    let output = cmd.any_status()?;
    ensure!(
        output.status.success(),
        "the file system {} is damaged:\n{}",
        image.display(),
        String::from_utf8_lossy(&output.stdout).trim_end()
    );
    Ok(())
}

/// Lets a program of e2fsprogs write the same time stamps whenever it runs.
pub(super) fn fixed_clock(cmd: Cmd) -> Cmd {
    ["E2FSPROGS_FAKE_TIME", "E2FSCK_TIME", "SOURCE_DATE_EPOCH"]
        .into_iter()
        .fold(cmd, |cmd, name| {
            cmd.env(name, TIMESTAMP_SECONDS.to_string())
        })
}

/// How much a tree holds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Content {
    bytes: u64,
    inodes: u64,
}

impl Content {
    /// `du` counts, because the tree has directories that only its own root may read.
    fn of(run: &dyn Fn(Cmd) -> Cmd, tree: &Path) -> Result<Self> {
        let du = |option: &[&str]| -> Result<u64> {
            let cmd = run(Cmd::new("du")
                .arg("-sx")
                .args(option.iter().copied())
                .path(tree));
            let text = cmd.read()?;
            let number = text.split_whitespace().next().and_then(|n| n.parse().ok());
            number.with_context(|| format!("reading what `{cmd}` says: {text:?}"))
        };
        Ok(Self {
            bytes: du(&["--apparent-size", "--block-size=1"])?,
            inodes: du(&["--inodes"])?,
        })
    }

    /// Size of the file system and number of its inodes: each file may waste most of a block,
    /// every thousandth block or so is metadata, and there is room for half as many files again.
    fn room(self, slack_bytes: u64) -> (u64, u64) {
        let inodes = self.inodes * 3 / 2 + 4096;
        let data = self.bytes + self.inodes * BLOCK_BYTES + slack_bytes;
        // One inode in 16 KiB is what ext4 is used to; it goes for the part that it grows by, too.
        let inodes = inodes.max(data / 16384);
        let overhead = inodes * INODE_BYTES + JOURNAL_BYTES + data / 50 + (32 << 20);
        ((data + overhead).next_multiple_of(ALIGNMENT_BYTES), inodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_many_small_files_and_for_the_slack() {
        let content = Content {
            bytes: 1000,
            inodes: 1000,
        };
        let (size, inodes) = content.room(10 << 20);
        assert!(size > (10 << 20) + 1000 * 4096 + JOURNAL_BYTES);
        assert_eq!(size % ALIGNMENT_BYTES, 0);
        assert!(inodes >= 1500);
    }

    #[test]
    fn a_damaged_file_system_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let error = check(file.path()).unwrap_err().to_string();
        let start = format!("the file system {} is damaged:\n", file.path().display());
        assert!(error.starts_with(&start), "{error}");
    }
}
