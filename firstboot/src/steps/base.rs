//! The node's name, the names of the others, and the time zone.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::shape;
use crate::files;
use crate::resource::config;
use crate::step::{Check, Step};

const KERNEL_NAME: &str = "/proc/sys/kernel/hostname";
const LOCAL_TIME: &str = "/etc/localtime";
const NAMES: &[&str] = &["/etc/hostname", "/etc/hosts"];

pub(super) fn steps() -> Vec<Step> {
    vec![
        // RabbitMQ, Nova, Neutron and Open vSwitch take the host's name into their data.
        Step::new(
            "base/hostname",
            "the node has its name and knows the others",
        )
        .needs(["base/preflight"])
        .hint("compare /etc/hosts with the nodes in /etc/cellboot/node.toml")
        .check(|context| match config::check(context, NAMES)? {
            Check::Done => {
                let name = kernel_name()?;
                Ok(Check::of(
                    name == context.config.name,
                    format!("the kernel calls this host {name:?}"),
                ))
            }
            other => Ok(other),
        })
        .apply(|context| {
            config::write(context, NAMES)?;
            rustix::system::sethostname(context.config.name.as_bytes())
                .context("setting the host's name")
        }),
        shape::rendered(
            "base/resolver",
            "names outside the site are asked of the site's servers",
            &["/etc/resolv.conf"],
        ),
        Step::new(
            "base/time-zone",
            "logs and clocks are in the site's time zone",
        )
        .needs(["base/preflight"])
        .hint("take a name of /usr/share/zoneinfo for site.time_zone")
        .check(|context| {
            let zone = zone(&context.config.site.time_zone);
            let link = std::fs::read_link(LOCAL_TIME).ok();
            if link.as_deref() != Some(zone.as_path()) {
                return Ok(Check::Todo(format!(
                    "{LOCAL_TIME} does not lead to {}",
                    zone.display()
                )));
            }
            config::check(context, &["/etc/timezone"])
        })
        .apply(|context| {
            let zone = zone(&context.config.site.time_zone);
            std::fs::metadata(&zone).with_context(|| format!("reading {}", zone.display()))?;
            replace_link(Path::new(LOCAL_TIME), &zone)?;
            config::write(context, &["/etc/timezone"])
        }),
    ]
}

fn kernel_name() -> Result<String> {
    let name = files::read_if_exists(Path::new(KERNEL_NAME))?;
    Ok(name.unwrap_or_default().trim_end().to_owned())
}

fn zone(name: &str) -> PathBuf {
    Path::new("/usr/share/zoneinfo").join(name)
}

/// Replaces a symbolic link in one move, so that at no time there is none.
fn replace_link(link: &Path, target: &Path) -> Result<()> {
    let context = || format!("linking {} to {}", link.display(), target.display());
    let temporary = link.with_extension("cellboot");
    if temporary.symlink_metadata().is_ok() {
        std::fs::remove_file(&temporary).with_context(context)?;
    }
    symlink(target, &temporary).with_context(context)?;
    std::fs::rename(&temporary, link).with_context(context)?;
    files::sync_directory(link.parent().unwrap_or(Path::new("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Ownership;

    #[test]
    fn a_link_replaces_a_file_and_a_leftover() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("localtime");
        files::replace(&link, b"old", Ownership::mode(0o644)).unwrap();
        symlink("/nowhere", directory.path().join("localtime.cellboot")).unwrap();
        replace_link(&link, Path::new("/usr/share/zoneinfo/UTC")).unwrap();
        assert_eq!(
            std::fs::read_link(&link).unwrap(),
            Path::new("/usr/share/zoneinfo/UTC")
        );
    }
}
