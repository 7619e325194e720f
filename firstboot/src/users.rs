//! Users and groups by name, from `/etc/passwd` and `/etc/group`.
//!
//! The agent is a static binary: it must not ask the C library, which would load NSS modules.
//! Service users always come from the packages, so the two files know them all.

use std::path::Path;

use anyhow::{Context, Result};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// The numeric user and primary group of a user.
///
/// # Errors
/// When `/etc/passwd` cannot be read or has no such user.
pub fn lookup(user: &str) -> Result<(u32, u32)> {
    let found = find(&read(PASSWD)?, user).and_then(|fields| fields.id().zip(fields.group()));
    found.with_context(|| format!("{PASSWD} has no user {user:?}"))
}

/// The numeric group of a group.
///
/// # Errors
/// When `/etc/group` cannot be read or has no such group.
pub fn group(group: &str) -> Result<u32> {
    let found = find(&read(GROUP)?, group).and_then(|fields| fields.id());
    found.with_context(|| format!("{GROUP} has no group {group:?}"))
}

/// The numbers behind `user:group`, as overlay.toml writes an owner.
///
/// # Errors
/// When the text has no colon, or the node has no such user or group.
pub fn owner(text: &str) -> Result<(u32, u32)> {
    let parts = text.split_once(':');
    let (user, group_name) =
        parts.with_context(|| format!("owner {text:?} is not of the form user:group"))?;
    Ok((lookup(user)?.0, group(group_name)?))
}

fn read(path: &str) -> Result<String> {
    // Comment fields may hold any bytes; names and numbers are ASCII.
    let bytes = std::fs::read(Path::new(path)).with_context(|| format!("reading {path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The fields behind the name in a line of either file: password, number, and what follows.
struct Fields<'a>(Vec<&'a str>);

impl Fields<'_> {
    fn id(&self) -> Option<u32> {
        self.0.get(2)?.parse().ok()
    }

    fn group(&self) -> Option<u32> {
        self.0.get(3)?.parse().ok()
    }
}

fn find<'a>(text: &'a str, name: &str) -> Option<Fields<'a>> {
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines
        .find(|fields| fields.first() == Some(&name))
        .map(Fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_everywhere() {
        assert_eq!(lookup("root").unwrap(), (0, 0));
        assert_eq!(group("root").unwrap(), 0);
        assert_eq!(owner("root:root").unwrap(), (0, 0));
    }

    #[test]
    fn a_name_is_compared_whole() {
        let text = "nova:x:64060:64061:,,,:/var/lib/nova:/bin/sh\nnovaadmin:x:1:2::/:/bin/sh\n";
        let fields = find(text, "nova").unwrap();
        assert_eq!((fields.id(), fields.group()), (Some(64060), Some(64061)));
        assert!(find(text, "nov").is_none());
    }

    #[test]
    fn errors_name_the_file_and_the_name() {
        let message = |error: anyhow::Error| error.to_string();
        assert_eq!(
            message(lookup("no-such").unwrap_err()),
            "/etc/passwd has no user \"no-such\""
        );
        assert_eq!(
            message(group("no-such").unwrap_err()),
            "/etc/group has no group \"no-such\""
        );
        assert_eq!(
            message(owner("root").unwrap_err()),
            "owner \"root\" is not of the form user:group"
        );
    }
}
