//! Installation trees of mirrors: the installer's kernel, initial RAM disk and second stage, each
//! checked against the tree's own `.treeinfo`, in the cache.
//!
//! ```text
//! .treeinfo ─▶ treeinfo ─▶ repositories there? ─▶ download (kernel, initrd, stage2) ─▶ cache/trees/HASH/
//! ```
//!
//! Packages are Anaconda's to fetch, from the same tree and the repositories beside it. Whoever changes a tree on a mirror changes
//! its `.treeinfo`, and with it the directory.

pub mod download;
pub mod treeinfo;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use firstboot::cmd::Cmd;
use firstboot::hash::sha256;
use firstboot::platform::Tree;

use crate::fault::Class;
use crate::report::Report;
use download::{Patience, Wanted};
use treeinfo::{Part, TreeInfo};

const TREEINFO: &str = ".treeinfo";
/// What every repository of packages begins with.
const REPOMD: &str = "repodata/repomd.xml";
const MIB: u64 = 1 << 20;
/// More than each has in any release.
const DESCRIPTION_MOST: u64 = MIB;
const KERNEL_MOST: u64 = 64 * MIB;
const INITRD_MOST: u64 = 512 * MIB;
const STAGE2_MOST: u64 = 4096 * MIB;
/// How long a mirror may take to show that it is there.
const ANSWER_SECONDS: &str = "5";
/// Trees that stay when another is fetched, the new one included.
const KEPT: usize = 2;

/// An installer in the cache, whole and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installer {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: PathBuf,
    /// The second stage.
    pub stage2: PathBuf,
    /// SHA-256 of the `.treeinfo`, which names all of them.
    pub fingerprint: String,
}

/// Makes sure that the installer of the tree at this address is below `cache`, and that the
/// `repositories` are there that it will be told of. The platform's `tree` says which version it has to
/// be, and where it is kept when its stream has ended.
///
/// # Errors
/// As [`download::fetch`]; of class [`Class::Refused`] when the tree is another one.
pub fn installer(
    url: &str,
    tree: &Tree,
    repositories: &[String],
    cache: &Path,
    patience: Patience,
    report: &Report,
) -> Result<Installer> {
    let trees = cache.join("trees");
    fs::create_dir_all(&trees).with_context(|| format!("making {}", trees.display()))?;
    let address = format!("{url}{TREEINFO}");
    let (version, when_gone) = (tree.version.as_str(), when_gone(tree));
    let text = small(&address, &trees, &when_gone, patience)?;
    let info = TreeInfo::parse(&text).map_err(|error| {
        Class::Refused.error(format!(
            "reading {address}: {error:#}\n\
             hint: the address of an installation tree ends in BaseOS/x86_64/os: give what comes \
             before that as main under [platform.mirrors]"
        ))
    })?;
    ensure!(
        info.version == version,
        Class::Refused.error(format!(
            "{address} is of version {}, not {version}\n\
             hint: give the address of a tree of CentOS Stream {version} under [platform.mirrors]",
            info.version
        ))
    );
    let when_missing = format!(
        "a release that has ended is moved away: give its address as sigs (or main) under \
         [platform.mirrors], which may be {:?}, or ask for another release",
        tree.vault_sigs
    );
    for repository in repositories {
        let address = format!("{repository}{REPOMD}");
        let text = small(&address, &trees, &when_missing, patience)?;
        ensure!(
            text.contains("<repomd"),
            Class::Refused.error(format!(
                "{address} is no repository's\n\
                 hint: name another mirror under [platform.mirrors]"
            ))
        );
    }
    let fingerprint = sha256(&text);
    let place = trees.join(&fingerprint);
    fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
    let stage = report.begin(format!("installer: fetching {url}"));
    let fetch = |part: &Part, name: &str, most_bytes| -> Result<PathBuf> {
        let file = place.join(name);
        let wanted = Wanted {
            url: &format!("{url}{}", part.path),
            sha256: Some(&part.sha256),
            most_bytes,
            when_gone: &when_gone,
        };
        let progress = |bytes: u64| stage.progress(&format!("{name}: {} MiB", bytes / MIB));
        download::fetch(wanted, &file, patience, &progress)?;
        Ok(file)
    };
    let installer = Installer {
        kernel: fetch(&info.kernel, "vmlinuz", KERNEL_MOST)?,
        initrd: fetch(&info.initrd, "initrd.img", INITRD_MOST)?,
        stage2: fetch(&info.stage2, "install.img", STAGE2_MOST)?,
        fingerprint,
    };
    prune(&trees, &place)?;
    stage.finish("whole, with the checksums of its .treeinfo");
    Ok(installer)
}

/// The text of a file that says what else there is.
fn small(address: &str, trees: &Path, when_gone: &str, patience: Patience) -> Result<String> {
    // Whoever builds at the same time has a file of its own.
    let file = trees.join(format!("description-{}", std::process::id()));
    let wanted = Wanted {
        url: address,
        sha256: None,
        most_bytes: DESCRIPTION_MOST,
        when_gone,
    };
    download::fetch(wanted, &file, patience, &|_| ())?;
    let text = fs::read_to_string(&file);
    fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    text.with_context(|| format!("reading {address}"))
}

/// Whether the tree at this address can be reached within a few seconds; else why not.
///
/// # Errors
/// With one line for people.
pub fn answers(url: &str) -> std::result::Result<(), String> {
    let address = format!("{url}{TREEINFO}");
    let curl = Cmd::new("curl")
        .args(["--silent", "--show-error", "--fail", "--location"])
        .args(["--max-time", ANSWER_SECONDS, "--output", "/dev/null"])
        .args(["--url", &address]);
    match curl.any_status() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{address}: {}", said.trim()))
        }
        Err(error) => Err(format!("{error:#}")),
    }
}

fn when_gone(tree: &Tree) -> String {
    format!(
        "the tree has moved: name a dated compose as main under [platform.mirrors], or, if the \
         stream has ended, main = {:?} and sigs = {:?}",
        tree.vault_main, tree.vault_sigs
    )
}

/// Removes the trees that were used longest ago.
fn prune(trees: &Path, newest: &Path) -> Result<()> {
    let context = || format!("looking through {}", trees.display());
    let mut others = Vec::new();
    for entry in fs::read_dir(trees).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path != newest && path.is_dir() {
            let changed = fs::metadata(&path).and_then(|it| it.modified());
            others.push((changed.with_context(context)?, path));
        }
    }
    others.sort();
    others.reverse();
    for (_, path) in others.into_iter().skip(KEPT - 1) {
        fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}
