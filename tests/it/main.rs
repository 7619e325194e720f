//! The builder from outside: its commands, and what they leave on disk.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests: a panic is how they fail"
)]

mod build;
mod disk;
mod seed;
mod site;
