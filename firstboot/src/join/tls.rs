//! TLS 1.3 between a compute and the registrar: a pin on one side, a bare key on the other.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
};

use super::key::NodeKey;
use super::protocol::KeyHash;
use crate::hash::sha256;

/// What a pin begins with: the hash that it is.
const PIN_PREFIX: &str = "sha256:";

/// The server showed no certificate of the pinned key.
#[derive(Debug)]
pub(super) struct NotPinned;

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no certificate has the pinned key")
    }
}

impl std::error::Error for NotPinned {}

fn key_hash(certificate: &CertificateDer<'_>) -> Result<KeyHash, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(KeyHash(sha256(parsed.subject_public_key_info())))
}

/// The pin of an authority: of the last of these certificates (PEM), which is the one that signed
/// those before it.
///
/// # Errors
/// When there is no certificate in the text.
pub fn pin_of(certificates_pem: &str) -> Result<String> {
    let certificates = certificates(certificates_pem)?;
    let authority = certificates.last().context("there is no certificate")?;
    let hash = key_hash(authority).context("reading the authority's certificate")?;
    Ok(format!("{PIN_PREFIX}{hash}"))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    // The text may hold more than certificates: it is not quoted.
    all.map_err(|_| anyhow!("reading certificates: the text is no PEM"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The hash of the key that a pin names.
///
/// # Errors
/// When it is none.
pub fn parse_pin(pin: &str) -> Result<KeyHash> {
    let hex = pin.strip_prefix(PIN_PREFIX);
    let good = |hex: &&str| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hex = hex.filter(good).with_context(|| {
        format!("{pin:?} is no pin: one is {PIN_PREFIX} and 64 hexadecimal digits")
    })?;
    Ok(KeyHash(hex.to_ascii_lowercase()))
}

/// How a node talks to the registrar that has this pin.
///
/// # Errors
/// When the pin is none.
pub fn client_config(pin: &str, key: &NodeKey) -> Result<Arc<ClientConfig>> {
    let pinned = parse_pin(pin)?;
    let (certificate, private) = key.identity()?;
    let provider = provider();
    let verifier = Pinned {
        key: pinned,
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .context("choosing TLS 1.3")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(vec![certificate], private)
        .context("using the node's own certificate")?;
    // A connection is made anew each time, so that each proves the key.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// How the registrar talks: with its certificate and the authority's (PEM), and its key (PEM).
///
/// # Errors
/// When they cannot be read or do not fit each other.
pub fn server_config(certificates_pem: &str, key_pem: &str) -> Result<Arc<ServerConfig>> {
    let chain = certificates(certificates_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| anyhow!("the registrar's key is no private key in PEM"))?;
    let provider = provider();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .context("choosing TLS 1.3")?
        .with_client_cert_verifier(Arc::new(AnyKey { provider }))
        .with_single_cert(chain, key)
        .context("using the registrar's certificate and key")?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The key that the other end of a connection proved to hold, if it showed one.
pub fn peer_key(connection: &ServerConnection) -> Option<KeyHash> {
    let certificate = connection.peer_certificates()?.first()?;
    key_hash(certificate).ok()
}

/// Trusts the one authority whose public key is pinned, wherever its certificate comes from: only
/// who holds the pinned key can have signed the chain that is verified below it.
#[derive(Debug)]
struct Pinned {
    key: KeyHash,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| key_hash(certificate).is_ok_and(|hash| hash == self.key));
        let Some(authority) = authority else {
            let other = OtherError(Arc::new(NotPinned));
            return Err(CertificateError::Other(other).into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Takes any certificate that a client shows, or none. Who signed it means nothing here: the
/// handshake proves that the client holds its key, and the key alone says which node it is.
#[derive(Debug)]
struct AnyKey {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        key_hash(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
