//! A release that its platform has, and a VLAN tag exactly where there are VLANs.

use firstboot::config::ProviderKind;
use firstboot::platform::Platform;

use crate::site::draft::Draft;
use crate::site::problem::Problem;
use crate::site::reader::Located;
use crate::site::suggest;

pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(release(draft));
    problems.extend(mirrors(draft));
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
    let carried = Platform::load(platform).ok()?.releases;
    if carried.contains_key(&release.value) {
        return None;
    }
    let known: Vec<&str> = carried.keys().map(String::as_str).collect();
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

/// A mirror of what the platform does not have.
fn mirrors(draft: &Draft) -> Vec<Problem> {
    let pinned = draft.platform.as_ref().and_then(|it| it.value.as_deref());
    let Some(Ok(platform)) = pinned.map(Platform::load) else {
        return Vec::new();
    };
    let known = match platform.tree {
        Some(_) => ["main", "sigs"],
        None => ["main", "security"],
    };
    let other = draft
        .mirrors
        .iter()
        .filter(|(name, _)| !known.contains(name));
    let problem = |(name, url): &(&str, Located<String>)| {
        url.problem(
            format!("{} has no packages of the kind {name:?}", platform.name),
            &known.join(" or "),
            "rename the key, or remove it",
        )
    };
    other.map(problem).collect()
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
