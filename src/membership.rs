//! What lets computes into the cell: the site's certificate authority, the registrar's
//! certificate, and a join token for each compute.
//!
//! All of it is made here, before any node exists, so that the controller and its computes can be
//! powered on together. It is kept in the site's `secrets/`; the authority's key never leaves it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use firstboot::config::{self, Join, Role, TokenGrant};
use firstboot::files::{self, Ownership};
use firstboot::join::tls;
use firstboot::join::token::Token;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::site::{SHARED_SEED, Site};

/// What the authority calls itself. The same at every site: it is known by its key.
const AUTHORITY: &str = "cellboot site authority";
/// Both certificates live as long: renewing one is making the seeds again.
const LIFE: Duration = Duration::days(3650);
/// For nodes whose clocks are late.
const BACK_DATED: Duration = Duration::days(1);
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The membership secrets of a site, in its directory of secrets.
#[derive(Debug, Clone)]
pub struct Membership {
    certificates: String,
    key: String,
    pin: String,
    tokens: BTreeMap<String, Issued>,
}

/// The registrar's part of `registrar.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registrar {
    /// What the certificate was made for: a change means another certificate.
    names: Vec<String>,
    certificates: String,
    key: String,
}

/// A token of a compute's seed, or of the one that computes share.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Issued {
    token: Token,
    expires_at: u64,
    /// How many computes it lets in, under any name, where they share a seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared_by: Option<u32>,
}

impl Membership {
    /// The membership secrets of a site; those missing or outlived are made, and are on the disk
    /// when this returns.
    ///
    /// # Errors
    /// When a file is damaged: it is never replaced, for nodes may know what was in it.
    pub fn of(site: &Site, directory: &Path) -> Result<Self> {
        let authority = authority(&directory.join("authority.pem"))?;
        let registrar = registrar(site, &authority, &directory.join("registrar.json"))?;
        let tokens = tokens(site, &directory.join("tokens.json"))?;
        Ok(Self {
            pin: tls::pin_of(&registrar.certificates)?,
            certificates: registrar.certificates,
            key: registrar.key,
            tokens,
        })
    }

    /// What the controller's seed says: its certificate, and what each token is good for.
    pub fn registrar(&self) -> config::Registrar {
        let grants = self.tokens.iter().map(|(name, issued)| TokenGrant {
            id: issued.token.id().to_owned(),
            hash: issued.token.hash(),
            expires_at: issued.expires_at,
            uses: issued.shared_by.unwrap_or(1),
            node: issued.shared_by.is_none().then(|| name.clone()),
            rejoin: false,
        });
        config::Registrar {
            certificates: self.certificates.clone(),
            key: self.key.clone(),
            tokens: grants.collect(),
        }
    }

    /// What a compute's seed says: its token, and whom to show it to.
    pub fn join(&self, node: &str) -> Option<Join> {
        let issued = self.tokens.get(node)?;
        Some(Join {
            token: issued.token.clone(),
            pin: self.pin.clone(),
        })
    }
}

/// The authority's key and its certificate.
struct Authority {
    key: KeyPair,
    certificate: String,
}

fn authority(path: &Path) -> Result<Authority> {
    if let Some(text) = files::read_if_exists(path)? {
        // The parser's own message might quote the key.
        let damaged = || anyhow!("{} holds no key and certificate", path.display());
        let at = text.find("-----BEGIN CERTIFICATE-----");
        let (key, certificate) = text.split_at(at.ok_or_else(damaged)?);
        return Ok(Authority {
            key: KeyPair::from_pem(key).map_err(|_| damaged())?,
            certificate: certificate.to_owned(),
        });
    }
    let key = KeyPair::generate().context("making the authority's key")?;
    let certificate = authority_params().self_signed(&key);
    let certificate = certificate.context("making the authority's certificate")?;
    let authority = Authority {
        certificate: certificate.pem(),
        key,
    };
    let text = format!("{}{}", authority.key.serialize_pem(), authority.certificate);
    files::replace(path, text.as_bytes(), Ownership::mode(0o600))?;
    Ok(authority)
}

fn authority_params() -> CertificateParams {
    let mut params = lasting();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(DnType::CommonName, AUTHORITY);
    params
}

fn lasting() -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = now - BACK_DATED;
    params.not_after = now + LIFE;
    params
}

fn registrar(site: &Site, authority: &Authority, path: &Path) -> Result<Registrar> {
    let controller = site.controller();
    let (name, address) = (&controller.name, controller.address);
    let names = vec![
        address.to_string(),
        format!("{name}.{}", site.domain),
        name.clone(),
    ];
    let known: Option<Registrar> = read(path)?;
    let is_ours = |it: &Registrar| it.certificates.ends_with(&authority.certificate);
    if let Some(known) = known.filter(|it| it.names == names && is_ours(it)) {
        return Ok(known);
    }
    let key = KeyPair::generate().context("making the registrar's key")?;
    let mut params = lasting();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![SanType::IpAddress(address.into())];
    for name in &names[1..] {
        let name = name.as_str().try_into().context("naming the registrar")?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    let authority_params = authority_params();
    let issuer = Issuer::from_params(&authority_params, &authority.key);
    let leaf = params.signed_by(&key, &issuer);
    let leaf = leaf.context("making the registrar's certificate")?;
    let made = Registrar {
        names,
        certificates: format!("{}{}", leaf.pem(), authority.certificate),
        key: key.serialize_pem(),
    };
    write(path, &made)?;
    Ok(made)
}

/// A token for each compute: the one it had while that is good, so that seeds stay as they are.
fn tokens(site: &Site, path: &Path) -> Result<BTreeMap<String, Issued>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.context("reading the clock")?.as_secs();
    let known: BTreeMap<String, Issued> = read(path)?.unwrap_or_default();
    let mut tokens = BTreeMap::new();
    let mut is_changed = false;
    let computes = site.nodes.iter().filter(|node| node.role == Role::Compute);
    let named = computes.map(|node| (node.name.as_str(), None));
    let shared = site.shared.as_ref().map(|it| (SHARED_SEED, Some(it.count)));
    for (name, shared_by) in named.chain(shared) {
        let is_good = |it: &&Issued| it.expires_at > now && it.shared_by == shared_by;
        let issued = match known.get(name).filter(is_good) {
            Some(issued) => issued.clone(),
            None => {
                is_changed = true;
                Issued {
                    token: Token::generate()?,
                    expires_at: now + site.token_days * DAY_SECONDS,
                    shared_by,
                }
            }
        };
        tokens.insert(name.to_owned(), issued);
    }
    if is_changed || tokens.len() != known.len() {
        write(path, &tokens)?;
    }
    Ok(tokens)
}

/// The content of a file of secrets, which no error quotes.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(text) = files::read_if_exists(path)? else {
        return Ok(None);
    };
    let value = serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        anyhow!(
            "reading {}: damaged at line {line}, column {column}\n\
             hint: restore it from a backup, or remove it and make the seeds of all nodes again",
            path.display()
        )
    })?;
    Ok(Some(value))
}

fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).context("writing JSON")?;
    files::replace(path, &text, Ownership::mode(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn site(directory: &Path, address: &str, computes: &str) -> Site {
        let path = directory.join("site.toml");
        let text = format!(
            "[site]\nname = \"cell\"\n[management]\nnetwork = \"10.20.0.0/24\"\n\
             [controller]\naddress = \"{address}\"\ninterface = \"ens3\"\n{computes}"
        );
        files::replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
        Site::load(&path).unwrap()
    }

    fn compute(name: &str, address: &str) -> String {
        format!("[[compute]]\nname = \"{name}\"\naddress = \"{address}\"\ninterface = \"ens3\"\n")
    }

    struct Place {
        directory: tempfile::TempDir,
        secrets: PathBuf,
    }

    fn place() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let secrets = directory.path().join("secrets");
        Place { directory, secrets }
    }

    impl Place {
        fn of(&self, address: &str, computes: &str) -> Membership {
            let site = site(self.directory.path(), address, computes);
            Membership::of(&site, &self.secrets).unwrap()
        }
    }

    #[test]
    fn all_is_made_once_and_closed_to_others() {
        let place = place();
        let one = compute("one", "10.20.0.21");
        let first = place.of("10.20.0.11", &one);
        let second = place.of("10.20.0.11", &one);
        assert_eq!(first.registrar(), second.registrar());
        assert_eq!(first.join("one"), second.join("one"));
        assert_eq!(first.join("two"), None);
        for file in ["authority.pem", "registrar.json", "tokens.json"] {
            let mode = place.secrets.join(file).metadata().unwrap().permissions();
            assert_eq!(mode.mode() & 0o7777, 0o600, "{file}");
        }
        let grant = &first.registrar().tokens[0];
        let token = first.join("one").unwrap().token;
        assert!(token.matches(&grant.hash));
        assert_eq!((grant.uses, grant.node.as_deref()), (1, Some("one")));
        // The authority's own key stays where it is.
        let pem = std::fs::read_to_string(place.secrets.join("authority.pem")).unwrap();
        let key = pem.split_once("-----BEGIN CERTIFICATE").unwrap().0;
        let given = first.registrar();
        assert!(!given.key.contains(key) && !given.certificates.contains("PRIVATE"));
    }

    #[test]
    fn the_registrar_can_serve_with_it() {
        let membership = place().of("10.20.0.11", "");
        let registrar = membership.registrar();
        tls::server_config(&registrar.certificates, &registrar.key).unwrap();
        assert!(membership.pin.starts_with("sha256:"), "{}", membership.pin);
    }

    #[test]
    fn another_address_is_another_certificate_and_the_same_pin() {
        let place = place();
        let before = place.of("10.20.0.11", "");
        let after = place.of("10.20.0.12", "");
        assert_ne!(before.certificates, after.certificates);
        assert_eq!(before.pin, after.pin);
    }

    #[test]
    fn a_token_that_has_ended_is_made_again_and_others_stay() {
        let place = place();
        let both = format!(
            "{}{}",
            compute("one", "10.20.0.21"),
            compute("two", "10.20.0.22")
        );
        let before = place.of("10.20.0.11", &both);
        let path = place.secrets.join("tokens.json");
        let mut tokens: BTreeMap<String, Issued> = read(&path).unwrap().unwrap();
        tokens.get_mut("one").unwrap().expires_at = 1;
        write(&path, &tokens).unwrap();
        let after = place.of("10.20.0.11", &both);
        assert_ne!(before.join("one"), after.join("one"));
        assert_eq!(before.join("two"), after.join("two"));
    }

    #[test]
    fn the_site_says_for_how_many_days_a_token_is_good() {
        let end = |join: &str| {
            let computes = compute("one", "10.20.0.21") + join;
            let membership = place().of("10.20.0.11", &computes);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let left = membership.registrar().tokens[0].expires_at - now.as_secs();
            left.div_ceil(DAY_SECONDS)
        };
        assert_eq!(end(""), 7);
        assert_eq!(end("[join]\ntoken_days = 30\n"), 30);
    }

    #[test]
    fn a_damaged_file_is_kept_and_not_quoted() {
        for file in ["authority.pem", "registrar.json", "tokens.json"] {
            let place = place();
            place.of("10.20.0.11", "");
            let path = place.secrets.join(file);
            files::replace(&path, b"{\"hunter2\"", Ownership::mode(0o600)).unwrap();
            let site = site(place.directory.path(), "10.20.0.11", "");
            let error = Membership::of(&site, &place.secrets)
                .unwrap_err()
                .to_string();
            assert!(error.contains(file), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), b"{\"hunter2\"");
        }
    }
}
