//! The bill of materials of an image, as SPDX 2.3 in JSON. Equal images have equal ones.

use anyhow::{Context, Result};
use firstboot::platform::Platform;
use serde_json::{Value, json};

use crate::inspect::packages::Package;

/// The same moment as that of the files in the image: no clock is an input of an image.
const CREATED: &str = "2026-01-01T00:00:00Z";
const UNKNOWN: &str = "NOASSERTION";

/// The document of an image named `name`, whose inputs have this key.
pub fn document(
    name: &str,
    key: &str,
    platform: &Platform,
    packages: &[Package],
) -> Result<Vec<u8>> {
    let mut listed = vec![json!({
        "SPDXID": "SPDXRef-image",
        "name": name,
        "versionInfo": key,
        "supplier": UNKNOWN,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    })];
    let mut relations = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": "SPDXRef-image",
    })];
    let kind = Kind::of(platform);
    for package in packages {
        let id = identifier(package, &kind);
        listed.push(entry(package, &id, &kind));
        relations.push(json!({
            "spdxElementId": "SPDXRef-image",
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": id,
        }));
    }
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://cellboot.invalid/spdx/{name}-{key}"),
        "creationInfo": {
            "created": CREATED,
            "creators": [format!("Tool: cellboot-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": listed,
        "relationships": relations,
    });
    serde_json::to_vec_pretty(&document).context("writing the bill of materials")
}

/// What packages are, as package URLs say it.
struct Kind<'a> {
    /// The type.
    package: &'static str,
    /// Whose they are.
    namespace: &'static str,
    distribution: &'a str,
}

impl<'a> Kind<'a> {
    fn of(platform: &'a Platform) -> Self {
        match &platform.archive {
            Some(archive) => Self {
                package: "deb",
                namespace: "debian",
                distribution: &archive.suite,
            },
            None => Self {
                package: "rpm",
                namespace: "centos",
                distribution: &platform.name,
            },
        }
    }
}

fn entry(package: &Package, id: &str, kind: &Kind<'_>) -> Value {
    let Package {
        name,
        version,
        architecture,
        source,
    } = package;
    let Kind {
        package,
        namespace,
        distribution,
    } = kind;
    // A package URL has RPM's epoch beside the version.
    let (epoch, version) = match version.split_once(':').filter(|_| *package == "rpm") {
        Some((epoch, version)) => (format!("&epoch={epoch}"), version),
        None => (String::new(), version.as_str()),
    };
    let address = format!(
        "pkg:{package}/{namespace}/{}@{}?arch={architecture}&distro={distribution}{epoch}&upstream={}",
        escape(name),
        escape(version),
        escape(source)
    );
    json!({
        "SPDXID": id,
        "name": name,
        "versionInfo": version,
        "supplier": UNKNOWN,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": address,
        }],
    })
}

/// SPDX identifiers have letters, digits, dots and hyphens.
fn identifier(package: &Package, kind: &Kind<'_>) -> String {
    let name: String = format!("{}-{}", package.name, package.architecture)
        .chars()
        .map(|c| match c {
            '+' => 'x',
            c if c.is_ascii_alphanumeric() || c == '.' => c,
            _ => '-',
        })
        .collect();
    format!("SPDXRef-{}-{name}", kind.package)
}

/// What a package URL does not carry as it is.
fn escape(text: &str) -> String {
    text.replace('%', "%25")
        .replace('+', "%2B")
        .replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_contained_and_has_an_address() {
        let package = Package {
            name: "libstdc++6".to_owned(),
            version: "1:2+b1".to_owned(),
            architecture: "amd64".to_owned(),
            source: "gcc-12".to_owned(),
        };
        let platform = Platform::load("debian-12").unwrap();
        let text = document("compute", "k", &platform, &[package]).unwrap();
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            value["packages"][1]["externalRefs"][0]["referenceLocator"],
            "pkg:deb/debian/libstdc%2B%2B6@1%3A2%2Bb1?arch=amd64&distro=bookworm&upstream=gcc-12"
        );
        let id = &value["packages"][1]["SPDXID"];
        assert_eq!(id, "SPDXRef-deb-libstdcxx6-amd64");
        assert_eq!(&value["relationships"][1]["relatedSpdxElement"], id);
    }

    #[test]
    fn a_package_of_rpm_has_its_epoch_beside_its_version() {
        let package = Package {
            name: "openstack-nova-api".to_owned(),
            version: "1:27.5.1-1.el9s".to_owned(),
            architecture: "noarch".to_owned(),
            source: "openstack-nova-27.5.1-1.el9s.src.rpm".to_owned(),
        };
        let platform = Platform::load("centos-stream-9").unwrap();
        let text = document("controller", "k", &platform, &[package]).unwrap();
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            value["packages"][1]["externalRefs"][0]["referenceLocator"],
            "pkg:rpm/centos/openstack-nova-api@27.5.1-1.el9s?arch=noarch&distro=centos-stream-9\
             &epoch=1&upstream=openstack-nova-27.5.1-1.el9s.src.rpm"
        );
    }
}
