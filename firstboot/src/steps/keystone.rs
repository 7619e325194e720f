//! Keystone: its keys, its first contents, its API.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

use super::schema;
use super::shape::{self, Api};
use crate::cmd::Cmd;
use crate::files::{self, Ownership};
use crate::node::Node;
use crate::resource::sql::{self, quote};
use crate::step::{Check, Step};
use crate::users;

const KEYS: [&str; 2] = ["/etc/keystone/fernet-keys", "/etc/keystone/credential-keys"];
/// 0 is the next key to be used, 1 the first that is in use.
const FIRST_KEYS: [&str; 2] = ["0", "1"];
/// Keystone's own API answers here without a token.
pub(super) const API: Api = Api {
    port: 5000,
    path: "/v3",
    status: 200,
};

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::configured(
            "keystone/config",
            "Keystone's files are rendered",
            &["keystone"],
        ),
        Step::new(
            "keystone/keys",
            "Keystone has keys for tokens and credentials",
        )
        .needs(["base/preflight"])
        .hint("if keys were lost, remove the empty directory below /etc/keystone")
        .check(|context| check_keys(context))
        .apply(|context| make_keys(context)),
        schema::step("keystone/schema", "keystone").weight(5),
        Step::new(
            "keystone/bootstrap",
            "there are an administrator, roles and a region",
        )
        .needs([
            "keystone/schema",
            "keystone/config",
            "keystone/keys",
            "memcached/running",
        ])
        .hint("read the end of what keystone-manage said")
        .weight(60)
        .check(|context| check_bootstrap(context))
        .apply(|context| bootstrap(context)),
        shape::serving(
            "keystone/running",
            "the identity API answers",
            "keystone",
            API,
        )
        .needs([
            "keystone/schema",
            "keystone/config",
            "keystone/keys",
            "memcached/running",
        ])
        // Where all three are in Apache it would have to be started anew for each.
        .needs(["placement/config", "dashboard/config"])
        .weight(60),
    ]
}

fn check_keys(node: &Node) -> Result<Check> {
    let (uid, gid) = owner(node)?;
    for directory in KEYS {
        let Ok(metadata) = std::fs::symlink_metadata(directory) else {
            return Ok(Check::Todo(format!("{directory} is missing")));
        };
        if (metadata.mode() & 0o7777, metadata.uid(), metadata.gid()) != (0o700, uid, gid) {
            return Ok(Check::Todo(format!("{directory} is not Keystone's alone")));
        }
        // A rotation removes old numbers, but there is always a 0 and one more.
        let keys = std::fs::read_dir(directory).with_context(|| format!("reading {directory}"))?;
        if keys.count() < 2 || !Path::new(directory).join("0").exists() {
            return Ok(Check::Todo(format!("{directory} has no keys")));
        }
    }
    Ok(Check::Done)
}

/// Writes the two files that `fernet_setup` and `credential_setup` would write, without starting
/// Python twice for them. Never replaces a key: tokens and credentials hang on it.
fn make_keys(node: &Node) -> Result<()> {
    let (uid, gid) = owner(node)?;
    for directory in KEYS {
        let context = || format!("making {directory}");
        if !Path::new(directory).exists() {
            let mut builder = std::fs::DirBuilder::new();
            builder
                .mode(0o700)
                .create(directory)
                .with_context(context)?;
        }
        chown(directory, Some(uid), Some(gid)).with_context(context)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(directory, mode).with_context(context)?;
        for name in FIRST_KEYS {
            let path = Path::new(directory).join(name);
            if !path.exists() {
                let ownership = Ownership {
                    mode: 0o600,
                    owner: Some((uid, gid)),
                };
                files::replace(&path, new_key()?.as_bytes(), ownership)?;
            }
        }
    }
    Ok(())
}

fn owner(node: &Node) -> Result<(u32, u32)> {
    users::lookup(&node.platform.service("keystone")?.user)
}

/// What Fernet calls a key: 32 random bytes in URL-safe base64.
fn new_key() -> Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("reading random bytes: {error}"))?;
    Ok(URL_SAFE.encode(bytes))
}

/// Bootstrap writes the three endpoints last, so they stand for all of it.
fn check_bootstrap(node: &Node) -> Result<Check> {
    let rows = sql::query(
        node,
        &format!(
            "SELECT endpoint.interface, endpoint.url FROM keystone.endpoint \
             JOIN keystone.service ON service.id = endpoint.service_id \
             WHERE service.type = 'identity' AND endpoint.region_id = {} \
             ORDER BY endpoint.interface;",
            quote(&node.config.site.region)
        ),
    )?;
    let url = url(node)?;
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row[0].as_str(), row[1].as_str()))
        .collect();
    let expected = ["admin", "internal", "public"].map(|interface| (interface, url.as_str()));
    Ok(Check::of(
        found == expected,
        "the identity service is not in the catalog as it should be",
    ))
}

fn bootstrap(node: &Node) -> Result<()> {
    let url = url(node)?;
    let password = node.secrets.get("admin")?;
    Cmd::new(node.platform.program("keystone-bootstrap")?)
        .arg("bootstrap")
        .args(["--bootstrap-region-id", &node.config.site.region])
        .args(["--bootstrap-admin-url", &url])
        .args(["--bootstrap-internal-url", &url])
        .args(["--bootstrap-public-url", &url])
        .as_user(&node.platform.service("keystone")?.user)
        .stdin(format!("{password}\n"))
        .run()
}

/// The address of the identity service in the catalog.
fn url(node: &Node) -> Result<String> {
    Ok(API.url(node.config.controller()?.address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_and_never_the_same() {
        let key = new_key().unwrap();
        assert_eq!(URL_SAFE.decode(&key).unwrap().len(), 32);
        assert_ne!(key, new_key().unwrap());
    }
}
