//! The overlay trees and their catalogues agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use firstboot::overlay::{Entry, Overlay};
use firstboot::platform::Platform;

fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../overlays")
        .join(name)
}

fn catalogue(tree: &Path) -> Overlay {
    toml::from_str(&fs::read_to_string(tree.join("overlay.toml")).unwrap()).unwrap()
}

fn files(directory: &Path, root: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, root, found);
        } else if path != root.join("overlay.toml") {
            let inside = Path::new("/").join(path.strip_prefix(root).unwrap());
            let text = inside.to_str().unwrap();
            found.insert(PathBuf::from(text.strip_suffix(".j2").unwrap_or(text)));
        }
    }
}

/// Where the tree has what the entry lays down.
fn source(entry: &Entry) -> &PathBuf {
    entry.source.as_ref().unwrap_or(&entry.path)
}

#[test]
fn every_file_has_one_entry_and_every_entry_a_file() {
    for name in ["common", "controller", "compute"] {
        let root = tree(name);
        let mut found = BTreeSet::new();
        files(&root, &root, &mut found);
        let entries = catalogue(&root).files;
        let sources = entries.iter().map(|entry| source(entry).clone());
        assert_eq!(sources.collect::<BTreeSet<_>>(), found, "{name}");
        let listed: BTreeSet<_> = entries.iter().map(|entry| &entry.path).collect();
        assert_eq!(listed.len(), entries.len(), "{name} lists a file twice");
    }
}

#[test]
fn a_template_with_a_secret_is_closed_to_others() {
    for name in ["common", "controller", "compute"] {
        let root = tree(name);
        for entry in catalogue(&root).files {
            let inside = source(&entry).strip_prefix("/").unwrap();
            let template = root.join(format!("{}.j2", inside.display()));
            let Ok(text) = fs::read_to_string(&template) else {
                continue;
            };
            if text.contains("secret[") {
                let others = entry.mode_bits().unwrap() & 0o007;
                assert_eq!(others, 0, "{}", entry.path.display());
            }
        }
    }
}

#[test]
fn entries_name_platforms_that_exist() {
    let known: Vec<_> = Platform::names().collect();
    for name in ["common", "controller", "compute"] {
        for entry in catalogue(&tree(name)).files {
            for platform in entry.platforms.iter().flatten() {
                assert!(known.contains(&platform.as_str()), "{platform}");
            }
        }
    }
}
