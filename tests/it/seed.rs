//! Seeds: what is in them, and that they are always the same.

use std::io::{Cursor, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cellboot::keys::Keys;
use cellboot::seed::{self, Carrier};
use cellboot::site::Site;
use firstboot::config::{NodeConfig, Role};
use firstboot::files::{self, Ownership};
use firstboot::platform::Platform;
use proptest::prelude::*;
use serde_json::Value;

const SITE: &str = r#"
[site]
name = "cell"
dns_servers = ["9.9.9.9"]
[management]
network = "10.20.0.0/24"
gateway = "10.20.0.1"
[controller]
address = "10.20.0.11"
interface = "52:54:00:AB:00:00"
provider_interface = "ens4"
[[compute]]
name = "rack1-a"
address = "10.20.0.31"
interface = "ens3"
provider_interface = "52:54:00:ab:00:11"
[provider]
network = "203.0.113.0/24"
allocation_start = "203.0.113.101"
allocation_end = "203.0.113.250"
[override.nova.DEFAULT]
cpu_allocation_ratio = 4.0
"#;

fn load(directory: &Path, text: &str) -> Site {
    let path = directory.join("site.toml");
    files::replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
    Site::load(&path).unwrap()
}

fn keys(directory: &Path) -> Keys {
    Keys::beside(&directory.join("site.toml")).unwrap()
}

fn platform() -> Platform {
    Platform::load("debian-12").unwrap()
}

/// The three files of a volume, as their own parsers read them.
struct Read3 {
    meta_data: Value,
    user_data: Value,
    network_config: Value,
}

fn read(image: &[u8]) -> Read3 {
    let disk = Cursor::new(image.to_vec());
    let system = fatfs::FileSystem::new(disk, fatfs::FsOptions::new()).unwrap();
    let label = system.read_volume_label_from_root_dir().unwrap();
    assert_eq!(label.as_deref(), Some("CIDATA"));
    let file = |name: &str| {
        let mut text = String::new();
        let mut file = system.root_dir().open_file(name).unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    };
    let user_data = file("user-data");
    let body = user_data.strip_prefix("#cloud-config\n").unwrap();
    Read3 {
        meta_data: serde_json::from_str(&file("meta-data")).unwrap(),
        user_data: serde_json::from_str(body).unwrap(),
        network_config: serde_json::from_str(&file("network-config")).unwrap(),
    }
}

#[test]
fn a_seed_says_everything_about_its_node() {
    let directory = tempfile::tempdir().unwrap();
    let site = load(directory.path(), SITE);
    let keys = Keys::beside(&directory.path().join("site.toml")).unwrap();
    let out = directory.path().join("seeds");
    let paths = seed::write_all(&site, &platform(), &keys, &[], Carrier::Volume, &out).unwrap();
    assert_eq!(paths, [out.join("controller.img"), out.join("rack1-a.img")]);
    let mode = paths[0].metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);

    let controller = read(&std::fs::read(&paths[0]).unwrap());
    assert_eq!(controller.meta_data["local-hostname"], "controller");
    assert_eq!(controller.meta_data["dsmode"], "local");
    let id = controller.meta_data["instance-id"].as_str().unwrap();
    assert!(id.starts_with("controller-"), "{id}");
    let file = &controller.user_data["write_files"][0];
    assert_eq!(file["path"], "/etc/cellboot/node.toml");
    assert_eq!(
        (&file["permissions"], &file["owner"]),
        (&"0600".into(), &"root:root".into())
    );
    let config = NodeConfig::parse(file["content"].as_str().unwrap()).unwrap();
    assert_eq!(
        (config.role, config.release.as_str()),
        (Role::Controller, "zed")
    );
    assert_eq!(config.management.interface, "52:54:00:ab:00:00");
    assert_eq!(
        config.overrides["nova"]["DEFAULT"]["cpu_allocation_ratio"],
        "4.0"
    );
    assert_eq!(
        controller.user_data["ssh_authorized_keys"],
        serde_json::json!([keys.ssh_public_key().unwrap()])
    );
    assert_eq!(
        controller.network_config,
        serde_json::json!({ "version": 2, "ethernets": {
            "management": {
                "match": { "macaddress": "52:54:00:ab:00:00" },
                "dhcp4": false, "dhcp6": false,
                "addresses": ["10.20.0.11/24"],
                "routes": [{ "to": "0.0.0.0/0", "via": "10.20.0.1" }],
                "nameservers": { "addresses": ["9.9.9.9"], "search": ["cell.internal"] },
            },
            "ens4": { "dhcp4": false, "dhcp6": false, "optional": true },
        }})
    );

    let compute = read(&std::fs::read(&paths[1]).unwrap());
    let ethernets = compute.network_config["ethernets"].as_object().unwrap();
    let names: Vec<_> = ethernets.keys().collect();
    assert_eq!(names, ["ens3", "provider"]);
}

#[test]
fn computes_share_a_seed_with_one_token_for_all() {
    let directory = tempfile::tempdir().unwrap();
    let (head, rest) = SITE.split_once("[[compute]]").unwrap();
    let (_, provider) = rest.split_once("[provider]").unwrap();
    let text = format!(
        "{head}[computes]\ncount = 40\nname_from = \"mac\"\ninterface = \"ens3\"\n\
         provider_interface = \"ens4\"\n[provider]{provider}"
    );
    let site = load(directory.path(), &text);
    let keys = keys(directory.path());
    let out = directory.path().join("seeds");
    let paths = seed::write_all(&site, &platform(), &keys, &[], Carrier::Volume, &out).unwrap();
    assert_eq!(
        paths,
        [out.join("controller.img"), out.join("computes.img")]
    );

    let computes = read(&std::fs::read(&paths[1]).unwrap());
    assert_eq!(computes.meta_data.get("local-hostname"), None);
    assert_eq!(
        computes.network_config["ethernets"]["ens3"],
        serde_json::json!({
            "dhcp4": true, "dhcp6": false,
            "nameservers": { "addresses": ["9.9.9.9"], "search": ["cell.internal"] },
        })
    );
    let content = |seed: &Read3| {
        let file = &seed.user_data["write_files"][0];
        NodeConfig::parse(file["content"].as_str().unwrap()).unwrap()
    };
    let config = content(&computes);
    assert_eq!(config.identify.unwrap().name_prefix, "compute");
    let controller = content(&read(&std::fs::read(&paths[0]).unwrap()));
    let tokens = controller.registrar.unwrap().tokens;
    let [grant] = tokens.as_slice() else {
        panic!("{tokens:?}");
    };
    assert_eq!((grant.uses, grant.node.as_deref()), (40, None));
    assert!(config.join.unwrap().token.matches(&grant.hash));
}

#[test]
fn a_seed_that_does_not_exist_keeps_the_others_from_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let site = load(directory.path(), SITE);
    let out = directory.path().join("seeds");
    let names = ["controller".to_owned(), "rack2".to_owned()];
    seed::write_all(
        &site,
        &platform(),
        &keys(directory.path()),
        &names,
        Carrier::Volume,
        &out,
    )
    .unwrap_err();
    assert!(!out.exists());
}

#[test]
fn the_same_site_gives_the_same_bytes_and_another_another_id() {
    let directory = tempfile::tempdir().unwrap();
    let of = |text: &str| {
        let site = load(directory.path(), text);
        seed::of(&site, &platform(), &keys(directory.path()), "controller").unwrap()
    };
    let one = of(SITE);
    assert_eq!(one.image().unwrap(), of(SITE).image().unwrap());
    let other = of(&SITE.replace("4.0", "5.0"));
    assert_ne!(one.meta_data, other.meta_data);
}

#[test]
fn an_unknown_node_is_answered_with_the_known_ones() {
    let directory = tempfile::tempdir().unwrap();
    let site = load(directory.path(), SITE);
    let keys = keys(directory.path());
    let error = seed::of(&site, &platform(), &keys, "rack2").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the site has no node \"rack2\"\nhint: its nodes are controller, rack1-a"
    );
}

/// Sites that have no problem, with whatever text an option may hold.
fn sites() -> impl Strategy<Value = String> {
    let option = any::<String>().prop_map(|text| text.replace(char::is_control, ""));
    (0_u8..5, any::<bool>(), any::<bool>(), 1_u16..4095, option).prop_map(
        |(computes, gateway, provider, vlan, option)| {
            let mut text = String::from("[site]\nname = \"cell\"\n[management]\n");
            text += "network = \"10.20.0.0/24\"\n";
            if gateway {
                text += "gateway = \"10.20.0.1\"\n";
            }
            text += "[controller]\naddress = \"10.20.0.11\"\ninterface = \"ens3\"\n";
            for number in 0..computes {
                text += &format!(
                    "[[compute]]\nname = \"c{number}\"\naddress = \"10.20.0.{}\"\n\
                     interface = \"52:54:00:00:00:{number:02x}\"\n",
                    20 + number
                );
            }
            if provider {
                text += &format!(
                    "[provider]\ninterface = \"ens4\"\nkind = \"vlan\"\nvlan_id = {vlan}\n\
                     network = \"203.0.113.0/24\"\nallocation_start = \"203.0.113.9\"\n\
                     allocation_end = \"203.0.113.10\"\n"
                );
            }
            let option = toml::Value::String(option);
            text + &format!("[override.nova.DEFAULT]\nconsole_host = {option}\n")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn any_good_site_gives_seeds_that_the_agent_reads(text in sites()) {
        let directory = tempfile::tempdir().unwrap();
        let site = load(directory.path(), &text);
        let keys = keys(directory.path());
        for node in &site.nodes {
            let seed = seed::of(&site, &platform(), &keys, &node.name).unwrap();
            let seed = read(&seed.image().unwrap());
            let content = seed.user_data["write_files"][0]["content"].as_str().unwrap();
            let config = NodeConfig::parse(content).unwrap();
            prop_assert_eq!(&config.name, &node.name);
            prop_assert_eq!(config.management.address.addr(), node.address);
            prop_assert_eq!(&config.overrides, &site.overrides);
            prop_assert_eq!(config.join.is_some(), node.role == Role::Compute);
            prop_assert_eq!(config.registrar.is_some(), node.role == Role::Controller);
        }
    }
}

#[test]
fn a_config_drive_says_the_same_in_openstacks_words() {
    let directory = tempfile::tempdir().unwrap();
    let text = SITE.replace(
        "provider_interface = \"ens4\"",
        "provider_interface = \"52:54:00:ab:00:01\"",
    );
    let site = load(directory.path(), &text);
    let keys = keys(directory.path());
    let name = site.controller().name.clone();
    let seed = seed::of(&site, &platform(), &keys, &name).unwrap();
    let drive = seed.config_drive().unwrap();
    let volume = fatfs::FileSystem::new(Cursor::new(drive), fatfs::FsOptions::new()).unwrap();
    assert_eq!(volume.volume_label(), "config-2");
    let read = |name: &str| {
        let mut text = String::new();
        let path = format!("openstack/latest/{name}");
        volume
            .root_dir()
            .open_file(&path)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    };
    assert_eq!(read("user_data"), seed.user_data);
    let meta_data: Value = serde_json::from_str(&read("meta_data.json")).unwrap();
    assert_eq!(meta_data["hostname"], name.as_str());
    assert_eq!(meta_data["dsmode"], "local");
    let network: Value = serde_json::from_str(&read("network_data.json")).unwrap();
    let expected = serde_json::json!({
        "links": [
            { "id": "management", "type": "phy", "ethernet_mac_address": "52:54:00:ab:00:00" },
            { "id": "provider", "type": "phy", "ethernet_mac_address": "52:54:00:ab:00:01" },
        ],
        "networks": [{
            "id": "management",
            "link": "management",
            "type": "ipv4",
            "ip_address": "10.20.0.11",
            "netmask": "255.255.255.0",
            "routes": [{ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.20.0.1" }],
        }],
        "services": [{ "type": "dns", "address": "9.9.9.9" }],
    });
    assert_eq!(network, expected);

    // One of these interfaces has a name that the kernel gives.
    let error = seed::of(&load(directory.path(), SITE), &platform(), &keys, &name).unwrap();
    let error = error.config_drive().unwrap_err().to_string();
    assert!(
        error.starts_with("the interface ens4 is named as the kernel names it\nhint: "),
        "{error}"
    );
}
