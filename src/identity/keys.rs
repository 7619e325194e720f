//! Private keys, wherever they lie, recognised by what they look like and not by their name.
//!
//! The whole root file system is searched as bytes, which takes seconds where opening each file
//! would take minutes, and finds what was deleted, too. Only when there is something to refuse are
//! files opened, to name them. A key in whose midst a file is split in two may be missed; whoever
//! makes a file system in one go, as the build does, splits no small file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::{Result, anyhow};
use firstboot::hash::{hex, sha256};
use memchr::memmem::{self, Finder};
use sha2::{Digest, Sha256};

use super::Finding;
use super::published::KEYS;
use crate::disk::source::Source;
use crate::inspect::{Image, Kind};

const HEADER: &str = "PRIVATE KEY";
/// Base64 characters that follow one another in a key, and in little else that follows a header.
const SHORTEST_RUN: usize = 40;
/// How much of a key is looked at.
const WINDOW_BYTES: usize = 600;
/// What of a header comes before [`HEADER`], at most.
const BEFORE_BYTES: usize = 40;
const CHUNK_BYTES: u64 = 4 << 20;
/// Where files are opened to name the one that a key is in; larger ones are not.
const TREES: &[&str] = &["/etc", "/home", "/opt", "/root", "/srv", "/usr", "/var"];
/// Files with keys that are as their packages have them, as `sha256sum` prints them.
const PACKAGED: &str = "/usr/share/cellboot/packaged-keys.sum";
const LARGEST_BYTES: u64 = 1 << 20;

const ORIGIN: &str = "made by a package's installation or by the build";

pub(super) fn findings(image: &Image) -> Result<Vec<Finding>> {
    let Some(root) = image.partitions().iter().find(|p| p.kind == "root") else {
        return Ok(Vec::new());
    };
    let area = root.start_bytes..root.start_bytes + root.size_bytes;
    let mut unknown = prints_on_disk(image.source().as_ref(), &area)?;
    unknown.retain(|print| {
        !KEYS
            .iter()
            .any(|(_, known)| known.contains(&print.as_str()))
    });
    if !unknown.is_empty() {
        let packaged = prints_of_packages(image)?;
        unknown.retain(|print| !packaged.contains(print));
    }
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    let mut unnamed = unknown.clone();
    for (print, path) in files_with(image, &unknown)? {
        unnamed.remove(&print);
        let what = format!("private key {print}");
        findings.push(Finding::new(&path, &what, ORIGIN));
    }
    for print in unnamed {
        let what = format!("private key {print}");
        findings.push(Finding::new("(deleted or very large file)", &what, ORIGIN));
    }
    Ok(findings)
}

/// Prints of the keys that packages carry, by the list of files that the installation left where
/// it could ask the packages for each: a file counts if it is still the one of the list.
fn prints_of_packages(image: &Image) -> Result<BTreeSet<String>> {
    let list = image.read_if_exists(PACKAGED)?.unwrap_or_default();
    let finder = Finder::new(HEADER);
    let mut known = BTreeSet::new();
    for line in String::from_utf8_lossy(&list).lines() {
        let Some((sum, path)) = line.split_once("  ") else {
            continue;
        };
        let content = image.read_if_exists(path)?.unwrap_or_default();
        if sha256(&content) == sum {
            known.extend(
                prints(&content, &finder)
                    .into_iter()
                    .map(|(_, print)| print),
            );
        }
    }
    Ok(known)
}

/// Prints of all keys in a part of the disk.
fn prints_on_disk(source: &dyn Source, area: &Range<u64>) -> Result<BTreeSet<String>> {
    let mut chunks = Vec::new();
    for range in source.data()? {
        let mut start = range.start.max(area.start);
        let end = range.end.min(area.end);
        while start < end {
            let next = end.min(start + CHUNK_BYTES);
            chunks.push(start..next);
            start = next;
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let search = |thread: usize| {
            let mine = chunks.iter().skip(thread).step_by(threads);
            scope.spawn(move || {
                let finder = Finder::new(HEADER);
                let mut prints = BTreeSet::new();
                for chunk in mine {
                    prints.extend(prints_in_chunk(source, chunk, area, &finder)?);
                }
                Ok(prints)
            })
        };
        let searching: Vec<_> = (0..threads).map(search).collect();
        let mut prints = BTreeSet::new();
        for thread in searching {
            let found: Result<BTreeSet<String>> = match thread.join() {
                Ok(found) => found,
                Err(_) => Err(anyhow!("searching for private keys ended early")),
            };
            prints.extend(found?);
        }
        Ok(prints)
    })
}

/// Prints of the keys that begin in a chunk; what is around it is read as well.
fn prints_in_chunk(
    source: &dyn Source,
    chunk: &Range<u64>,
    area: &Range<u64>,
    finder: &Finder<'_>,
) -> Result<Vec<String>> {
    let start = chunk
        .start
        .saturating_sub(BEFORE_BYTES as u64)
        .max(area.start);
    let after = (WINDOW_BYTES + HEADER.len()) as u64;
    let end = (chunk.end + after).min(area.end);
    let mut bytes = vec![0; usize::try_from(end - start)?];
    source.read_at(start, &mut bytes)?;
    let own = chunk.start - start..chunk.end - start;
    let found = prints(&bytes, finder);
    let found = found
        .into_iter()
        .filter(|(at, _)| own.contains(&(*at as u64)));
    Ok(found.map(|(_, print)| print).collect())
}

/// The files that hold one of these keys.
fn files_with(image: &Image, wanted: &BTreeSet<String>) -> Result<BTreeMap<String, String>> {
    let finder = Finder::new(HEADER);
    let mut files = BTreeMap::new();
    for tree in TREES {
        image.walk(tree, &mut |entry| {
            let small = (1..=LARGEST_BYTES).contains(&entry.size_bytes);
            if entry.kind == Kind::File && small {
                for (_, print) in prints(&image.read(&entry.path)?, &finder) {
                    if wanted.contains(&print) {
                        files.insert(print, entry.path.clone());
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(files)
}

/// Where keys are in these bytes, and their prints: part of the SHA-256 of their text, whatever
/// the line breaks and quotes around it. Programs that can write keys hold the header alone.
fn prints(content: &[u8], finder: &Finder<'_>) -> Vec<(usize, String)> {
    let found = finder.find_iter(content).filter_map(|at| {
        let before = &content[at.saturating_sub(BEFORE_BYTES)..at];
        memmem::rfind(before, b"-----BEGIN ")?;
        let rest = &content[at + HEADER.len()..];
        Some((at, print(&rest[..rest.len().min(WINDOW_BYTES)])?))
    });
    found.collect()
}

fn print(window: &[u8]) -> Option<String> {
    let window = window.split(|byte| *byte == 0).next()?;
    let end = memmem::find(window, b"-----END").unwrap_or(window.len());
    let window = &window[..end];
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let longest = window.split(|byte| !base64(byte)).map(<[u8]>::len).max()?;
    if longest < SHORTEST_RUN {
        return None;
    }
    let mut hash = Sha256::new();
    let mut escaped = false;
    for byte in window {
        if !escaped && base64(byte) {
            hash.update([*byte]);
        }
        escaped = *byte == b'\\';
    }
    Some(hex(&hash.finalize()[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";

    fn begin(kind: &str) -> String {
        format!("-----BEGIN {kind}PRIVATE KEY-----")
    }

    #[test]
    fn keys_are_told_from_programs_that_know_their_header() {
        let finder = Finder::new(HEADER);
        for kind in ["", "RSA ", "OPENSSH ", "ENCRYPTED "] {
            let key = format!("x\n{}\n{BODY}\n", begin(kind));
            assert_eq!(prints(key.as_bytes(), &finder).len(), 1, "{kind}");
        }
        let program = format!("{}\0{BODY}", begin(""));
        assert_eq!(prints(program.as_bytes(), &finder), []);
        let public = format!("-----BEGIN PUBLIC KEY-----\n{BODY}");
        assert_eq!(prints(public.as_bytes(), &finder), []);
    }

    #[test]
    fn a_key_has_the_same_print_in_a_file_and_in_a_quoted_string() {
        let finder = Finder::new(HEADER);
        let end = "-----END PRIVATE KEY-----";
        let file = format!("{}\n{BODY}\n{BODY}\n{end}\n", begin(""));
        let quoted = format!("'{}\\n{BODY}\\n{BODY}\\n{end}'", begin(""));
        let (file, quoted) = (
            prints(file.as_bytes(), &finder),
            prints(quoted.as_bytes(), &finder),
        );
        assert_eq!(file[0].1, quoted[0].1);
    }
}
