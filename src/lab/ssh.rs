//! Getting into a node of the lab: the site's own key, a door on loopback, and the lab's own
//! list of known hosts. The user's SSH configuration is neither read nor changed.

use std::path::PathBuf;
use std::time::Duration;

use firstboot::cmd::Cmd;

/// How to log in to one node as root.
#[derive(Debug, Clone)]
pub struct Login {
    /// The node's name, under which its host key is known whatever the port.
    pub node: String,
    /// Port on loopback.
    pub port: u16,
    /// The site's private key.
    pub key: PathBuf,
    /// The lab's own list. A key that it does not know yet is accepted and kept.
    pub known_hosts: PathBuf,
}

impl Login {
    /// A session for a person, or for `words` that the node's shell runs.
    pub fn session(&self, words: &[String]) -> Cmd {
        Cmd::new("ssh")
            .args(self.options())
            .arg("root@127.0.0.1")
            .args(words)
    }

    /// One command line for the node's shell, for programs: never asks, gives up in time.
    pub fn run(&self, line: &str) -> Cmd {
        Cmd::new("ssh")
            .args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=60"])
            .args(self.options())
            .args(["root@127.0.0.1", line])
            .deadline(Duration::from_secs(600))
    }

    fn options(&self) -> Vec<String> {
        let known_hosts = format!("UserKnownHostsFile=\"{}\"", self.known_hosts.display());
        let alias = format!("HostKeyAlias={}", self.node);
        let port = self.port.to_string();
        let key = self.key.to_string_lossy().into_owned();
        let mut options = vec!["-F".to_owned(), "none".to_owned()];
        for option in [
            "StrictHostKeyChecking=accept-new",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
            &known_hosts,
            &alias,
        ] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options.extend(["-i".to_owned(), key, "-p".to_owned(), port]);
        options
    }

    /// The command as somebody would type it.
    pub fn line(&self) -> String {
        self.session(&[]).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_configuration_is_left_out() {
        let login = Login {
            node: "controller".into(),
            port: 40022,
            key: "/site/secrets/ssh_ed25519".into(),
            known_hosts: "/site/.lab/known_hosts".into(),
        };
        assert_eq!(
            login.line(),
            "ssh -F none -o StrictHostKeyChecking=accept-new -o IdentitiesOnly=yes \
             -o LogLevel=ERROR -o 'UserKnownHostsFile=\"/site/.lab/known_hosts\"' \
             -o HostKeyAlias=controller -i /site/secrets/ssh_ed25519 -p 40022 root@127.0.0.1"
        );
    }
}
