//! Builds disk images that become an OpenStack cell when they are powered on.
//!
//! ```text
//! site.toml ─▶ site (checked) ─▶ plan ─▶ base ─▶ role ─▶ image (inspected) ─▶ export ─▶ out/
//!                  └─▶ seed ──────────────────────────────────────────────────────────▶ out/
//! ```

pub mod agent;
pub mod build;
pub mod cache;
pub mod disk;
pub mod doctor;
pub mod engine;
pub mod equipped;
pub mod fault;
pub mod handover;
pub mod host;
pub mod identity;
pub mod inspect;
pub mod installer;
pub mod keys;
pub mod kickstart;
pub mod lab;
pub mod manifest;
pub mod media;
pub mod membership;
pub mod mirror;
pub mod overlay;
pub mod plan;
pub mod project;
pub mod report;
pub mod sbom;
pub mod seed;
pub mod site;
pub mod verbs;
pub mod verify;
pub mod whole;
pub mod workspace;
pub mod write;
