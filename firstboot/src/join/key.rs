//! The key that a compute is known by: made on the node, never sent.
//!
//! The registrar signs nothing. In the handshake a node proves that it holds its key, by a
//! certificate that it makes for itself; what counts is the key.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::protocol::KeyHash;
use crate::files::{self, Ownership};
use crate::hash::sha256;

/// A node's own key (ECDSA, P-256).
pub struct NodeKey(KeyPair);

impl NodeKey {
    /// The key in `path`; made, and on the disk before this returns, where there is none.
    ///
    /// # Errors
    /// As [`NodeKey::read`], or when it cannot be written.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        if let Some(key) = Self::read(path)? {
            return Ok(key);
        }
        let pair = KeyPair::generate().context("making the node's key")?;
        let text = pair.serialize_pem();
        files::replace(path, text.as_bytes(), Ownership::mode(0o600))?;
        Ok(Self(pair))
    }

    /// The key in `path`, if there is one.
    ///
    /// # Errors
    /// When the file is there and holds no key. It stays as it is: the registrar knows the node
    /// by what was in it.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let Some(text) = files::read_if_exists(path)? else {
            return Ok(None);
        };
        // The parser's own message might quote the key.
        let pair = KeyPair::from_pem(&text).map_err(|_| {
            anyhow!(
                "{} holds no private key\n\
                 hint: remove it, and let the node join again: on the controller, \
                 `firstboot token create --rejoin NAME`",
                path.display()
            )
        })?;
        Ok(Some(Self(pair)))
    }

    /// What the registrar knows the node by.
    pub fn hash(&self) -> KeyHash {
        KeyHash(sha256(self.0.subject_public_key_info()))
    }

    /// A certificate that the key signs for itself, and the key, for one TLS configuration.
    pub(super) fn identity(&self) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let mut params = CertificateParams::default();
        // Nobody reads a name in it: the controller looks up the key.
        params.distinguished_name = DistinguishedName::new();
        let certificate = params.self_signed(&self.0);
        let certificate = certificate.context("making the node's certificate")?;
        let key = PrivatePkcs8KeyDer::from(self.0.serialize_der());
        Ok((certificate.der().clone(), key.into()))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.hash())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("join/key.pem");
        assert!(NodeKey::read(&path).unwrap().is_none());
        let first = NodeKey::load_or_create(&path).unwrap().hash();
        assert_eq!(NodeKey::load_or_create(&path).unwrap().hash(), first);
        assert_eq!(first.0.len(), 64);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_kept_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        files::replace(&path, b"hunter2", Ownership::mode(0o600)).unwrap();
        let error = NodeKey::load_or_create(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "{} holds no private key\nhint: remove it, and let the node join again: on the \
                 controller, `firstboot token create --rejoin NAME`",
                path.display()
            )
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"hunter2");
    }
}
