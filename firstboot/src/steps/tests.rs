//! What the steps of a role say together, with the files of the overlay as a node renders them.

mod rdo;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::Role;
use crate::files::{self, Ownership};
use crate::graph::Graph;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::platform::Platform;
use crate::render::Templates;
use crate::roles;
use crate::step::Step;

/// The example's node on another platform.
fn on(platform: &str, mut node: Node) -> Node {
    node.platform = Platform::load(platform).unwrap();
    node.config.platform = platform.to_owned();
    node.config.release = node.platform.release.clone();
    node
}

/// Every node of the example on every platform.
fn everywhere() -> impl Iterator<Item = Node> {
    Platform::names().flat_map(|name| {
        let nodes = [Node::example(Role::Controller), Node::example_member()];
        nodes.map(|node| on(name, node))
    })
}

/// The files of a tree that this node's platform has: plain ones as they are, others as the node
/// would render them.
fn texts(node: &Node, tree: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays");
    let root = root.join(tree);
    let text = std::fs::read_to_string(root.join("overlay.toml")).unwrap();
    let mut catalogue: Overlay = toml::from_str(&text).unwrap();
    catalogue
        .files
        .retain(|entry| entry.is_for(&node.platform.name));
    // As an image has them: each template under the path of what it makes.
    let image = tempfile::tempdir().unwrap();
    let below = |directory: &Path, path: &Path| directory.join(path.strip_prefix("/").unwrap());
    let mut plain = Vec::new();
    for entry in &mut catalogue.files {
        let source = entry.source.take().unwrap_or_else(|| entry.path.clone());
        let place = below(&root, &source);
        match files::read_if_exists(&place).unwrap() {
            Some(text) => plain.push((entry.path.clone(), text)),
            None => {
                let text = std::fs::read_to_string(format!("{}.j2", place.display())).unwrap();
                let place = format!("{}.j2", below(image.path(), &entry.path).display());
                files::replace(Path::new(&place), text.as_bytes(), Ownership::mode(0o644)).unwrap();
            }
        }
    }
    let is_plain = |path: &Path| plain.iter().any(|(known, _)| known == path);
    catalogue.files.retain(|entry| !is_plain(&entry.path));
    let paths: Vec<_> = catalogue
        .files
        .iter()
        .map(|entry| entry.path.clone())
        .collect();
    let templates = Templates::new(catalogue, image.path()).unwrap();
    let rendered = paths.into_iter().map(|path| {
        let text = templates.text(node, path.to_str().unwrap()).unwrap();
        (path, text)
    });
    rendered.chain(plain.clone()).collect()
}

/// Every file that the overlay gives this node.
fn all(node: &Node) -> Vec<(PathBuf, String)> {
    [
        texts(node, "common"),
        texts(node, node.config.role.as_str()),
    ]
    .concat()
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
fn the_steps_of_each_role_are_in_order_on_every_platform() {
    for node in everywhere() {
        let steps = roles::steps(&node);
        Graph::new(&steps).unwrap();
        for step in &steps {
            assert!(!step.hint.is_empty(), "{} has no hint", step.name);
        }
    }
}

#[test]
fn the_files_that_a_service_reads_are_there_before_it_starts() {
    // A step writes them without a template.
    let made = [
        "/etc/rabbitmq/definitions.json",
        "/etc/nova/compute_id",
        "/etc/cellboot/node.toml",
    ];
    for platform in Platform::names() {
        let nodes = [Node::example(Role::Controller), Node::example_member()];
        let files: BTreeSet<PathBuf> = nodes
            .into_iter()
            .flat_map(|node| all(&on(platform, node)))
            .map(|(path, _)| path)
            .chain(made.map(PathBuf::from))
            .collect();
        let table = Platform::load(platform).unwrap();
        for (name, service) in &table.services {
            for file in &service.files {
                assert!(
                    files.contains(file),
                    "{platform}, {name}: {}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn every_template_renders_with_and_without_a_provider_network() {
    for mut node in everywhere() {
        for provider in [node.config.provider.clone(), None] {
            node.config.provider = provider;
            let files = all(&node);
            assert!(files.len() >= 20);
            for (path, text) in &files {
                assert!(text.ends_with('\n'), "{}", path.display());
                assert!(!text.contains("\n\n\n"), "{}", path.display());
            }
        }
    }
}

#[test]
fn a_compute_renders_its_files_without_a_database_or_an_administrator() {
    let node = Node::example_member();
    let files = all(&node);
    let rendered = files.iter().filter(|(path, _)| path.starts_with("/etc"));
    for (path, text) in rendered {
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
