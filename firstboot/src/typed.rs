//! A compute without a seed gets one: out of the line that somebody types, by way of the registrar.
//!
//! The seed is kept where cloud-init finds it at every boot, and the machine is started anew: from
//! there on nothing tells it from a node whose seed was attached.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::cmd::Cmd;
use crate::files::{self, Ownership};
use crate::join::client::{self, Client};
use crate::join::key::NodeKey;
use crate::join::line::Line;
use crate::paths;
use crate::resource::network;
use crate::volume::Volume;
use crate::wait::{self, Probe};

/// How long a card may take to find its network, and the registrar to answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Gets the seed of the node that a line describes, and keeps it for the next boot.
///
/// # Errors
/// When the line is none, the machine has no such interface, or the registrar does not answer or
/// refuses.
pub fn take(text: &str) -> Result<()> {
    let line: Line = text.parse().context("reading the line")?;
    let interface = network::find_interface(&line.interface)?;
    // Whatever is done here is gone with the next boot.
    let address = line.address.to_string();
    for arguments in [
        vec!["link", "set", &interface, "up"],
        vec!["address", "replace", &address, "dev", &interface],
    ] {
        Cmd::new("ip").args(arguments).run()?;
    }
    let key = NodeKey::load_or_create(Path::new(paths::JOIN_KEY))?;
    let registrar = Client::new(line.registrar.into(), &line.pin, &key)?;
    let request = line.request();
    let what = format!("the registrar at {}", line.registrar);
    let seed = wait::until(&what, ANSWER, || match registrar.seed(&request) {
        Ok(seed) => Ok(Probe::Ready(seed)),
        Err(error) if client::is_absent(&error) => Ok(Probe::NotYet(format!("{error:#}"))),
        Err(error) => Err(error),
    });
    keep(&seed?, Path::new(paths::TYPED_SEED))
}

/// Starts the machine anew, with its seed.
///
/// # Errors
/// When systemd refuses.
pub fn reboot() -> Result<()> {
    Cmd::new("systemctl").args(["reboot", "--no-block"]).run()
}

/// As cloud-init's own configuration: a volume labelled CIDATA still takes its place.
fn keep(seed: &Volume, path: &Path) -> Result<()> {
    let source = json!({"NoCloud": {
        "meta-data": seed.meta_data,
        "user-data": seed.user_data,
        "network-config": seed.network_config,
    }});
    // ds-identify, which decides whether cloud-init runs, reads lines; one name in the list is
    // taken without a look for its volume.
    let text = format!(
        "# The seed of this node, as the registrar gave it for a line that was typed here.\n\
         datasource_list: [ NoCloud ]\n\
         datasource: {source}\n"
    );
    files::replace(path, text.as_bytes(), Ownership::mode(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_seed_is_kept_as_cloud_init_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloud.cfg.d/seed.cfg");
        let seed = Volume {
            meta_data: "{\"a\": 1}\n".into(),
            user_data: "#cloud-config\n{}\n".into(),
            network_config: "{}".into(),
        };
        keep(&seed, &path).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().nth(1),
            Some("datasource_list: [ NoCloud ]"),
            "{text}"
        );
        let source = text.lines().nth(2).unwrap().strip_prefix("datasource: ");
        let source: serde_json::Value = serde_json::from_str(source.unwrap()).unwrap();
        assert_eq!(source["NoCloud"]["user-data"], "#cloud-config\n{}\n");
    }

    #[test]
    fn a_line_that_is_none_changes_nothing() {
        let error = take("firstboot join").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "reading the line: it takes at least six words: \
             REGISTRAR TOKEN PIN NAME ADDRESS/PREFIX INTERFACE"
        );
    }
}
