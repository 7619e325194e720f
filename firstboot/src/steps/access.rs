//! What an administrator types `source` on.

use super::shape;
use crate::step::Step;

pub(super) fn steps() -> Vec<Step> {
    vec![shape::rendered(
        "access/files",
        "root on this node can use the cloud",
        &["/root/admin-openrc", "/etc/openstack/clouds.yaml"],
    )]
}
