//! `[ssh]`: the public keys that may log in, from the file itself and from the files it names.
//!
//! Never repeats what it read: somebody may have named a private key.

use std::path::{Path, PathBuf};

use ssh_key::authorized_keys::Entry;

use super::reader::{Reader, Section};

/// Reads the keys, each once; writes down what is no public key.
pub(super) fn read(reader: &mut Reader<'_>, table: Section<'_>, directory: &Path) -> Vec<String> {
    let mut keys = Vec::new();
    for key in table.texts(reader, "authorized_keys", |text| Ok(text.to_owned())) {
        match public_key(&key.value) {
            Ok(line) => keys.push(line),
            Err(wrong) => {
                let problem = key.problem(
                    wrong.into(),
                    "a public key as in a .pub file",
                    "paste one whole line of the .pub file",
                );
                reader.problems.push(problem);
            }
        }
    }
    for file in table.texts(reader, "authorized_key_files", |text| Ok(text.to_owned())) {
        match read_file(&resolve(&file.value, directory)) {
            Ok(lines) => keys.extend(lines),
            Err(wrong) => {
                let problem = file.problem(
                    format!("{:?} {wrong}", file.value),
                    "a readable file of public keys",
                    "name a .pub file, or make one with `ssh-keygen -t ed25519`",
                );
                reader.problems.push(problem);
            }
        }
    }
    let mut once: Vec<String> = Vec::new();
    for key in keys {
        if !once.contains(&key) {
            once.push(key);
        }
    }
    once
}

/// One line of `authorized_keys`, or what is wrong with it.
fn public_key(text: &str) -> Result<String, &'static str> {
    let line = text.trim();
    if line.contains("PRIVATE KEY") {
        return Err("is a private key, which belongs nowhere but in its own file");
    }
    if line.contains(['\n', '\r']) {
        return Err("has several lines");
    }
    if line.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    if line.parse::<Entry>().is_err() {
        return Err("is no public key");
    }
    Ok(line.to_owned())
}

/// True if a site may name this file in `authorized_key_files`.
pub fn is_public_key_file(name: &str) -> bool {
    read_file(&resolve(name, Path::new(""))).is_ok()
}

fn read_file(path: &Path) -> Result<Vec<String>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("does not exist".into());
        }
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let key = public_key(line).map_err(|wrong| format!("line {} {wrong}", index + 1))?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err("holds no key".into());
    }
    Ok(keys)
}

/// The path that a name in the file means: below the home directory, or beside the file.
fn resolve(name: &str, directory: &Path) -> PathBuf {
    match (name.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => directory.join(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB63z6mjQqXdMmq5AzQG/QsP7BSc/RYDQN4G1m4PAQno me@here";

    #[test]
    fn takes_public_keys_with_and_without_options() {
        assert_eq!(public_key(&format!("  {KEY}\n")).unwrap(), KEY);
        assert!(public_key(&format!("from=\"10.0.0.0/8\" {KEY}")).is_ok());
    }

    #[test]
    fn refuses_what_is_no_key_without_repeating_it() {
        assert_eq!(
            public_key("ssh-ed25519 AAAA").unwrap_err(),
            "is no public key"
        );
        assert!(
            public_key("-----BEGIN OPENSSH PRIVATE KEY-----\nabc")
                .unwrap_err()
                .starts_with("is a private key")
        );
    }

    #[test]
    fn a_file_names_its_bad_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.pub");
        let put = |text: String| {
            let mode = firstboot::files::Ownership::mode(0o600);
            firstboot::files::replace(&path, text.as_bytes(), mode).unwrap();
        };
        put(format!("# mine\n\n{KEY}\n"));
        assert_eq!(read_file(&path).unwrap(), [KEY]);
        put(format!("{KEY}\nnonsense\n"));
        assert_eq!(read_file(&path).unwrap_err(), "line 2 is no public key");
        put("# none\n".into());
        assert_eq!(read_file(&path).unwrap_err(), "holds no key");
        assert_eq!(
            read_file(&directory.path().join("absent")).unwrap_err(),
            "does not exist"
        );
    }
}
