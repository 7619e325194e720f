//! Lays files into an ext4 image without mounting it, by `debugfs`, and proves that they are there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ext4_view::{Ext4, Ext4Error};
use firstboot::cmd::Cmd;

use super::TIMESTAMP_SECONDS;
use super::ext4::{check, fixed_clock};

/// One file, link or directory to be laid into a file system.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Absolute path on the node.
    pub path: PathBuf,
    /// What is there.
    pub content: Content,
    /// Permission bits; of no meaning to a link.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

/// What is laid down at a path.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A file with these bytes.
    File(Vec<u8>),
    /// A file with the bytes of this file of the build host.
    FromFile(PathBuf),
    /// A symbolic link to this target.
    Link(String),
    /// A directory; one that exists keeps its content.
    Directory,
}

/// Removes `remove` (with everything below) and lays down `files`, in this order. Files and links
/// replace what is there; missing parents are made, owned by root, mode 0755.
///
/// # Errors
/// When a path cannot be expressed or a directory is in the way of a file; when e2fsck finds
/// anything in the result, or the result does not hold what was asked for, byte for byte.
pub fn place(image: &Path, files: &[Placed], remove: &[PathBuf]) -> Result<()> {
    let context = || format!("laying files into {}", image.display());
    let contents = tempfile::tempdir().with_context(context)?;
    let view = Ext4::load_from_path(image).with_context(context)?;
    let mut script = Script::new(view, contents.path());
    for path in remove {
        script.remove(path)?;
    }
    for file in files {
        script.lay(file)?;
    }
    if script.text.is_empty() {
        return Ok(());
    }
    let commands = contents.path().join("script");
    File::create(&commands)
        .and_then(|mut file| file.write_all(script.text.as_bytes()))
        .with_context(context)?;
    let debugfs = Cmd::new("debugfs")
        .arg("-w")
        .arg("-f")
        .path(&commands)
        .path(image);
    let output = fixed_clock(debugfs).output()?;
    // It exits with 0 whatever went wrong; all it has to say besides is its version.
    let errors = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<&str> = errors
        .lines()
        .filter(|line| !line.starts_with("debugfs 1."))
        .collect();
    ensure!(
        errors.is_empty(),
        "{}: debugfs says:\n{}",
        context(),
        errors.join("\n")
    );
    check(image)?;
    let view = Ext4::load_from_path(image).with_context(context)?;
    files.iter().try_for_each(|file| confirm(&view, file))
}

/// The commands of one `debugfs` run, and what they will have changed by the time they run.
struct Script<'a> {
    view: Ext4,
    contents: &'a Path,
    text: String,
    count: usize,
    made: BTreeSet<PathBuf>,
    removed: BTreeSet<PathBuf>,
}

/// What is at a path before the script runs, as changed by the commands so far.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Present {
    Nothing,
    Directory,
    Other,
}

impl<'a> Script<'a> {
    fn new(view: Ext4, contents: &'a Path) -> Self {
        Self {
            view,
            contents,
            text: String::new(),
            count: 0,
            made: BTreeSet::new(),
            removed: BTreeSet::new(),
        }
    }

    fn command(&mut self, words: &[&str]) {
        let line: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let _ = writeln!(self.text, "{}", line.join(" "));
    }

    fn present(&self, path: &Path) -> Result<Present> {
        if self.made.contains(path) {
            return Ok(Present::Directory);
        }
        if path.ancestors().any(|above| self.removed.contains(above)) {
            return Ok(Present::Nothing);
        }
        match self.view.symlink_metadata(text(path)?) {
            Ok(metadata) if metadata.is_dir() => Ok(Present::Directory),
            Ok(_) => Ok(Present::Other),
            Err(Ext4Error::NotFound) => Ok(Present::Nothing),
            Err(error) => Err(error).with_context(|| format!("looking at {}", path.display())),
        }
    }

    /// The path with the links among its parents followed; the parents that are missing are made.
    fn settle(&mut self, path: &Path) -> Result<PathBuf> {
        text(path)?;
        ensure!(path.is_absolute(), "{} is no absolute path", path.display());
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("{} cannot be laid down", path.display());
        };
        let mut settled = PathBuf::from("/");
        for part in parent.components() {
            match part {
                Component::RootDir => continue,
                Component::Normal(part) => settled.push(part),
                _ => bail!("{} is no absolute path", path.display()),
            }
            match self.present(&settled)? {
                Present::Directory => {}
                Present::Nothing => {
                    let made = settled.clone();
                    self.command(&["mkdir", text(&made)?]);
                    self.own(&made, 0o040_755, 0, 0)?;
                    self.made.insert(made);
                }
                Present::Other => {
                    let link = text(&settled)?;
                    let target = self.view.canonicalize(link).with_context(|| {
                        format!(
                            "{} has {link} above it, which is no directory",
                            path.display()
                        )
                    })?;
                    settled = PathBuf::from(target.to_str().context("reading a link")?);
                }
            }
        }
        Ok(settled.join(name))
    }

    fn lay(&mut self, file: &Placed) -> Result<()> {
        let path = self.settle(&file.path)?;
        let present = self.present(&path)?;
        let name = text(&path)?.to_owned();
        ensure!(
            file.mode <= 0o7777,
            "{name}: mode {:o} is no mode",
            file.mode
        );
        if let Content::Directory = file.content {
            match present {
                Present::Directory => {}
                Present::Nothing => self.command(&["mkdir", &name]),
                Present::Other => bail!("{name} is to be a directory and is a file"),
            }
            self.made.insert(path.clone());
            return self.own(&path, 0o040_000 | file.mode, file.uid, file.gid);
        }
        match present {
            Present::Nothing => {}
            Present::Other => self.command(&["rm", &name]),
            Present::Directory => bail!("{name} is to be a file and is a directory"),
        }
        match &file.content {
            Content::Link(target) => {
                quotable(target)?;
                self.command(&["symlink", &name, target]);
                self.own(&path, 0o120_777, file.uid, file.gid)
            }
            Content::File(bytes) => {
                self.count += 1;
                let source = self.contents.join(self.count.to_string());
                File::create(&source)
                    .and_then(|mut file| file.write_all(bytes))
                    .with_context(|| format!("writing {}", source.display()))?;
                self.write(&source, &path, file)
            }
            Content::FromFile(source) => self.write(source, &path, file),
            Content::Directory => Ok(()),
        }
    }

    fn write(&mut self, source: &Path, path: &Path, file: &Placed) -> Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("{} cannot be laid down", path.display());
        };
        // The name that it writes is one of the current directory, whatever slashes it has.
        self.command(&["cd", text(parent)?]);
        let name = name.to_string_lossy().into_owned();
        let source = source
            .canonicalize()
            .with_context(|| format!("reading {}", source.display()))?;
        self.command(&["write", text(&source)?, &name]);
        self.command(&["cd", "/"]);
        self.own(path, 0o100_000 | file.mode, file.uid, file.gid)
    }

    fn own(&mut self, path: &Path, mode: u32, uid: u32, gid: u32) -> Result<()> {
        let name = text(path)?.to_owned();
        let time = format!("@{TIMESTAMP_SECONDS}");
        let fields = [
            ("mode", format!("0{mode:o}")),
            ("uid", uid.to_string()),
            ("gid", gid.to_string()),
        ];
        for (field, value) in &fields {
            self.command(&["set_inode_field", &name, field, value]);
        }
        for field in ["atime", "ctime", "mtime", "crtime"] {
            self.command(&["set_inode_field", &name, field, &time]);
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        let present = self.present(path)?;
        if present != Present::Nothing {
            self.remove_tree(path)?;
            self.removed.insert(path.to_owned());
        }
        Ok(())
    }

    fn remove_tree(&mut self, path: &Path) -> Result<()> {
        let name = text(path)?.to_owned();
        if self.present(path)? == Present::Other {
            self.command(&["rm", &name]);
            return Ok(());
        }
        let context = || format!("listing {name}");
        for entry in self.view.read_dir(name.as_str()).with_context(context)? {
            let entry = entry.with_context(context)?;
            let entry = entry.file_name().as_str().with_context(context)?.to_owned();
            if entry != "." && entry != ".." {
                self.remove_tree(&path.join(entry))?;
            }
        }
        self.command(&["rmdir", &name]);
        Ok(())
    }
}

/// A path as text that a `debugfs` script can carry.
fn text(path: &Path) -> Result<&str> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    quotable(text)?;
    Ok(text)
}

/// Its quotes have no escape that all versions share, and a line is a command.
fn quotable(text: &str) -> Result<()> {
    ensure!(
        !text.is_empty()
            && !text
                .chars()
                .any(|c| c == '"' || c == '\\' || c.is_control()),
        "the name {text:?} cannot be laid into an image"
    );
    Ok(())
}

/// Reads one file back.
fn confirm(view: &Ext4, file: &Placed) -> Result<()> {
    let name = text(&file.path)?;
    let context = || format!("reading {name} back");
    let metadata = view.symlink_metadata(name).with_context(context)?;
    let same = match &file.content {
        Content::Directory => metadata.is_dir(),
        Content::Link(target) => {
            let read = view.read_link(name).with_context(context)?;
            read.to_str().is_ok_and(|read| read == target)
        }
        Content::File(bytes) => &view.read(name).with_context(context)? == bytes,
        Content::FromFile(source) => {
            let bytes = std::fs::read(source).with_context(context)?;
            view.read(name).with_context(context)? == bytes
        }
    };
    let link = matches!(file.content, Content::Link(_));
    ensure!(
        same && (link || u32::from(metadata.mode()) & 0o7777 == file.mode)
            && (metadata.uid(), metadata.gid()) == (file.uid, file.gid),
        "{name} in the image is not what was laid down"
    );
    Ok(())
}
