//! What Keystone must know: service users, roles, services and endpoints.

use crate::step::Step;

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step::new("identity/endpoints", "x").needs(["keystone/running", "keystone/bootstrap"]),
        Step::new("identity/assignments", "x").needs(["keystone/running", "keystone/bootstrap"]),
    ]
}
