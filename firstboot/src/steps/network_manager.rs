//! NetworkManager, where the platform has it: it must leave the provider's interface alone.

use super::shape;
use crate::platform::Platform;
use crate::step::Step;

const SERVICE: &str = "network-manager";
/// What has to hold before the interface is given to the virtual switch.
pub(super) const LEAVES_THE_PROVIDER: &str = "network-manager/running";

pub(super) fn steps(platform: &Platform) -> Vec<Step> {
    if !platform.services.contains_key(SERVICE) {
        return Vec::new();
    }
    vec![
        shape::configured(
            "network-manager/config",
            "the provider's interface is not NetworkManager's",
            &[SERVICE],
        ),
        // Connections stay as they are while it starts anew.
        shape::running(LEAVES_THE_PROVIDER, "NetworkManager knows that", SERVICE)
            .needs(["network-manager/config"]),
    ]
}
