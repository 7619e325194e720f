//! The site's own secrets: the directory `secrets/` beside `site.toml`.
//!
//! Each is made once, is whole and on disk before anything uses it, and leaves the directory in
//! seeds alone. Nothing here is printed.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firstboot::files::{self, Ownership};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

const SSH_KEY: &str = "ssh_ed25519";

/// The secrets of one site.
#[derive(Debug, Clone)]
pub struct Keys {
    directory: PathBuf,
}

impl Keys {
    /// The secrets that belong to the site in this file; makes the directory, closed to others.
    pub fn beside(site: &Path) -> Result<Self> {
        let directory = site.with_file_name("secrets");
        let context = || format!("making {}", directory.display());
        if !directory.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .with_context(context)?;
        }
        std::fs::set_permissions(&directory, Permissions::from_mode(0o700))
            .with_context(context)?;
        Ok(Self { directory })
    }

    /// Where they are kept.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The private key that logs in to every node as root.
    pub fn ssh_private_key(&self) -> PathBuf {
        self.directory.join(SSH_KEY)
    }

    /// Its public half, a line of `authorized_keys`; the pair is made when there is none.
    ///
    /// # Errors
    /// When there is a private key that cannot be read: it is never replaced.
    pub fn ssh_public_key(&self) -> Result<String> {
        let path = self.ssh_private_key();
        let private = match files::read_if_exists(&path)? {
            Some(text) => PrivateKey::from_openssh(&text)
                .with_context(|| format!("reading the key in {}", path.display()))?,
            None => {
                let key = generate()?;
                let text = key
                    .to_openssh(LineEnding::LF)
                    .context("writing an SSH key")?;
                files::replace(&path, text.as_bytes(), Ownership::mode(0o600))?;
                key
            }
        };
        let public = private.public_key();
        let line = public.to_openssh().context("writing an SSH public key")?;
        let beside = self.directory.join(format!("{SSH_KEY}.pub"));
        let content = format!("{line}\n");
        let ownership = Ownership::mode(0o644);
        if !files::is(&beside, content.as_bytes(), ownership)? {
            files::replace(&beside, content.as_bytes(), ownership)?;
        }
        Ok(line)
    }
}

fn generate() -> Result<PrivateKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("asking the kernel for random bytes")?;
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    PrivateKey::new(pair, "cellboot site key").context("making an SSH key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_key_is_made_once_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let site = directory.path().join("site.toml");
        let keys = Keys::beside(&site).unwrap();
        let first = keys.ssh_public_key().unwrap();
        let private = std::fs::read(keys.ssh_private_key()).unwrap();
        assert!(first.starts_with("ssh-ed25519 ") && first.ends_with(" cellboot site key"));
        assert_eq!(
            Keys::beside(&site).unwrap().ssh_public_key().unwrap(),
            first
        );
        assert_eq!(std::fs::read(keys.ssh_private_key()).unwrap(), private);
        assert_eq!(mode(&keys.ssh_private_key()), 0o600);
        assert_eq!(mode(&directory.path().join("secrets")), 0o700);
    }

    #[test]
    fn a_broken_key_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::beside(&directory.path().join("site.toml")).unwrap();
        let path = keys.ssh_private_key();
        files::replace(&path, b"not a key", Ownership::mode(0o600)).unwrap();
        let error = keys.ssh_public_key().unwrap_err();
        let expected = format!("reading the key in {}", path.display());
        assert_eq!(error.to_string(), expected);
        assert_eq!(std::fs::read(&path).unwrap(), b"not a key");
    }
}
