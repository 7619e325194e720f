//! SELinux: whether the kernel has it, and the labels of files that were written anew.
//!
//! A file that replaces another has the label of its directory, where the policy may want one of
//! its own for that path.

use std::path::Path;

use anyhow::Result;

use crate::cmd::Cmd;
use crate::files;
use crate::node::Node;

/// `1` where the policy is enforced; not there where the kernel does without SELinux.
const ENFORCE: &str = "/sys/fs/selinux/enforce";

/// Whether the policy is enforced, if there is one.
///
/// # Errors
/// When the kernel does not tell.
pub fn enforced() -> Result<Option<bool>> {
    let text = files::read_if_exists(Path::new(ENFORCE))?;
    Ok(text.map(|text| text.trim() == "1"))
}

/// What the first of these files that has another label than the policy wants is called now.
///
/// # Errors
/// When the program that knows cannot be run.
pub fn mislabelled(node: &Node, paths: &[&str]) -> Result<Option<String>> {
    let Some(restore) = program(node, paths)? else {
        return Ok(None);
    };
    let said = restore
        .args(["-n", "-v", "--"])
        .args(paths.iter().copied())
        .read()?;
    Ok(said.lines().next().map(str::to_owned))
}

/// Gives these files the labels that the policy wants.
///
/// # Errors
/// When that fails.
pub fn relabel(node: &Node, paths: &[&str]) -> Result<()> {
    match program(node, paths)? {
        Some(restore) => restore.arg("--").args(paths.iter().copied()).run(),
        None => Ok(()),
    }
}

/// The program, where there is something to be done.
fn program(node: &Node, paths: &[&str]) -> Result<Option<Cmd>> {
    let program = node.platform.programs.get("restorecon");
    let is_needed = !paths.is_empty() && enforced()?.is_some();
    Ok(program.filter(|_| is_needed).map(Cmd::new))
}
