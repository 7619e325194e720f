//! Where the agent keeps things on a node. Nothing else may spell these paths.

/// What the seed told this node; cloud-init writes it (0600).
pub const NODE_CONFIG: &str = "/etc/cellboot/node.toml";
/// State that outlives a boot.
pub const STATE: &str = "/var/lib/cellboot";
/// State of this boot.
pub const RUN: &str = "/run/cellboot";
/// Passwords made on this node (0600).
pub const SECRETS: &str = "/var/lib/cellboot/secrets.json";
/// One file for each unit: the hash of the configuration it was last started with.
pub const STARTED: &str = "/var/lib/cellboot/started";
/// The key that a compute is known by at the registrar (0600).
pub const JOIN_KEY: &str = "/var/lib/cellboot/join/key.pem";
/// What the registrar gave a compute (0600).
pub const JOIN_BUNDLE: &str = "/var/lib/cellboot/join/bundle.json";
/// The compute's place in its cell, once it has one (0600).
pub const JOINED: &str = "/var/lib/cellboot/join/joined.json";
/// The seed of a compute that was given one for a line that was typed (0600); cloud-init reads it.
pub const TYPED_SEED: &str = "/etc/cloud/cloud.cfg.d/95_cellboot_typed.cfg";
/// What a probe boot of KVM found, on a compute.
pub const HYPERVISOR: &str = "/var/lib/cellboot/hypervisor.json";
/// What the last runs did: a report and a timing record, never an authority.
pub const JOURNAL: &str = "/var/lib/cellboot/journal.json";
/// What the agent is doing now.
pub const STATUS: &str = "/run/cellboot/status.json";
/// Held by the one `firstboot verify --smoke` that runs.
pub const SMOKE_LOCK: &str = "/run/cellboot/smoke.lock";
/// What the registrar remembers, on a controller (0700).
pub const REGISTRAR: &str = "/var/lib/cellboot/registrar";
/// Held by the one `firstboot apply` that may change this node.
pub const LOCK: &str = "/run/cellboot/apply.lock";
