//! The node that steps work on: what the seed said, what the platform is, the node's own secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};

use crate::config::{NodeConfig, Peer, Role};
use crate::join::kept;
use crate::join::protocol::Bundle;
use crate::members::Store;
use crate::platform::Platform;
use crate::render::Templates;
use crate::resource::openstack::Sessions;
use crate::secrets::Secrets;
use crate::{files, overlay, paths};

/// The account of the controller's own services at the broker, as the seed's procedure names it.
pub const BROKER_USER: &str = "openstack";

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
    /// What the registrar gave this node; a controller is given nothing.
    pub bundle: OnceLock<Bundle>,
    /// The computes that the registrar had let in when this was read; a compute knows none but those
    /// of its bundle.
    pub members: Vec<Peer>,
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
        let (bundle, members) = match config.role {
            Role::Controller => {
                let known = Store::look(Path::new(paths::REGISTRAR))?;
                (None, known.peers().collect())
            }
            Role::Compute => (kept::bundle(&config.name)?, Vec::new()),
        };
        Ok(Self {
            config,
            platform,
            templates,
            secrets,
            bundle: bundle.map_or_else(OnceLock::new, OnceLock::from),
            members,
            sessions: Sessions::default(),
        })
    }

    /// Goes on with what the registrar has just given.
    ///
    /// # Errors
    /// When the node works with another bundle already.
    pub fn adopt(&self, bundle: Bundle) -> Result<()> {
        self.bundle.set(bundle).map_err(|_| {
            anyhow!("the node works with an older bundle\nhint: run `firstboot apply` again")
        })
    }

    /// Passwords by name: those made here, or those that the registrar gave.
    pub(crate) fn passwords(&self) -> &BTreeMap<String, String> {
        match self.bundle.get() {
            Some(bundle) => &bundle.secrets,
            None => self.secrets.values(),
        }
    }

    /// This node's account at the broker; a compute has none before it is enrolled.
    pub(crate) fn broker_user(&self) -> Option<&str> {
        match self.config.role {
            Role::Controller => Some(BROKER_USER),
            Role::Compute => self.bundle.get().map(|bundle| bundle.broker_user.as_str()),
        }
    }

    /// The account and its password.
    ///
    /// # Errors
    /// [`NotJoined`] on a compute that is not enrolled.
    pub fn broker_login(&self) -> Result<(&str, &str)> {
        let user = self.broker_user().ok_or(NotJoined)?;
        let password = self.passwords().get("rabbitmq");
        Ok((user, password.context("the broker's password is missing")?))
    }

    /// True on a compute that the registrar has given nothing yet.
    pub(crate) fn lacks_bundle(&self) -> bool {
        self.config.role == Role::Compute && self.bundle.get().is_none()
    }

    /// Every node of the site: those of the seed, then those that only the registrar knows.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &Peer> {
        let seed = &self.config.nodes;
        let known = |peer: &Peer| {
            seed.iter()
                .any(|it| it.name == peer.name || it.address == peer.address)
        };
        let given = self.bundle.get().into_iter().flat_map(|it| &it.nodes);
        let given = given.chain(&self.members);
        seed.iter().chain(given.filter(move |peer| !known(peer)))
    }
}

/// Why something cannot be known on a compute yet.
#[derive(Debug)]
pub struct NotJoined;

impl fmt::Display for NotJoined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the node has not joined yet")
    }
}

impl std::error::Error for NotJoined {}

fn read_config() -> Result<NodeConfig> {
    let path = Path::new(paths::NODE_CONFIG);
    let Some(text) = files::read_if_exists(path)? else {
        bail!(
            "there is no {}\nhint: attach the node's seed and power on again",
            path.display()
        );
    };
    let config = NodeConfig::parse(&text).with_context(|| format!("reading {}", path.display()))?;
    if config.identify.is_some() {
        bail!(
            "the seed is for many computes, and this machine does not know yet which one it is\n\
             hint: see with `firstboot logs` what it waits for"
        );
    }
    Ok(config)
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
            bundle: OnceLock::new(),
            members: Vec::new(),
            sessions: Sessions::default(),
        }
    }

    /// The example's compute with what a registrar would give it.
    pub(crate) fn example_member() -> Self {
        let node = Self::example(Role::Compute);
        let peer = |name: &str, address: [u8; 4]| Peer {
            name: name.into(),
            role: Role::Compute,
            address: address.into(),
        };
        let secrets = [
            "rabbitmq",
            "service-nova",
            "service-placement",
            "service-neutron",
        ];
        let bundle = Bundle {
            version: crate::join::protocol::VERSION,
            name: node.config.name.clone(),
            compute_id: "f7a4a6c1-9f0c-4a86-8a3a-9f1d5f4e2b10".into(),
            broker_user: "compute-compute1".into(),
            secrets: secrets.map(|it| (it.into(), format!("given-{it}"))).into(),
            nodes: vec![
                peer("compute1", [10, 20, 0, 21]),
                peer("compute2", [10, 20, 0, 22]),
            ],
        };
        node.adopt(bundle).unwrap();
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compute_has_what_the_registrar_gave_and_before_that_nothing() {
        let node = Node::example(Role::Compute);
        assert!(node.broker_login().unwrap_err().is::<NotJoined>());
        assert!(node.passwords().is_empty());
        let node = Node::example_member();
        let login = node.broker_login().unwrap();
        assert_eq!(login, ("compute-compute1", "given-rabbitmq"));
        let names: Vec<_> = node.peers().map(|peer| peer.name.as_str()).collect();
        assert_eq!(names, ["control", "compute1", "compute2"]);
        let error = node.adopt(node.bundle.get().unwrap().clone()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the node works with an older bundle\nhint: run `firstboot apply` again"
        );
    }
}
