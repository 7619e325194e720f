//! Every option of every service of a release, as its own code defines them.
//!
//! The files in `options/` are written by `make options`, from the release; a test compares them.
//! Each line is a service, a section and its options; `old>section.new` was renamed.

use std::collections::BTreeMap;

use super::suggest;

const RELEASES: [(&str, &str); 6] = [
    ("zed", include_str!("options/zed.txt")),
    ("antelope", include_str!("options/antelope.txt")),
    ("bobcat", include_str!("options/bobcat.txt")),
    ("caracal", include_str!("options/caracal.txt")),
    ("dalmatian", include_str!("options/dalmatian.txt")),
    ("epoxy", include_str!("options/epoxy.txt")),
];
/// Sections that a configuration names itself: devices of a compute, of which each has its own.
const OWN_NAMES: [(&str, &str); 2] = [("nova", "mdev_"), ("nova", "vgpu_")];

/// An option by its new name, where it has one.
type Options = BTreeMap<&'static str, Option<&'static str>>;

/// The options of a release.
#[derive(Debug)]
pub(super) struct Catalogue {
    release: &'static str,
    services: BTreeMap<&'static str, BTreeMap<&'static str, Options>>,
}

/// What is wrong with an option, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) wrong: String,
    pub(super) hint: String,
}

impl Catalogue {
    /// That of a release, if there is one.
    pub(super) fn of(release: &str) -> Option<Self> {
        let (release, text) = RELEASES.iter().find(|(name, _)| *name == release)?;
        let mut services: BTreeMap<_, BTreeMap<_, Options>> = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(service), Some(section)) = (words.next(), words.next()) else {
                continue;
            };
            let options = words.map(|word| match word.split_once('>') {
                Some((old, new)) => (old, Some(new)),
                None => (word, None),
            });
            services
                .entry(service)
                .or_default()
                .insert(section, options.collect());
        }
        Some(Self { release, services })
    }

    /// Why the service has no such option; nothing where it has it.
    pub(super) fn unknown(&self, service: &str, section: &str, option: &str) -> Option<Unknown> {
        let own_name = |(of, start): &(&str, &str)| *of == service && section.starts_with(start);
        if OWN_NAMES.iter().any(own_name) {
            return None;
        }
        let release = self.release;
        let sections = self.services.get(service)?;
        let elsewhere = || {
            let mut others = sections.iter().filter(|(name, _)| **name != section);
            let (name, _) = others.find(|(_, options)| options.get(option) == Some(&None))?;
            Some(format!(
                "[{name}] has it: write it below [override.{service}.{name}]"
            ))
        };
        let near = |known: &mut dyn Iterator<Item = &'static str>| {
            let near = suggest::nearest(option, known)?;
            Some(format!("did you mean {near}?"))
        };
        let otherwise = || "look it up in the configuration reference of the release".to_owned();
        let Some(options) = sections.get(section) else {
            let near = suggest::nearest(section, sections.keys().copied());
            let near = near.map(|near| format!("did you mean [override.{service}.{near}]?"));
            return Some(Unknown {
                wrong: format!("{service} of {release} has no section [{section}]"),
                hint: near.or_else(elsewhere).unwrap_or_else(otherwise),
            });
        };
        match options.get(option) {
            Some(None) => None,
            Some(Some(new)) => Some(Unknown {
                wrong: format!("the option has another name in {release}"),
                hint: match new.split_once('.') {
                    Some((to, new)) => format!("write {new} below [override.{service}.{to}]"),
                    None => format!("write {new}"),
                },
            }),
            None => Some(Unknown {
                wrong: format!("{service} of {release} has no such option in [{section}]"),
                hint: elsewhere()
                    .or_else(|| {
                        let current = options.iter().filter(|(_, new)| new.is_none());
                        near(&mut current.map(|(name, _)| *name))
                    })
                    .unwrap_or_else(otherwise),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstboot::platform::Platform;

    fn said(service: &str, section: &str, option: &str) -> Option<(String, String)> {
        let catalogue = Catalogue::of("antelope").unwrap();
        let unknown = catalogue.unknown(service, section, option)?;
        Some((unknown.wrong, unknown.hint))
    }

    fn told(wrong: &str, hint: &str) -> Option<(String, String)> {
        Some((wrong.to_owned(), hint.to_owned()))
    }

    #[test]
    fn what_a_service_has_is_known() {
        for (service, section, option) in [
            ("nova", "DEFAULT", "cpu_allocation_ratio"),
            ("nova", "libvirt", "cpu_mode"),
            ("nova", "vgpu_nvidia-35", "device_addresses"),
            ("glance", "file", "filesystem_store_datadir"),
            ("openvswitch_agent", "ovs", "datapath_type"),
            ("neutron", "keystone_authtoken", "username"),
            ("placement", "placement_database", "connection"),
        ] {
            assert_eq!(said(service, section, option), None, "{service} {option}");
        }
    }

    #[test]
    fn what_it_has_not_is_answered_with_what_was_probably_meant() {
        assert_eq!(
            said("nova", "DEFAULT", "cpu_alocation_ratio"),
            told(
                "nova of antelope has no such option in [DEFAULT]",
                "did you mean cpu_allocation_ratio?"
            )
        );
        assert_eq!(
            said("openvswitch_agent", "vxlan", "local_ip"),
            told(
                "openvswitch_agent of antelope has no section [vxlan]",
                "[ovs] has it: write it below [override.openvswitch_agent.ovs]"
            )
        );
        assert_eq!(
            said("nova", "libvrt", "cpu_mode"),
            told(
                "nova of antelope has no section [libvrt]",
                "did you mean [override.nova.libvirt]?"
            )
        );
        assert_eq!(
            said("nova", "libvirt", "compute_driver"),
            told(
                "nova of antelope has no such option in [libvirt]",
                "[DEFAULT] has it: write it below [override.nova.DEFAULT]"
            )
        );
        assert_eq!(
            said("keystone", "DEFAULT", "sql_connection"),
            told(
                "the option has another name in antelope",
                "write connection below [override.keystone.database]"
            )
        );
    }

    #[test]
    fn every_release_of_every_platform_was_looked_through() {
        for name in Platform::names() {
            for release in Platform::load(name).unwrap().releases.keys() {
                assert!(Catalogue::of(release).is_some(), "{name}, {release}");
            }
        }
    }
}
