//! The builder from outside: its commands, and what they leave on disk.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests: a panic is how they fail"
)]

mod build;
mod disk;
mod handover;
mod kickstart;
mod mirror;
mod options;
mod seed;
mod site;
mod write;

use std::path::Path;

use firstboot::cmd::Output;
use firstboot::files::{self, Ownership};

/// The least that a site says; more may follow, as inline tables.
const SITE: &str = r#"
site = { name = "cell" }
management = { network = "10.20.0.0/24" }
controller = { address = "10.20.0.11", interface = "ens3" }
"#;

/// Writes a site and gives its path.
fn site(directory: &Path, text: &str) -> String {
    let path = directory.join("site.toml");
    files::replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
    path.to_string_lossy().into_owned()
}

/// A command's exit code and what it said on standard error.
fn said(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    (output.status.code(), text)
}
