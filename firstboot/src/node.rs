//! The node that steps work on: what the seed said, what the platform is, the node's own secrets.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::config::{NodeConfig, Role};
use crate::platform::Platform;
use crate::render::Templates;
use crate::resource::openstack::Sessions;
use crate::secrets::Secrets;
use crate::{files, overlay, paths};

/// Everything a step may know. There is nothing global besides.
#[derive(Debug)]
pub struct Node {
    /// What the seed said.
    pub config: NodeConfig,
    /// The platform of this image.
    pub platform: Platform,
    /// The image's templates.
    pub templates: Templates,
    /// Passwords and keys made on this node.
    pub secrets: Secrets,
    /// Logins at the cloud's own APIs, made when they are needed.
    pub sessions: Sessions,
}

impl Node {
    /// The node that this machine is. Makes the passwords that are missing.
    ///
    /// # Errors
    /// When the seed's configuration is missing or wrong, or the image lacks its templates.
    pub fn load() -> Result<Self> {
        Self::with(read_config()?, Secrets::load_or_create)
    }

    /// The same without writing anything: passwords that do not exist yet are made up, so that
    /// every check that needs one answers "not yet".
    ///
    /// # Errors
    /// As [`Node::load`].
    pub fn read() -> Result<Self> {
        Self::with(read_config()?, Secrets::load_or_imagine)
    }

    fn with(config: NodeConfig, secrets: fn(&Path) -> Result<Secrets>) -> Result<Self> {
        let platform = Platform::load(&config.platform)?;
        let templates =
            Templates::load(Path::new(overlay::CATALOGUE), Path::new(overlay::TEMPLATES))?;
        // A compute holds no password of the control plane, so it makes none.
        let secrets = match config.role {
            Role::Controller => secrets(Path::new(paths::SECRETS))?,
            Role::Compute => Secrets::none(),
        };
        Ok(Self {
            config,
            platform,
            templates,
            secrets,
            sessions: Sessions::default(),
        })
    }
}

fn read_config() -> Result<NodeConfig> {
    let path = Path::new(paths::NODE_CONFIG);
    let Some(text) = files::read_if_exists(path)? else {
        bail!(
            "there is no {}\nhint: attach the node's seed and power on again",
            path.display()
        );
    };
    NodeConfig::parse(&text).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
impl Node {
    /// A node of a small site, with passwords of its own and no templates, for unit tests.
    pub(crate) fn example(role: Role) -> Self {
        let (name, address) = match role {
            Role::Controller => ("control", "10.20.0.11/24"),
            Role::Compute => ("compute1", "10.20.0.21/24"),
        };
        let text = format!(
            r#"
            schema = 1
            name = "{name}"
            role = "{role}"
            platform = "debian-12"
            release = "zed"
            nodes = [
                {{ name = "control", role = "controller", address = "10.20.0.11" }},
                {{ name = "compute1", role = "compute", address = "10.20.0.21" }},
            ]
            [site]
            name = "example"
            region = "RegionOne"
            domain = "example.org"
            time_zone = "Etc/UTC"
            ntp_servers = ["ntp.example.org"]
            dns_servers = ["10.20.0.1"]
            [management]
            address = "{address}"
            gateway = "10.20.0.1"
            interface = "52:54:00:00:00:11"
            [provider]
            interface = "ens4"
            physical_network = "provider"
            kind = "flat"
            network = "203.0.113.0/24"
            gateway = "203.0.113.1"
            allocation_start = "203.0.113.100"
            allocation_end = "203.0.113.200"
            [overlay]
            vni_start = 1
            vni_end = 1000
            "#
        );
        let config = NodeConfig::parse(&text).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let secrets = match role {
            Role::Controller => {
                Secrets::load_or_imagine(&directory.path().join("secrets.json")).unwrap()
            }
            Role::Compute => Secrets::none(),
        };
        Self {
            platform: Platform::load(&config.platform).unwrap(),
            config,
            templates: Templates::none(),
            secrets,
            sessions: Sessions::default(),
        }
    }
}
