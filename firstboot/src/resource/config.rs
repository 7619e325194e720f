//! Rendered configuration files on disk.
//!
//! A file is its text, its mode and its owner; all three are compared, so that a file that lost
//! its protection is as much to do as one that lost a line. Whether a service has read it is
//! [`super::unit`]'s question.

use std::collections::BTreeSet;

use anyhow::Result;

use super::selinux;
use crate::files;
use crate::node::{Node, NotJoined};
use crate::render::Rendered;
use crate::step::Check;

/// Whether each of these templates is on disk as it would be rendered now.
pub fn check(node: &Node, paths: &[&str]) -> Result<Check> {
    match render(node, paths) {
        Err(error) if error.is::<NotJoined>() => Ok(Check::Todo(NotJoined.to_string())),
        rendered => match check_rendered(&rendered?)? {
            Check::Done => Ok(match selinux::mislabelled(node, paths)? {
                Some(how) => Check::Todo(how),
                None => Check::Done,
            }),
            other => Ok(other),
        },
    }
}

/// Renders these templates and puts on disk those that are not there already. Nothing is written
/// unless all of them can be rendered.
pub fn write(node: &Node, paths: &[&str]) -> Result<()> {
    write_rendered(&render(node, paths)?)?;
    selinux::relabel(node, paths)
}

/// The templates among the files of these services, each once.
///
/// # Errors
/// When the platform has no such service.
pub fn of_services<'a>(node: &'a Node, services: &[&str]) -> Result<Vec<&'a str>> {
    let mut files = BTreeSet::new();
    for service in services {
        files.extend(&node.platform.service(service)?.files);
    }
    let templates = node.templates.paths(&node.platform.name);
    let known = files
        .into_iter()
        .filter(|file| templates.contains(&file.as_path()));
    Ok(known.filter_map(|file| file.to_str()).collect())
}

fn render(node: &Node, paths: &[&str]) -> Result<Vec<Rendered>> {
    let render = |path: &&str| node.templates.render(node, path);
    paths.iter().map(render).collect()
}

fn check_rendered(files: &[Rendered]) -> Result<Check> {
    for file in files {
        if !is_on_disk(file)? {
            let what = if file.path.exists() {
                "differs from what it should be"
            } else {
                "is missing"
            };
            return Ok(Check::Todo(format!("{} {what}", file.path.display())));
        }
    }
    Ok(Check::Done)
}

fn write_rendered(files: &[Rendered]) -> Result<()> {
    for file in files {
        if !is_on_disk(file)? {
            files::replace(&file.path, file.content.as_bytes(), file.ownership)?;
        }
    }
    Ok(())
}

fn is_on_disk(file: &Rendered) -> Result<bool> {
    files::is(&file.path, file.content.as_bytes(), file.ownership)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Ownership;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_missing_or_differs_is_written_and_the_rest_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str, mode| Rendered {
            path: directory.path().join(name),
            content: content.to_owned(),
            ownership: Ownership::mode(mode),
        };
        let files = [file("a/one.conf", "1", 0o640), file("two.conf", "2", 0o600)];
        let todo = |name: &str, what: &str| {
            let path = directory.path().join(name);
            Check::Todo(format!("{} {what}", path.display()))
        };
        assert_eq!(
            check_rendered(&files).unwrap(),
            todo("a/one.conf", "is missing")
        );
        write_rendered(&files).unwrap();
        assert_eq!(check_rendered(&files).unwrap(), Check::Done);
        let inode = |file: &Rendered| std::fs::metadata(&file.path).unwrap().ino();
        let before = inode(&files[0]);

        let changed = [file("a/one.conf", "1", 0o640), file("two.conf", "2", 0o640)];
        assert_eq!(
            check_rendered(&changed).unwrap(),
            todo("two.conf", "differs from what it should be")
        );
        write_rendered(&changed).unwrap();
        assert_eq!(check_rendered(&changed).unwrap(), Check::Done);
        assert_eq!(inode(&files[0]), before);
    }
}
