//! What the values of a site mean to each other: one module for each kind of value.
//!
//! Each check looks at what could be read and passes over what could not, so that every problem
//! is found in one run.

mod addresses;
mod interfaces;
mod names;
mod options;
mod platform;

use super::draft::Draft;
use super::problem::Problem;

/// Everything that is wrong between values.
pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    let mut problems = names::problems(draft);
    problems.extend(addresses::problems(draft));
    problems.extend(interfaces::problems(draft));
    problems.extend(platform::problems(draft));
    problems.extend(options::problems(draft));
    problems
}
