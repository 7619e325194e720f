//! Password hashes, and accounts that need no password.

use anyhow::Result;

use super::Finding;
use crate::inspect::Image;

const FILES: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/passwd",
    "/etc/passwd-",
    "/etc/group",
];

pub(super) fn findings(image: &Image) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in FILES {
        if let Some(content) = image.read_if_exists(path)? {
            let text = String::from_utf8_lossy(&content);
            let group = path.contains("gshadow") || path.contains("group");
            findings.extend(text.lines().filter_map(|line| {
                let what = judge(line, group)?;
                Some(Finding::new(path, &what, "set during the build"))
            }));
        }
    }
    Ok(findings)
}

/// What is wrong with one line. A group without a password is one that nobody can join by
/// password; a user without one is one whom anybody can become.
fn judge(line: &str, group: bool) -> Option<String> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let password = fields.next()?;
    if password.is_empty() {
        (!group).then(|| format!("account {name} needs no password"))
    } else if password.chars().all(|c| "*!x".contains(c)) {
        None
    } else {
        Some(format!("password hash of {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_accounts_pass_and_all_others_are_named() {
        for line in [
            "root:*:1::::::",
            "a:!*:1:",
            "b:!:",
            "c:x:0:0::/:/bin/sh",
            "",
        ] {
            assert_eq!(judge(line, false), None, "{line}");
        }
        assert_eq!(judge("adm:", true), None);
        assert_eq!(
            judge("root:$y$j9T$x:1:", false).unwrap(),
            "password hash of root"
        );
        assert_eq!(
            judge("root:!$6$x:1:", false).unwrap(),
            "password hash of root"
        );
        assert_eq!(
            judge("a::1:", false).unwrap(),
            "account a needs no password"
        );
    }
}
