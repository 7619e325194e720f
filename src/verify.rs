//! Judges an image, or a directory of what the build wrote, as a stranger would: by its bytes.

use std::collections::BTreeMap;
use std::path::Path;

use crate::fault::Class;
use crate::inspect::Image;
use crate::inspect::report::Report as Inspection;
use crate::manifest::{Hashed, Manifest, NAME, SUMS};
use crate::report::Report;
use crate::{identity, inspect};
use anyhow::{Context, Result};

/// An error of class `Refused` that names everything wrong with an image, if there is anything.
pub fn refuse(image: &Image) -> Result<()> {
    let wrong = wrong_with(image)?;
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Class::Refused.error(format!(
        "{} is not fit to be used:\n  {}\n\
         hint: what holds a secret or an identity belongs into [build] remove of the platform, or \
         must not be made at all",
        image.path().display(),
        wrong.join("\n  ")
    )))
}

/// What is wrong with an image, one line each: secrets, identities, and what keeps it from
/// booting everywhere.
pub fn wrong_with(image: &Image) -> Result<Vec<String>> {
    let findings = identity::findings(image)?;
    let mut wrong: Vec<String> = findings.iter().map(ToString::to_string).collect();
    wrong.extend(Inspection::of(image)?.faults());
    if !image.root_is_last() {
        wrong.push("the root partition is not the last one, and cannot grow".to_owned());
    }
    Ok(wrong)
}

/// Checks every file of a directory of images.
///
/// # Errors
/// Class `Refused` with a line for each thing that is wrong.
pub fn directory(directory: &Path) -> Result<()> {
    let sums_path = directory.join(SUMS);
    let text = std::fs::read_to_string(&sums_path)
        .with_context(|| format!("reading {}", sums_path.display()))?;
    let sums = sums(&text)?;
    let images = sums.keys().filter(|name| is_image(name)).count();
    let report = Report::new(sums.len() + images);
    let mut wrong = Vec::new();
    for (name, expected) in &sums {
        let stage = report.begin(format!("{name}: checksum"));
        let path = directory.join(name);
        let result = match Hashed::of(&path) {
            Ok(hashed) if hashed.sha256 == *expected => "matches",
            Ok(_) => {
                wrong.push(format!("{name}: is not the file that was built"));
                "DIFFERS"
            }
            Err(error) => {
                wrong.push(format!("{name}: {error:#}"));
                "UNREADABLE"
            }
        };
        stage.finish(result);
        if result == "matches" && is_image(name) {
            wrong.extend(image(&report, name, &path)?);
        }
    }
    wrong.extend(manifest(directory, &sums)?);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Class::Refused.error(format!(
        "{} is not as it was built:\n  {}\nhint: build it again: make images",
        directory.display(),
        wrong.join("\n  ")
    )))
}

/// True for what can be opened; a compressed stream cannot, its checksum is all there is.
fn is_image(name: &str) -> bool {
    [".qcow2", ".raw"].iter().any(|end| name.ends_with(end))
}

/// What is wrong inside an image.
fn image(report: &Report, name: &str, path: &Path) -> Result<Vec<String>> {
    let stage = report.begin(format!("{name}: secrets, identities, boot loaders"));
    let wrong = wrong_with(&inspect::open(path)?)?;
    stage.finish(&match wrong.len() {
        0 => "nothing found".to_owned(),
        count => format!("{count} found"),
    });
    Ok(wrong.iter().map(|line| format!("{name}: {line}")).collect())
}

/// What the manifest says otherwise than the checksums.
fn manifest(directory: &Path, sums: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let Some(manifest) = Manifest::load(directory)? else {
        return Ok(vec![format!("{NAME}: is not there, or of another version")]);
    };
    let mut wrong = Vec::new();
    for file in manifest
        .images
        .values()
        .flat_map(|image| [&image.disk, &image.sbom])
    {
        let name = &file.file;
        match sums.get(name) {
            None => wrong.push(format!("{name}: is in {NAME} and not in {SUMS}")),
            Some(sum) if *sum != file.sha256 => {
                wrong.push(format!("{name}: {NAME} and {SUMS} disagree"));
            }
            Some(_) => {}
        }
    }
    Ok(wrong)
}

/// Parses `SHA256SUMS`: 64 digits, two characters, a name.
pub(crate) fn sums(text: &str) -> Result<BTreeMap<String, String>> {
    let lines = text.lines().enumerate().map(|(index, line)| {
        let parsed = line.split_once(' ').and_then(|(sum, name)| {
            let hexadecimal = sum.len() == 64 && sum.chars().all(|c| c.is_ascii_hexdigit());
            let name = name.trim_start_matches([' ', '*']);
            (hexadecimal && !name.is_empty() && !name.starts_with('/') && !name.contains(".."))
                .then(|| (name.to_owned(), sum.to_owned()))
        });
        parsed.with_context(|| format!("SHA256SUMS:{}: not a checksum and a name", index + 1))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Inputs;
    use crate::fault::Class;
    use crate::manifest;
    use firstboot::config::Role;
    use firstboot::files::{Ownership, replace};

    fn write(directory: &Path, name: &str, text: &str) {
        replace(
            &directory.join(name),
            text.as_bytes(),
            Ownership::mode(0o644),
        )
        .unwrap();
    }

    #[test]
    fn a_changed_file_and_a_disagreeing_manifest_are_both_named() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        write(directory, "a", "abc");
        write(directory, "b", "abc");
        let mut written = Manifest::new("debian-12", "zed");
        let image = manifest::Image {
            disk: Hashed::of(&directory.join("a")).unwrap(),
            virtual_bytes: 1 << 30,
            key: "k".to_owned(),
            inputs: Inputs::default(),
            sbom: Hashed::of(&directory.join("b")).unwrap(),
            packages: Vec::new(),
        };
        written.images.insert(Role::Compute, image);
        written.save(directory).unwrap();
        super::directory(directory).unwrap();
        write(directory, "b", "abd");
        let sums = std::fs::read_to_string(directory.join(SUMS)).unwrap();
        let sum = &sums[..64];
        write(directory, SUMS, &sums.replacen(sum, &"0".repeat(64), 1));
        let error = super::directory(directory).unwrap_err();
        assert_eq!(Class::of(&error), Class::Refused);
        assert_eq!(
            error.to_string(),
            format!(
                "{} is not as it was built:\n  a: is not the file that was built\n  \
                 b: is not the file that was built\n  \
                 a: manifest.json and SHA256SUMS disagree\nhint: build it again: make images",
                directory.display()
            )
        );
        std::fs::remove_file(directory.join(NAME)).unwrap();
        write(directory, SUMS, "");
        let error = super::directory(directory).unwrap_err().to_string();
        assert!(
            error.contains("\n  manifest.json: is not there, or of another version\n"),
            "{error}"
        );
    }

    #[test]
    fn a_name_that_leaves_the_directory_is_no_name() {
        let error = sums(&format!("{}  ../x\n", "0".repeat(64))).unwrap_err();
        assert_eq!(error.to_string(), "SHA256SUMS:1: not a checksum and a name");
    }
}
