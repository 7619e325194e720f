//! Builds disk images that become an OpenStack cell when they are powered on.
//!
//! ```text
//! site.toml ─▶ site (checked) ─▶ plan ─▶ base ─▶ role ─▶ image (inspected) ─▶ export ─▶ out/
//!                  └─▶ seed ──────────────────────────────────────────────────────────▶ out/
//! ```

pub mod disk;
pub mod fault;
pub mod keys;
pub mod lab;
pub mod report;
pub mod seed;
pub mod site;
pub mod verbs;
