//! What a node makes true, one file a service. The order is in the steps' needs, nowhere else.
//!
//! A file here knows its service; how a unit, a file, a database or an API is handled is in
//! [`crate::resource`].

mod access;
mod base;
mod bridge;
mod cells;
mod compute;
mod dashboard;
mod firewall;
mod glance;
mod identity;
mod join;
mod keystone;
mod mariadb;
mod memcached;
mod neutron;
mod nova;
mod placement;
mod preflight;
mod rabbitmq;
mod registrar;
mod schema;
mod shape;
mod time;
mod verify;

use crate::step::Step;

pub use join::meet_neighbours;
pub use neutron::wait_for_rpc;

/// What every node makes true before it can be anything.
pub fn every_node() -> Vec<Step> {
    [
        preflight::steps(),
        base::steps(),
        time::steps(),
        firewall::steps(),
        bridge::steps(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What makes a node a controller.
pub fn controller() -> Vec<Step> {
    [
        mariadb::steps(),
        rabbitmq::steps(),
        memcached::steps(),
        keystone::steps(),
        identity::steps(),
        glance::steps(),
        placement::steps(),
        nova::steps(),
        cells::steps(),
        neutron::steps(),
        dashboard::steps(),
        access::steps(),
        registrar::steps(),
        verify::steps(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What makes a node a compute.
pub fn compute() -> Vec<Step> {
    [join::steps(), compute::steps()]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use crate::config::Role;
    use crate::graph::Graph;
    use crate::node::Node;
    use crate::overlay::Overlay;
    use crate::render::Templates;
    use crate::roles;
    use crate::step::Step;

    /// The text of every template of a tree, as this node would have it.
    fn texts(node: &Node, tree: &str) -> Vec<(PathBuf, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays");
        let root = root.join(tree);
        let text = std::fs::read_to_string(root.join("overlay.toml")).unwrap();
        let mut catalogue: Overlay = toml::from_str(&text).unwrap();
        catalogue.files.retain(|entry| {
            root.join(format!("{}.j2", &entry.path.display().to_string()[1..]))
                .exists()
        });
        let paths: Vec<_> = catalogue
            .files
            .iter()
            .map(|entry| entry.path.clone())
            .collect();
        let templates = Templates::new(catalogue, &root).unwrap();
        paths
            .into_iter()
            .map(|path| {
                let text = templates.text(node, path.to_str().unwrap()).unwrap();
                (path, text)
            })
            .collect()
    }

    fn text(texts: &[(PathBuf, String)], path: &str) -> String {
        let found = texts.iter().find(|(known, _)| known == Path::new(path));
        found.unwrap().1.clone()
    }

    /// The names of all steps that hold before this one is tried.
    fn before(steps: &[Step], name: &str) -> BTreeSet<&'static str> {
        let step = steps.iter().find(|step| step.name == name).unwrap();
        let further = step.needs.iter().flat_map(|need| before(steps, need));
        further.chain(step.needs.iter().copied()).collect()
    }

    #[test]
    fn the_steps_of_each_role_are_in_order() {
        for role in Role::ALL {
            let steps = roles::steps(&Node::example(role));
            Graph::new(&steps).unwrap();
            for step in &steps {
                assert!(!step.hint.is_empty(), "{} has no hint", step.name);
            }
        }
    }

    #[test]
    fn every_template_renders_with_and_without_a_provider_network() {
        let mut node = Node::example(Role::Controller);
        for provider in [node.config.provider.clone(), None] {
            node.config.provider = provider;
            let common = texts(&node, "common");
            let controller = texts(&node, "controller");
            assert!(common.len() >= 7 && controller.len() >= 20);
            for (path, text) in common.iter().chain(&controller) {
                assert!(text.ends_with('\n'), "{}", path.display());
                assert!(!text.contains("\n\n\n"), "{}", path.display());
            }
        }
    }

    #[test]
    fn a_compute_renders_its_files_without_a_database_or_an_administrator() {
        let node = Node::example_member();
        let files = [texts(&node, "common"), texts(&node, "compute")].concat();
        for (path, text) in &files {
            assert!(text.ends_with('\n'), "{}", path.display());
            assert!(!text.contains("\n\n\n"), "{}", path.display());
            for word in [
                "[database]",
                "[api_database]",
                "connection =",
                "mysql",
                "admin",
            ] {
                assert!(!text.contains(word), "{word} is in {}", path.display());
            }
        }
        let nova = text(&files, "/etc/nova/nova.conf");
        for line in [
            "host = compute1",
            "my_ip = 10.20.0.21",
            "transport_url = rabbit://compute-compute1:given-rabbitmq@10.20.0.11:5672/",
            "server_proxyclient_address = 10.20.0.21",
            "novncproxy_base_url = http://10.20.0.11:6080/vnc_lite.html",
            "password = given-service-placement",
        ] {
            assert!(nova.contains(&format!("\n{line}\n")), "{line}: {nova}");
        }
        let neutron = text(&files, "/etc/neutron/neutron.conf");
        assert!(neutron.contains("\nhost = compute1\n"), "{neutron}");
        let hosts = text(&files, "/etc/hosts");
        assert!(hosts.contains("\n10.20.0.22 compute2.example.org compute2\n"));
    }

    #[test]
    fn a_compute_starts_nothing_before_it_is_enrolled_and_is_mapped_last() {
        let steps = roles::steps(&Node::example(Role::Compute));
        let before = |name| before(&steps, name);
        for step in ["nova/compute", "neutron/openvswitch-agent"] {
            for need in ["join/enrolled", "join/controller", "base/hostname"] {
                assert!(before(step).contains(&need), "{step} before {need}");
            }
            assert!(before("join/mapped").contains(&step));
        }
        assert!(before("join/enrolled").contains(&"chrony/running"));
    }

    #[test]
    fn a_site_without_a_provider_network_maps_no_bridge() {
        let mut node = Node::example(Role::Controller);
        let path = "/etc/neutron/plugins/ml2/openvswitch_agent.ini";
        let with = text(&texts(&node, "common"), path);
        assert!(with.contains("\nbridge_mappings = provider:br-provider\n"));
        node.config.provider = None;
        let without = text(&texts(&node, "common"), path);
        assert!(!without.contains("bridge_mappings"));
    }

    #[test]
    fn a_compute_follows_the_clock_of_the_controller() {
        let node = Node::example(Role::Compute);
        let chrony = text(&texts(&node, "common"), "/etc/chrony/chrony.conf");
        assert!(
            chrony.contains("\nserver 10.20.0.11 iburst maxpoll 5\n"),
            "{chrony}"
        );
        assert!(!chrony.contains("allow"), "{chrony}");
    }

    #[test]
    fn the_firewall_opens_the_broker_to_nodes_only() {
        let rules = text(
            &texts(&Node::example(Role::Controller), "common"),
            "/etc/nftables.conf",
        );
        assert!(
            rules.contains("\n        ip saddr @nodes tcp dport 5672 accept\n"),
            "{rules}"
        );
        assert!(
            rules.contains("elements = { 10.20.0.11, 10.20.0.21 }"),
            "{rules}"
        );
        let rules = text(
            &texts(&Node::example(Role::Compute), "common"),
            "/etc/nftables.conf",
        );
        assert!(
            !rules.contains("5672") && !rules.contains("5000"),
            "{rules}"
        );
        let consoles = "\n        ip saddr 10.20.0.11 tcp dport 5900-6923 accept\n";
        assert!(rules.contains(consoles), "{rules}");
    }
}
