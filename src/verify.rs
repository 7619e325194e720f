//! Judges a directory that the build wrote as a stranger would: by its files alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::fault::Class;
use crate::inspect::report::Report as Inspection;
use crate::report::Report;
use crate::{identity, inspect};

/// What is read of the manifest.
#[derive(Debug, Deserialize)]
struct Manifest {
    files: Vec<Listed>,
}

/// One file of the manifest.
#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    sha256: String,
}

/// Checks every file of a directory of images.
///
/// # Errors
/// Class `Refused` with a line for each thing that is wrong.
pub fn directory(directory: &Path) -> Result<()> {
    let sums_path = directory.join("SHA256SUMS");
    let text = std::fs::read_to_string(&sums_path)
        .with_context(|| format!("reading {}", sums_path.display()))?;
    let sums = sums(&text)?;
    let report = Report::new(sums.len());
    let mut wrong = Vec::new();
    for (name, expected) in &sums {
        let stage = report.begin(format!("{name}: checksum"));
        let path = directory.join(name);
        let result = match hash(&path) {
            Ok(sum) if sum == *expected => "matches",
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
        if result == "matches" && [".qcow2", ".raw"].iter().any(|end| name.ends_with(end)) {
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

/// What is wrong inside an image.
fn image(report: &Report, name: &str, path: &Path) -> Result<Vec<String>> {
    let stage = report.begin(format!("{name}: secrets, identities, boot loaders"));
    let image = inspect::open(path)?;
    let findings = identity::findings(&image)?;
    let mut wrong: Vec<String> = findings.iter().map(|f| format!("{name}: {f}")).collect();
    let faults = Inspection::of(&image)?.faults();
    wrong.extend(faults.iter().map(|fault| format!("{name}: {fault}")));
    wrong.extend(image.root_is_last().err().map(|error| error.to_string()));
    stage.finish(&match wrong.len() {
        0 => "nothing found".to_owned(),
        count => format!("{count} found"),
    });
    Ok(wrong)
}

/// What the manifest says otherwise than the checksums.
fn manifest(directory: &Path, sums: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let path = directory.join("manifest.json");
    let context = || format!("reading {}", path.display());
    let text = std::fs::read_to_string(&path).with_context(context)?;
    let manifest: Manifest = serde_json::from_str(&text).with_context(context)?;
    let mut wrong = Vec::new();
    for file in &manifest.files {
        match sums.get(&file.name) {
            None => wrong.push(format!(
                "{}: is in manifest.json and not in SHA256SUMS",
                file.name
            )),
            Some(sum) if *sum != file.sha256 => {
                wrong.push(format!(
                    "{}: manifest.json and SHA256SUMS disagree",
                    file.name
                ));
            }
            Some(_) => {}
        }
    }
    Ok(wrong)
}

/// Parses `SHA256SUMS`: 64 digits, two characters, a name.
fn sums(text: &str) -> Result<BTreeMap<String, String>> {
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

fn hash(path: &Path) -> Result<String> {
    let mut file = File::open(path).context("opening it")?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = std::io::Read::read(&mut file, &mut buffer).context("reading it")?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
    }
    let digest = hash.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Class;
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
        // SHA-256 of "abc", from FIPS 180-2.
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let sums = format!("{sum}  a\n{sum}  b\n");
        let manifest = |sum| format!(r#"{{"files":[{{"name":"a","sha256":"{sum}"}}]}}"#);
        write(directory.path(), "a", "abc");
        write(directory.path(), "b", "abc");
        write(directory.path(), "SHA256SUMS", &sums);
        write(directory.path(), "manifest.json", &manifest(sum));
        super::directory(directory.path()).unwrap();
        write(directory.path(), "b", "abd");
        write(directory.path(), "manifest.json", &manifest("00"));
        let error = super::directory(directory.path()).unwrap_err();
        assert_eq!(Class::of(&error), Class::Refused);
        assert_eq!(
            error.to_string(),
            format!(
                "{} is not as it was built:\n  b: is not the file that was built\n  \
                 a: manifest.json and SHA256SUMS disagree\nhint: build it again: make images",
                directory.path().display()
            )
        );
    }

    #[test]
    fn a_name_that_leaves_the_directory_is_no_name() {
        let error = sums(&format!("{}  ../x\n", "0".repeat(64))).unwrap_err();
        assert_eq!(error.to_string(), "SHA256SUMS:1: not a checksum and a name");
    }
}
