//! Overridden options that the release's own code does not have.

use firstboot::platform::Platform;

use crate::site::draft::Draft;
use crate::site::options::{Catalogue, Unknown};
use crate::site::problem::Problem;

pub(super) fn problems(draft: &Draft) -> Vec<Problem> {
    let Some(catalogues) = catalogues(draft) else {
        return Vec::new();
    };
    // Glance names a section after each of its stores.
    let stores_of_its_own = draft
        .overridden
        .iter()
        .any(|it| it.value.service == "glance" && it.value.option == "enabled_backends");
    let mut problems = Vec::new();
    for place in &draft.overridden {
        let it = &place.value;
        if it.service == "glance" && stores_of_its_own {
            continue;
        }
        let unknown =
            |catalogue: &Catalogue| catalogue.unknown(&it.service, &it.section, &it.option);
        let found: Option<Vec<Unknown>> = catalogues.iter().map(unknown).collect();
        if let Some(unknown) = found.and_then(|found| found.into_iter().next_back()) {
            let expected = "an option of the release";
            problems.push(place.problem(unknown.wrong, expected, &unknown.hint));
        }
    }
    problems
}

/// Those of the release that the site gets; where it may get one of several, an option is known if
/// one of them has it. None for a name that is no release's, which is a problem of its own.
fn catalogues(draft: &Draft) -> Option<Vec<Catalogue>> {
    let platform = draft.platform.as_ref()?;
    let release = draft.release.as_ref().map(|it| it.value.clone());
    let releases: Vec<String> = match (&platform.value, release) {
        (Some(_), Some(release)) => vec![release],
        (Some(name), None) => vec![Platform::load(name).ok()?.release],
        (None, _) => {
            let platforms = Platform::names().map(|name| Platform::load(name).ok());
            let platforms: Option<Vec<_>> = platforms.collect();
            platforms?.into_iter().map(|it| it.release).collect()
        }
    };
    releases.iter().map(|name| Catalogue::of(name)).collect()
}
