//! A disk image read without mounting it: partitions, file systems, files by path.
//!
//! Everything that is known about a finished image comes through here: what `cellboot inspect`
//! prints, what [`crate::identity`] refuses, what the lab boots directly.

pub mod boot;
pub mod features;
pub mod packages;
pub mod report;
pub mod units;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use ext4_view::{Ext4, Ext4Error, FileType};
use gpt::{GptConfig, partition_types};
use serde::Serialize;

use crate::disk::export::Format;
use crate::disk::qcow2::{self, Qcow2File};
use crate::disk::source::{RawFile, Source, Window};

/// An open image.
pub struct Image {
    path: PathBuf,
    format: Format,
    source: Arc<dyn Source>,
    partitions: Vec<Partition>,
    root: Ext4,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// `bios`, `esp`, `root`, or the GUID of another type.
    pub kind: String,
    /// Its own GUID.
    pub guid: String,
    /// Where it begins.
    pub start_bytes: u64,
    /// How long it is.
    pub size_bytes: u64,
}

/// One file, directory or link of the root file system.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Absolute path.
    pub path: String,
    /// `file`, `directory`, `link` or `special`.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Length in bytes.
    pub size_bytes: u64,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, pipe or socket.
    Special,
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::Regular => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Special,
        }
    }
}

/// Opens a qcow2 or raw image of ours.
///
/// # Errors
/// When it is no disk image with a GPT and an ext4 root file system.
pub fn open(path: &Path) -> Result<Image> {
    let (format, source) = open_source(path)?;
    of(path, format, source)
}

/// The image that these bytes are, or will be once they are written to `path`.
pub fn of(path: &Path, format: Format, source: Arc<dyn Source>) -> Result<Image> {
    let partitions = partitions(&source)
        .with_context(|| format!("reading the partition table of {}", path.display()))?;
    let root = partitions.iter().find(|partition| partition.kind == "root");
    let root = root.with_context(|| format!("{} has no root partition", path.display()))?;
    let window = Window::new(Arc::clone(&source), root.start_bytes, root.size_bytes);
    let root = Ext4::load(Box::new(window))
        .with_context(|| format!("reading the root file system of {}", path.display()))?;
    Ok(Image {
        path: path.to_owned(),
        format,
        source,
        partitions,
        root,
    })
}

/// Opens an image as bytes of a disk, whatever is on it.
pub fn open_source(path: &Path) -> Result<(Format, Arc<dyn Source>)> {
    let context = || format!("opening {}", path.display());
    let mut start = Vec::new();
    let file = std::fs::File::open(path).with_context(context)?;
    file.take(4).read_to_end(&mut start).with_context(context)?;
    if start == qcow2::MAGIC {
        Ok((Format::Qcow2, Arc::new(Qcow2File::open(path)?)))
    } else {
        Ok((Format::Raw, Arc::new(RawFile::open(path)?)))
    }
}

fn partitions(source: &Arc<dyn Source>) -> Result<Vec<Partition>> {
    let device = Window::whole(Arc::clone(source));
    let table = GptConfig::new().writable(false).open_from_device(device)?;
    let sector = *table.logical_block_size();
    let mut partitions = Vec::new();
    for (number, partition) in table.partitions() {
        let kind = match &partition.part_type_guid {
            kind if *kind == partition_types::BIOS => "bios".to_owned(),
            kind if *kind == partition_types::EFI => "esp".to_owned(),
            kind if *kind == partition_types::LINUX_ROOT_X64 => "root".to_owned(),
            // What an installer makes is of no special type.
            kind if *kind == partition_types::LINUX_FS && partition.name == "root" => {
                "root".to_owned()
            }
            kind => kind.guid.to_string(),
        };
        partitions.push(Partition {
            number: *number,
            name: partition.name.clone(),
            kind,
            guid: partition.part_guid.to_string(),
            start_bytes: partition.bytes_start(sector)?,
            size_bytes: partition.bytes_len(sector)?,
        });
    }
    Ok(partitions)
}

impl Image {
    /// Where the image is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The bytes of the disk.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Its partitions, by number.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// UUID of the root file system.
    pub fn root_uuid(&self) -> String {
        self.root.uuid().to_string()
    }

    /// The bytes of the first partition of this kind.
    pub fn window(&self, kind: &str) -> Option<Window> {
        let found = self.partitions.iter().find(|p| p.kind == kind)?;
        let source = Arc::clone(&self.source);
        Some(Window::new(source, found.start_bytes, found.size_bytes))
    }

    /// The content of a file; links are followed.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.root.read(path).with_context(|| self.reading(path))
    }

    /// The content of a file, or `None` where there is none.
    pub fn read_if_exists(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.root.read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Ext4Error::NotFound) => Ok(None),
            Err(error) => Err(error).with_context(|| self.reading(path)),
        }
    }

    /// What is at a path, or `None`; a link is not followed.
    pub fn entry(&self, path: &str) -> Result<Option<Entry>> {
        match self.root.symlink_metadata(path) {
            Ok(metadata) => Ok(Some(entry(path.to_owned(), &metadata))),
            Err(Ext4Error::NotFound) => Ok(None),
            Err(error) => Err(error).with_context(|| self.reading(path)),
        }
    }

    /// The target of a symbolic link.
    pub fn link(&self, path: &str) -> Result<String> {
        let target = self
            .root
            .read_link(path)
            .with_context(|| self.reading(path))?;
        Ok(target.display().to_string())
    }

    /// What a directory holds, sorted by path; nothing where there is no such directory.
    pub fn list(&self, directory: &str) -> Result<Vec<Entry>> {
        let listing = match self.root.read_dir(directory) {
            Ok(listing) => listing,
            Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| self.reading(directory)),
        };
        let mut entries = Vec::new();
        for found in listing {
            let found = found.with_context(|| self.reading(directory))?;
            let name = found.file_name().display().to_string();
            if name != "." && name != ".." {
                let metadata = found.metadata().with_context(|| self.reading(directory))?;
                let path = format!("{}/{name}", directory.trim_end_matches('/'));
                entries.push(entry(path, &metadata));
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Visits everything below a directory, in an order that is the same each time.
    pub fn walk(&self, directory: &str, visit: &mut dyn FnMut(&Entry) -> Result<()>) -> Result<()> {
        for entry in self.list(directory)? {
            visit(&entry)?;
            if entry.kind == Kind::Directory {
                self.walk(&entry.path, visit)?;
            }
        }
        Ok(())
    }

    /// Writes a file of the image to `output`, however large it is.
    pub fn copy(&self, path: &str, output: &mut dyn std::io::Write) -> Result<u64> {
        let mut file = self.root.open(path).with_context(|| self.reading(path))?;
        let copied = std::io::copy(&mut file, output);
        copied.with_context(|| self.reading(path))
    }

    /// An error's context: what is being read.
    fn reading(&self, path: &str) -> String {
        format!("reading {path} of {}", self.path.display())
    }

    /// True if the root partition is the last one, and so can grow.
    pub fn root_is_last(&self) -> bool {
        let last = self.partitions.iter().max_by_key(|p| p.start_bytes);
        last.is_some_and(|last| last.kind == "root")
    }
}

fn entry(path: String, metadata: &ext4_view::Metadata) -> Entry {
    Entry {
        path,
        kind: metadata.file_type().into(),
        mode: u32::from(metadata.mode()) & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        size_bytes: metadata.len(),
    }
}
