//! The verbs of the command line, one module each: its arguments and what it does with them.

pub mod build;
pub mod check;
pub mod doctor;
pub mod export;
pub mod init;
pub mod inspect;
pub mod kickstart;
pub mod lab;
pub mod media;
pub mod plan;
pub mod reference;
pub mod seed;
pub mod summary;
pub mod verify;
pub mod write;

use firstboot::config::Role;

/// A role on the command line.
fn role(text: &str) -> Result<Role, String> {
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| "the roles are controller and compute".to_owned())
}
