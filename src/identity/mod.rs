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
