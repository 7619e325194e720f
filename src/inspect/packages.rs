//! The packages that are installed in an image, from its own package database.

use anyhow::{Context, Result};
use serde::Serialize;

use super::Image;

const DPKG_STATUS: &str = "/var/lib/dpkg/status";

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
}

/// The installed packages, by name.
pub fn of(image: &Image) -> Result<Vec<Package>> {
    let status = image.read_if_exists(DPKG_STATUS)?.unwrap_or_default();
    let text = String::from_utf8(status).with_context(|| format!("reading {DPKG_STATUS}"))?;
    let mut packages: Vec<Package> = text.split("\n\n").filter_map(parse).collect();
    packages.sort();
    Ok(packages)
}

/// The package of one paragraph, if it is installed.
fn parse(paragraph: &str) -> Option<Package> {
    let field = |name: &str| {
        let mut lines = paragraph.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    (field("Status")? == "install ok installed").then_some(())?;
    Some(Package {
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        architecture: field("Architecture")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let text = "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1-2\n\
                    Description: x\n Version: no";
        let package = parse(text).unwrap();
        assert_eq!(
            (package.name.as_str(), package.version.as_str()),
            ("a", "1-2")
        );
        assert_eq!(
            parse(&text.replace("install ok installed", "deinstall ok config-files")),
            None
        );
    }
}
