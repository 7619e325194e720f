//! The rule that an image holds no secret and no identity, as a test of the finished image.
//!
//! Whatever two machines must not share is refused here by path and by content, whoever put it
//! there. It only reads, and it knows nothing of how the image was built.

mod accounts;
mod keys;
mod published;
mod rules;

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::fault::Class;
use crate::inspect::Image;

/// One thing that an image must not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Where it is.
    pub path: String,
    /// What it is.
    pub what: String,
    /// How such a thing gets there.
    pub origin: String,
}

impl Finding {
    fn new(path: &str, what: &str, origin: &str) -> Self {
        Self {
            path: path.to_owned(),
            what: what.to_owned(),
            origin: origin.to_owned(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.path, self.what, self.origin)
    }
}

/// Everything that the image holds and must not, sorted by path.
pub fn findings(image: &Image) -> Result<Vec<Finding>> {
    let mut findings = rules::findings(image)?;
    findings.extend(accounts::findings(image)?);
    findings.extend(keys::findings(image)?);
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// An error that names each finding, if there is any.
pub fn refuse(image: &Image) -> Result<()> {
    let findings = findings(image)?;
    if findings.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| format!("  {finding}"))
        .collect();
    Err(Class::Refused.error(format!(
        "{} holds what no image may hold:\n{}\n\
         hint: remove it in the build ([build] remove of the platform) or keep it from being made",
        image.path().display(),
        lines.join("\n")
    )))
}
