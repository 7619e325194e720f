//! Every configuration file that a node of any site would have, judged by the definitions of the
//! release that reads it: no option that it does not know, none that it deprecates, no value of
//! another type.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cellboot::overlay;
use cellboot::site::Site;
use firstboot::cmd::Cmd;
use firstboot::config::Role;
use firstboot::files::{Ownership, replace};
use firstboot::join::protocol::{Bundle, VERSION};
use firstboot::node::Node;
use firstboot::platform::Platform;
use firstboot::render::Templates;
use firstboot::resource::openstack::Sessions;
use firstboot::secrets::Secrets;

use super::{SITE, site};

/// What sites say besides, by a name for the directory.
const SITES: [(&str, &str); 4] = [
    ("plain", COMPUTE),
    ("flat", FLAT),
    ("vlan", VLAN),
    ("overrides", OVERRIDES),
];
const COMPUTE: &str = r#"compute = [{ name = "c1", address = "10.20.0.21", interface = "ens3" }]"#;
const FLAT: &str = r#"
compute = [{ name = "c1", address = "10.20.0.21", interface = "ens3", provider_interface = "ens4" }]
provider = { network = "10.30.0.0/24", gateway = "10.30.0.1", allocation_start = "10.30.0.100", allocation_end = "10.30.0.200" }
"#;
const VLAN: &str = r#"
compute = [{ name = "c1", address = "10.20.0.21", interface = "ens3", provider_interface = "ens4" }]
provider = { kind = "vlan", vlan_id = 100, network = "10.30.0.0/24", gateway = "10.30.0.1", allocation_start = "10.30.0.100", allocation_end = "10.30.0.200" }
"#;
const OVERRIDES: &str = r#"
compute = [{ name = "c1", address = "10.20.0.21", interface = "ens3" }]
override.nova.DEFAULT = { cpu_allocation_ratio = "4.0", debug = true }
override.neutron.DEFAULT = { dns_domain = "cell.internal." }
override.glance.file = { filesystem_store_file_perm = 0 }
override.keystone.token = { expiration = 7200 }
override.placement.placement_database = { max_pool_size = 3 }
"#;

/// Writes what this node reads of the services that take overrides, one file each.
fn render(site: &Site, platform: &Platform, release: &str, role: Role, place: &Path) {
    let node = site.nodes.iter().find(|node| node.role == role).unwrap();
    let work = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let overlay = overlay::Files::load(&root.join("overlays"), role, &platform.name).unwrap();
    let archive = work.path().join("overlay.tgz");
    replace(
        &archive,
        &overlay.archive(b"").unwrap(),
        Ownership::mode(0o600),
    )
    .unwrap();
    Cmd::new("tar")
        .args(["-xz", "--no-same-owner", "-f"])
        .path(&archive)
        .arg("-C")
        .path(work.path())
        .run()
        .unwrap();
    let material = work.path().join("usr/share/cellboot");
    let node = Node {
        config: site.node_config(&node.name, platform, release).unwrap(),
        platform: platform.clone(),
        templates: Templates::load(
            &material.join("templates.toml"),
            &material.join("templates"),
        )
        .unwrap(),
        secrets: Secrets::load_or_create(&place.join("../../secrets.json")).unwrap(),
        bundle: OnceLock::new(),
        members: Vec::new(),
        sessions: Sessions::default(),
    };
    if role == Role::Compute {
        let names = [
            "rabbitmq",
            "service-nova",
            "service-placement",
            "service-neutron",
        ];
        let given = names.map(|name| (name.to_owned(), "A1".repeat(16)));
        let bundle = Bundle {
            version: VERSION,
            name: node.config.name.clone(),
            compute_id: "f7a4a6c1-9f0c-4a86-8a3a-9f1d5f4e2b10".to_owned(),
            broker_user: "compute-c1".to_owned(),
            secrets: given.into(),
            nodes: Vec::new(),
        };
        node.adopt(bundle).unwrap();
    }
    let catalogue = std::fs::read_to_string(material.join("templates.toml")).unwrap();
    let catalogue: firstboot::overlay::Overlay = toml::from_str(&catalogue).unwrap();
    for entry in &catalogue.files {
        let Some(service) = &entry.overrides else {
            continue;
        };
        let text = node
            .templates
            .text(&node, entry.path.to_str().unwrap())
            .unwrap();
        // A node finds that out before it renders the file.
        let text = text.replace("virt_type = None", "virt_type = qemu");
        let file = place.join(format!("{service}.conf"));
        replace(&file, text.as_bytes(), Ownership::mode(0o600)).unwrap();
    }
}

/// The program that asks a release's own code.
fn of_release(release: &str) -> Cmd {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/options");
    let python = Cmd::new(target.join("venv/bin/python"))
        .path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/options/options.py"));
    if release == "antelope" {
        return python;
    }
    let code = target.join(release);
    // Without it Antelope's code would answer.
    assert!(
        code.join("whole").exists(),
        "there is no {}: `make test` or `make soak` makes it",
        code.display()
    );
    python.env("PYTHONPATH", code.to_string_lossy())
}

fn judge(release: &str, directory: &Path) -> String {
    let said = of_release(release).arg("judge").path(directory);
    let said = said.any_status().unwrap();
    String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr)
}

/// Renders the files of every site for a platform with this release, and has them judged.
fn is_the_releases_own(platform: &Platform, release: &str) {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/options");
    let directory: PathBuf = target.join("files").join(release);
    let _ = std::fs::remove_dir_all(&directory);
    for (variant, added) in SITES {
        let work = tempfile::tempdir().unwrap();
        let text = SITE.replace("interface = \"ens3\"", INTERFACES);
        let text = if added.contains("provider") {
            text
        } else {
            SITE.to_owned()
        };
        let path = site(work.path(), &format!("{text}{added}\n"));
        let site = Site::load(Path::new(&path)).unwrap();
        for role in Role::ALL {
            let place = directory.join(format!("{variant}-{role}"));
            render(&site, platform, release, role, &place);
        }
    }
    let said = judge(release, &directory);
    println!("{}, {release}: {}", platform.name, said.trim());
    assert!(said.ends_with(" files judged, 0 complaints\n"), "{said}");
}

/// What is kept of a release's options is what its code says.
fn is_kept(release: &str) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = kept.join(format!("src/site/options/{release}.txt"));
    let text = of_release(release).arg("catalogue").read().unwrap();
    assert!(
        std::fs::read_to_string(&kept).unwrap() == text,
        "{} is not what {release} says: `make options` writes it anew",
        kept.display()
    );
}

/// Every platform with the releases that sites on it may ask for, its own first.
fn platforms() -> impl Iterator<Item = (Platform, Vec<String>)> {
    Platform::names().map(|name| {
        let platform = Platform::load(name).unwrap();
        let mut releases: Vec<String> = platform.releases.keys().cloned().collect();
        releases.sort_by_key(|release| *release != platform.release);
        (platform, releases)
    })
}

#[test]
#[ignore = "needs the releases' own code: make test"]
fn every_option_of_every_site_is_one_of_its_release() {
    for (platform, releases) in platforms() {
        is_the_releases_own(&platform, &releases[0]);
    }
}

mod soak {
    use super::*;

    #[test]
    #[ignore = "needs the code of every release: make soak"]
    fn the_later_releases_know_the_same_options() {
        for (platform, releases) in platforms() {
            for release in &releases[1..] {
                is_the_releases_own(&platform, release);
                is_kept(release);
            }
        }
    }
}

const INTERFACES: &str = "interface = \"ens3\", provider_interface = \"ens4\"";

/// What is wrong is seen: the judge is no rubber stamp.
#[test]
#[ignore = "needs the releases' own code: make test"]
fn an_unknown_option_a_deprecated_one_and_a_wrong_value_are_seen() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wrong/nova.conf");
    let text = "[DEFAULT]\nno_such_option = 1\nosapi_compute_workers = many\n\
                [glance]\napi_servers = http://a\n[vnc]\nenabled = true\n";
    replace(&file, text.as_bytes(), Ownership::mode(0o600)).unwrap();
    let said = judge("antelope", directory.path());
    for part in [
        "DEFAULT/no_such_option",
        "osapi_compute_workers",
        "glance/api_servers",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("1 files judged, 3 complaints"), "{said}");
}

#[test]
#[ignore = "needs the releases' own code: make test"]
fn the_catalogue_of_each_release_is_its_own() {
    for (_, releases) in platforms() {
        is_kept(&releases[0]);
    }
}
