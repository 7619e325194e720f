//! A release that its platform has, and a VLAN tag exactly where there are VLANs.

use firstboot::config::ProviderKind;

use crate::site::draft::Draft;
use crate::site::problem::Problem;
use crate::site::{suggest, value};

pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(release(draft));
    problems.extend(vlan(draft));
    problems
}

fn release(draft: &Draft) -> Option<Problem> {
    let release = draft.release.as_ref()?;
    let Some(platform) = &draft.platform.as_ref()?.value else {
        return Some(release.problem(
            format!("{:?} is for no platform yet", release.value),
            "a release beside a pinned platform",
            r#"write platform.name = "centos-stream-9" or "debian-12", or remove the release"#,
        ));
    };
    let known = value::releases(platform);
    if known.contains(&release.value.as_str()) {
        return None;
    }
    let near = suggest::nearest(&release.value, known.iter().copied());
    Some(release.problem(
        format!("{platform} has no release {:?}", release.value),
        &format!("one of {}", known.join(", ")),
        &match near {
            Some(near) => format!("did you mean {near}?"),
            None => "name one of them, or remove the key".to_owned(),
        },
    ))
}

fn vlan(draft: &Draft) -> Option<Problem> {
    let provider = draft.provider.as_ref()?;
    match (provider.kind.as_ref()?.value, &provider.vlan_id) {
        (ProviderKind::Vlan, None) => Some(provider.place.problem(
            "is missing".into(),
            "a number from 1 to 4094",
            "add vlan_id, or write kind = \"flat\"",
        )),
        (ProviderKind::Flat, Some(id)) => Some(id.problem(
            "a flat network has no VLAN tag".into(),
            "no vlan_id beside kind = \"flat\"",
            "remove it, or write kind = \"vlan\"",
        )),
        _ => None,
    }
}
