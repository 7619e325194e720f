//! The verbs of the command line, one module each: its arguments and what it does with them.

pub mod build;
pub mod check;
pub mod doctor;
pub mod export;
pub mod init;
pub mod inspect;
pub mod lab;
pub mod plan;
pub mod reference;
pub mod seed;
pub mod summary;
pub mod verify;
