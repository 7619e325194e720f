//! Enables and disables systemd units by the links that `systemctl` would make, in a tree that
//! does not run.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where packages keep units.
pub const PACKAGED: &str = "usr/lib/systemd/system";
/// Where the links of enabled units are.
pub const LINKS: &str = "etc/systemd/system";

/// The links (path on the node, target) that enable a unit with this text.
pub fn links(unit: &str, text: &str) -> Vec<(PathBuf, String)> {
    let target = format!("/{PACKAGED}/{unit}");
    let mut links = Vec::new();
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let (Some((key, value)), "[Install]") = (line.split_once('='), section) else {
            continue;
        };
        for name in value.split_whitespace() {
            let link = match key.trim() {
                "WantedBy" => format!("/{LINKS}/{name}.wants/{unit}"),
                "RequiredBy" => format!("/{LINKS}/{name}.requires/{unit}"),
                "Alias" => format!("/{LINKS}/{name}"),
                _ => continue,
            };
            links.push((PathBuf::from(link), target.clone()));
        }
    }
    links
}

/// Enables a unit of the tree's packages; false if the tree has no such unit.
pub fn enable(tree: &Path, unit: &str) -> Result<bool> {
    let path = tree.join(PACKAGED).join(unit);
    let Some(text) = firstboot::files::read_if_exists(&path)? else {
        return Ok(false);
    };
    for (link, target) in links(unit, &text) {
        let link = tree.join(link.strip_prefix("/").unwrap_or(&link));
        let context = || format!("enabling {unit}: linking {}", link.display());
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent).with_context(context)?;
        }
        match symlink(target, &link) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(context);
            }
            _ => {}
        }
    }
    Ok(true)
}

/// Removes every link that enables the unit.
pub fn disable(tree: &Path, unit: &str) -> Result<()> {
    let links = tree.join(LINKS);
    let context = || format!("disabling {unit}");
    let entries = match fs::read_dir(&links) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.with_context(context)?,
    };
    for entry in entries {
        let path = entry.with_context(context)?.path();
        let kind = path.symlink_metadata().with_context(context)?.file_type();
        let link = if kind.is_dir() { path.join(unit) } else { path };
        let Ok(target) = fs::read_link(&link) else {
            continue;
        };
        let masked = target == Path::new("/dev/null");
        if !masked && target.file_name().is_some_and(|name| name == unit) {
            fs::remove_file(&link).with_context(context)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\nWantedBy=no.target\n\
                        [Install]\nWantedBy=multi-user.target other.target\nAlias=y.service\n";

    #[test]
    fn the_install_section_alone_decides() {
        let links: Vec<String> = links("x.service", UNIT)
            .into_iter()
            .map(|(link, target)| format!("{} {target}", link.display()))
            .collect();
        let unit = "/usr/lib/systemd/system/x.service";
        assert_eq!(
            links,
            [
                format!("/etc/systemd/system/multi-user.target.wants/x.service {unit}"),
                format!("/etc/systemd/system/other.target.wants/x.service {unit}"),
                format!("/etc/systemd/system/y.service {unit}"),
            ]
        );
    }

    #[test]
    fn disabling_undoes_enabling_and_leaves_masks() {
        let tree = tempfile::tempdir().unwrap();
        let packaged = tree.path().join(PACKAGED);
        fs::create_dir_all(&packaged).unwrap();
        let unit = firstboot::files::Ownership::mode(0o644);
        firstboot::files::replace(&packaged.join("x.service"), UNIT.as_bytes(), unit).unwrap();
        assert!(!enable(tree.path(), "none.service").unwrap());
        assert!(enable(tree.path(), "x.service").unwrap());
        assert!(enable(tree.path(), "x.service").unwrap());
        let links = tree.path().join(LINKS);
        let wants = links.join("multi-user.target.wants/x.service");
        assert!(wants.is_symlink() && links.join("y.service").is_symlink());
        symlink("/dev/null", links.join("masked.service")).unwrap();
        disable(tree.path(), "x.service").unwrap();
        assert!(!wants.is_symlink() && !links.join("y.service").is_symlink());
        disable(tree.path(), "masked.service").unwrap();
        assert!(links.join("masked.service").is_symlink());
    }
}
