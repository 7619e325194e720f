//! The node that steps work on: what the seed said, what the platform is, the node's own secrets.

use crate::config::NodeConfig;
use crate::platform::Platform;
use crate::render::Templates;
use crate::secrets::Secrets;

/// Everything a step may know. There is nothing global besides.
pub struct Node {
    /// What the seed said.
    pub config: NodeConfig,
    /// The platform of this image.
    pub platform: Platform,
    /// The image's templates.
    pub templates: Templates,
    /// Passwords and keys made on this node.
    pub secrets: Secrets,
}
