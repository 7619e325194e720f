//! What placement can count and tell apart. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::Method;

use super::session::Session;

/// New enough for traits (1.6), old enough for every release that is built.
const VERSION: &str = "placement 1.36";

#[derive(Deserialize)]
struct Classes {
    resource_classes: Vec<Class>,
}

#[derive(Deserialize)]
struct Class {
    name: String,
}

#[derive(Deserialize)]
struct Traits {
    traits: Vec<String>,
}

/// Names of all resource classes, as in `VCPU`.
pub fn resource_classes(session: &Session) -> Result<Vec<String>> {
    let list: Classes = get(session, "/resource_classes")?;
    let names = list.resource_classes.into_iter().map(|class| class.name);
    Ok(names.collect())
}

/// Names of all traits, as in `COMPUTE_NODE`.
pub fn traits(session: &Session) -> Result<Vec<String>> {
    let list: Traits = get(session, "/traits")?;
    Ok(list.traits)
}

/// What a resource provider has to give: the classes of which it has any. Empty where there is no
/// such provider.
pub fn inventories(session: &Session, provider: &str) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Inventories {
        inventories: BTreeMap<String, Inventory>,
    }
    #[derive(Deserialize)]
    struct Inventory {
        total: u64,
    }
    let path = format!("/resource_providers/{provider}/inventories");
    let call = session.call(Method::GET, "placement", &path)?;
    let answer = call.header("OpenStack-API-Version", VERSION).send()?;
    if answer.status == 404 {
        return Ok(BTreeSet::new());
    }
    let list: Inventories = answer.json()?;
    let some = list.inventories.into_iter().filter(|(_, it)| it.total > 0);
    Ok(some.map(|(class, _)| class).collect())
}

fn get<T: DeserializeOwned>(session: &Session, path: &str) -> Result<T> {
    let call = session.call(Method::GET, "placement", path)?;
    call.header("OpenStack-API-Version", VERSION).send()?.json()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::openstack::scripted::{cloud, lines, ok};

    #[test]
    fn what_a_provider_has_is_read() {
        let some = ok(r#"{"resource_provider_generation": 7, "inventories": {
            "VCPU": {"total": 2, "allocation_ratio": 4.0}, "DISK_GB": {"total": 0}}}"#);
        let none = ("404 Not Found", vec![], String::new());
        let (session, peer) = cloud("placement", "", vec![some, none]);
        let found = inventories(&session, "p1").unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["VCPU"]);
        assert!(inventories(&session, "p2").unwrap().is_empty());
        assert_eq!(
            lines(&peer.join())[1],
            "GET /resource_providers/p1/inventories"
        );
    }

    #[test]
    fn classes_and_traits_are_read() {
        // As in the placement API's reference.
        let (session, peer) = cloud(
            "placement",
            "",
            vec![
                ok(r#"{"resource_classes": [{"links": [], "name": "VCPU"},
                                            {"links": [], "name": "CUSTOM_FPGA"}]}"#),
                ok(r#"{"traits": ["CUSTOM_HW_FPGA_CLASS1", "HW_CPU_X86_AVX2"]}"#),
            ],
        );
        assert_eq!(resource_classes(&session).unwrap(), ["VCPU", "CUSTOM_FPGA"]);
        assert_eq!(
            traits(&session).unwrap(),
            ["CUSTOM_HW_FPGA_CLASS1", "HW_CPU_X86_AVX2"]
        );
        let requests = peer.join();
        assert_eq!(
            lines(&requests)[1..],
            ["GET /resource_classes", "GET /traits"]
        );
        let version = requests[2].header("openstack-api-version");
        assert_eq!(version, Some("placement 1.36"));
    }
}
