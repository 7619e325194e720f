//! Namespaces in which trees of packages are made: mounts and processes end with the command that
//! needed them, even when it is killed, and an ordinary user is root over a range of user ids.
//!
//! A tree belongs to the user ids of this namespace. Files of its root belong to the user who
//! builds, so they can be read and written from outside; everything else goes through here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use firstboot::cmd::Cmd;

use crate::fault::Class;

/// What installing, compiling and copying may take on a slow machine.
pub(super) const DEADLINE: Duration = Duration::from_secs(3600);
const ENTER: &str = include_str!("enter.sh");

/// A way to run commands as the owner of trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace {
    rootless: bool,
}

impl Namespace {
    /// The namespace that this user can have.
    ///
    /// # Errors
    /// When an ordinary user may not map a range of user ids on this host.
    pub fn for_this_user() -> Result<Self> {
        let rootless = !rustix::process::geteuid().is_root();
        let namespace = Self { rootless };
        if rootless && !namespace.enter(Cmd::new("true")).succeeds()? {
            return Err(Class::MissingOnHost.error(
                "this user cannot have a user namespace with a range of user ids\n\
                 hint: install uidmap, give the user a line in /etc/subuid and /etc/subgid, and \
                 allow unprivileged user namespaces; or build as root",
            ));
        }
        Ok(namespace)
    }

    /// True when an ordinary user builds.
    pub fn is_rootless(self) -> bool {
        self.rootless
    }

    /// The command as root over the trees, with the files of this host around it.
    pub fn enter(self, cmd: Cmd) -> Cmd {
        let user: &[&str] = if self.rootless {
            &["--user", "--map-auto", "--map-root-user"]
        } else {
            &[]
        };
        let rest = ["--mount", "--pid", "--fork", "--kill-child", "--"];
        cmd.through("unshare", user.iter().copied().chain(rest))
            .deadline(DEADLINE)
    }

    /// The command inside a tree, as root, with directories or files of this host bound to
    /// places in it.
    pub fn inside(self, tree: &Path, binds: &[(PathBuf, &str)], cmd: Cmd) -> Cmd {
        let mut args = vec!["-c".to_owned(), ENTER.to_owned(), "enter.sh".to_owned()];
        args.push(tree.to_string_lossy().into_owned());
        for (source, target) in binds {
            args.push(format!("{}:{target}", source.display()));
        }
        args.push("--".to_owned());
        self.enter(cmd.through("sh", args))
    }
}
