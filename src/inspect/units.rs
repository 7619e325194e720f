//! The systemd units that an image starts at boot: links below `/etc/systemd/system`.

use anyhow::Result;

use super::{Image, Kind};

const SYSTEM: &str = "/etc/systemd/system";

/// Names of the enabled units, sorted, each once; masked ones are not among them.
pub fn enabled(image: &Image) -> Result<Vec<String>> {
    let mut units = Vec::new();
    for directory in image.list(SYSTEM)? {
        let wanted = directory.path.ends_with(".wants") || directory.path.ends_with(".requires");
        if directory.kind != Kind::Directory || !wanted {
            continue;
        }
        for link in image.list(&directory.path)? {
            let name = link.path.rsplit('/').next().unwrap_or_default().to_owned();
            if link.kind == Kind::Link && !masked(image, &name)? {
                units.push(name);
            }
        }
    }
    units.sort();
    units.dedup();
    Ok(units)
}

fn masked(image: &Image, unit: &str) -> Result<bool> {
    let path = format!("{SYSTEM}/{unit}");
    let link = image
        .entry(&path)?
        .is_some_and(|entry| entry.kind == Kind::Link);
    Ok(link && image.link(&path)? == "/dev/null")
}
