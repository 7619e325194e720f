//! What the agent promises, tested from outside the library.
#![allow(
    clippy::unwrap_used,
    reason = "what fails here should say where it stands"
)]
mod cli;
mod engine;
mod overlays;
