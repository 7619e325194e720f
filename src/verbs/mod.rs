//! The verbs of the command line, one module each: its arguments and what it does with them.

pub mod build;
pub mod plan;
pub mod reference;
