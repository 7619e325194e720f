//! The packages that are installed in an image, from its own package database or, where that is
//! RPM's, from the list that the installation left.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::Image;

const DPKG_STATUS: &str = "/var/lib/dpkg/status";
/// Name, epoch with version and release, architecture and source package, between tabs.
const RPM_LIST: &str = "/usr/share/cellboot/packages.tsv";

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// Its source package.
    pub source: String,
}

/// The installed packages, by name.
///
/// # Errors
/// When the image cannot be read, or has neither a database nor a list.
pub fn of(image: &Image) -> Result<Vec<Package>> {
    let read = |path: &str| -> Result<Option<String>> {
        let Some(bytes) = image.read_if_exists(path)? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes).with_context(|| format!("reading {path}"))?;
        Ok(Some(text))
    };
    if let Some(text) = read(DPKG_STATUS)? {
        return Ok(of_dpkg(&text));
    }
    match read(RPM_LIST)? {
        Some(text) => of_rpm(&text),
        None => Ok(Vec::new()),
    }
}

/// The packages that dpkg's `status` says are installed, by name.
pub fn of_dpkg(status: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = status.split("\n\n").filter_map(paragraph).collect();
    packages.sort();
    packages
}

/// The package of one paragraph, if it is installed.
fn paragraph(text: &str) -> Option<Package> {
    let field = |name: &str| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.map(str::to_owned)
    };
    let name = field("Package")?;
    (field("Status")? == "install ok installed").then_some(())?;
    let source = field("Source").unwrap_or_else(|| name.clone());
    Some(Package {
        version: field("Version")?,
        architecture: field("Architecture")?,
        source: source.split(' ').next()?.to_owned(),
        name,
    })
}

fn of_rpm(list: &str) -> Result<Vec<Package>> {
    let line = |(index, line): (usize, &str)| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, version, architecture, source] = fields[..] else {
            bail!("{RPM_LIST}:{}: not four fields between tabs", index + 1);
        };
        Ok(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            source: source.to_owned(),
        })
    };
    let mut packages: Vec<Package> = list.lines().enumerate().map(line).collect::<Result<_>>()?;
    // The keys that RPM trusts are in its database as packages without an architecture.
    packages.retain(|package| package.architecture != "(none)");
    packages.sort();
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(package: &Package) -> [&str; 4] {
        let Package {
            name,
            version,
            architecture,
            source,
        } = package;
        [name, version, architecture, source].map(String::as_str)
    }

    #[test]
    fn only_what_is_installed_counts() {
        let text = "Package: a\nStatus: install ok installed\nArchitecture: all\n\
                    Source: src (1)\nVersion: 1-2\nDescription: x\n Version: no\n";
        assert_eq!(fields(&of_dpkg(text)[0]), ["a", "1-2", "all", "src"]);
        let removed = text.replace("install ok installed", "deinstall ok config-files");
        assert_eq!(of_dpkg(&removed), []);
    }

    #[test]
    fn the_list_of_rpm_is_read_without_its_keys() {
        let text = "httpd\t2.4.62-1.el9\tx86_64\thttpd-2.4.62-1.el9.src.rpm\n\
                    gpg-pubkey\t8483c65d-5ccc5b19\t(none)\t(none)\n\
                    openstack-nova-api\t1:27.5.1-1.el9s\tnoarch\topenstack-nova-27.5.1-1.el9s.src.rpm\n";
        let packages = of_rpm(text).unwrap();
        assert_eq!(packages.len(), 2);
        assert_eq!(
            fields(&packages[1]),
            [
                "openstack-nova-api",
                "1:27.5.1-1.el9s",
                "noarch",
                "openstack-nova-27.5.1-1.el9s.src.rpm"
            ]
        );
        let error = of_rpm("a\tb\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "/usr/share/cellboot/packages.tsv:1: not four fields between tabs"
        );
    }
}
