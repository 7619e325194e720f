//! `.treeinfo`: what an installation tree says of itself (productmd 1.2). Pure.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// A file of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its path in the tree.
    pub path: String,
    /// Its SHA-256, in lower case hexadecimal.
    pub sha256: String,
}

/// What the installer consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeInfo {
    /// The release's version, as in `9`.
    pub version: String,
    /// The kernel that boots the installer.
    pub kernel: Part,
    /// Its initial RAM disk.
    pub initrd: Part,
    /// The installer itself (`install.img`).
    pub stage2: Part,
}

impl TreeInfo {
    /// Reads the text of a `.treeinfo`.
    ///
    /// # Errors
    /// When a part or its checksum is missing, or its path leads out of the tree.
    pub fn parse(text: &str) -> Result<Self> {
        let sections = sections(text);
        let value = |section: &str, key: &str| {
            let found = sections.get(section).and_then(|keys| keys.get(key));
            found.with_context(|| format!("it has no {key} under [{section}]"))
        };
        let architecture = value("tree", "arch").or_else(|_| value("general", "arch"))?;
        let part = |section: &str, key: &str| {
            let path = value(section, key)?;
            let inside = path.split('/').all(|name| !matches!(name, "" | "." | ".."));
            ensure!(inside, "{key} under [{section}] is {path:?}");
            let sum = value("checksums", path)?;
            let digits = sum.strip_prefix("sha256:").unwrap_or_default();
            let is_good = digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit());
            ensure!(is_good, "the checksum of {path} is no SHA-256: {sum:?}");
            Ok(Part {
                path: path.clone(),
                sha256: digits.to_ascii_lowercase(),
            })
        };
        let images = format!("images-{architecture}");
        Ok(Self {
            version: value("release", "version")
                .or_else(|_| value("general", "version"))?
                .clone(),
            kernel: part(&images, "kernel")?,
            initrd: part(&images, "initrd")?,
            stage2: part("stage2", "mainimage")?,
        })
    }
}

/// Keys and values by section. A checksum's key is a path, so that only `=` separates.
fn sections(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            name = section.to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            let keys = sections.entry(name.clone()).or_default();
            keys.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As lorax and productmd write it; that of CentOS Stream itself was not seen.
    fn text() -> String {
        let sum = "0A".repeat(32);
        format!(
            "[checksums]\nimages/install.img = sha256:{sum}\n\
             images/pxeboot/initrd.img = sha256:{sum}\nimages/pxeboot/vmlinuz = sha256:{sum}\n\
             \n[general]\narch = x86_64\n; WARNING.0 = This section provides compatibility\n\
             version = 9\n\n[header]\ntype = productmd.treeinfo\nversion = 1.2\n\
             \n[images-x86_64]\ninitrd = images/pxeboot/initrd.img\n\
             kernel = images/pxeboot/vmlinuz\n\n[release]\nname = CentOS Stream\nversion = 9\n\
             \n[stage2]\nmainimage = images/install.img\n\n[tree]\narch = x86_64\n"
        )
    }

    #[test]
    fn the_parts_of_an_installer_have_paths_and_checksums() {
        let info = TreeInfo::parse(&text()).unwrap();
        assert_eq!(info.version, "9");
        assert_eq!(info.kernel.path, "images/pxeboot/vmlinuz");
        assert_eq!(info.initrd.path, "images/pxeboot/initrd.img");
        assert_eq!(info.stage2.path, "images/install.img");
        assert_eq!(info.stage2.sha256, "0a".repeat(32));
    }

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        let table = [
            (
                text().replace("mainimage = images/install.img\n", ""),
                "it has no mainimage under [stage2]",
            ),
            (
                text().replace("images/pxeboot/vmlinuz = sha256", "elsewhere = sha256"),
                "it has no images/pxeboot/vmlinuz under [checksums]",
            ),
            (
                text().replace("kernel = images/", "kernel = ../../"),
                "kernel under [images-x86_64] is \"../../pxeboot/vmlinuz\"",
            ),
            (
                text().replace("images/install.img = sha256:", "images/install.img = md5:"),
                &format!(
                    "the checksum of images/install.img is no SHA-256: \"md5:{}\"",
                    "0A".repeat(32)
                ),
            ),
            ("<html>".to_owned(), "it has no arch under [general]"),
        ];
        for (text, expected) in table {
            assert_eq!(TreeInfo::parse(&text).unwrap_err().to_string(), expected);
        }
    }
}
