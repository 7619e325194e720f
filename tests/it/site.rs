//! `cellboot init` and `cellboot check`.

use std::path::Path;

use firstboot::cmd::{Cmd, Output};
use firstboot::files::{self, Ownership};

fn cellboot(directory: &Path, args: &[&str]) -> Output {
    Cmd::new(env!("CARGO_BIN_EXE_cellboot"))
        .args(args.iter().copied())
        .env("HOME", directory.to_string_lossy())
        .directory(directory)
        .any_status()
        .unwrap()
}

fn check(text: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("site.toml");
    files::replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
    let output = cellboot(directory.path(), &["check"]);
    let left = directory.path().read_dir().unwrap().count();
    assert_eq!(left, 1, "check wrote something");
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

const HINT: &str = "hint: docs/site.md explains every key, site.example.toml shows them\n";

/// What stands before the first table in each of the small sites below.
const GOOD: &str = r#"
site = { name = "cell" }
management = { network = "10.20.0.0/24" }
controller = { address = "10.20.0.11", interface = "ens3" }
"#;

#[test]
fn eight_mistakes_are_eight_lines() {
    let text = r#"[site]
name = "my cloud"
regoin = "RegionOne"

[management]
network = "10.20.0.0/24"
gateway = "10.21.0.1"

[controller]
name = "controller"
address = "10.20.0.11"
interface = "52:54:00:00:00:01"
provider_interface = "ens4"

[[compute]]
name = "Compute_1"
address = "10.20.0.11"
interface = "ens4"
provider_interface = "ens4"

[provider]
network = "203.0.113.0/24"
allocation_start = "203.0.113.250"
allocation_end = "203.0.113.101"

[ssh]
authorized_key_files = ["nowhere.pub"]
"#;
    let expected = r#"cellboot: site.toml has 8 problems
site.toml:2: site.name: "my cloud" holds " "; expected 1 to 63 letters, digits, ".", "_" and "-"; write it as in name = "cell"
site.toml:3: site.regoin: there is no such key; expected one of name, region, domain, time_zone, ntp_servers, dns_servers; did you mean region?
site.toml:7: management.gateway: 10.21.0.1 of the gateway is outside 10.20.0.0/24; expected an address from 10.20.0.1 to 10.20.0.254; correct it or management.network on line 6
site.toml:16: compute.name: "Compute_1" holds "C"; expected a host name: 1 to 63 lower case letters, digits and inner hyphens; write it as in name = "rack1-a"
site.toml:17: compute.address: 10.20.0.11 of the node is already the address of controller; expected an address that nothing else has; give one of them another
site.toml:19: compute.provider_interface: "ens4" is also the node's management interface; expected an interface for each network; name another one
site.toml:24: provider.allocation_end: the pool is empty: 203.0.113.101 comes before 203.0.113.250; expected an address from 203.0.113.250 on; swap allocation_start and allocation_end
site.toml:27: ssh.authorized_key_files: "nowhere.pub" does not exist; expected a readable file of public keys; name a .pub file, or make one with `ssh-keygen -t ed25519`
"#;
    let (code, said) = check(text);
    assert_eq!(said, format!("{expected}{HINT}"));
    assert_eq!(code, Some(2));
}

#[test]
fn broken_toml_is_a_line_too() {
    let (code, said) = check("[site]\nname = \"cell\nregion = \"x\"\n");
    let first = said.lines().nth(1).unwrap();
    assert!(first.starts_with("site.toml:2: syntax: "), "{said}");
    assert!(first.ends_with("; expected TOML; correct the line; the other checks come after it"));
    assert_eq!(code, Some(2));
}

#[test]
fn what_is_missing_is_named() {
    let (_, said) = check("");
    let keys: Vec<_> = said.lines().skip(1).take(3).collect();
    assert_eq!(
        keys,
        [
            "site.toml:1: controller: the table is missing; expected [controller] with address, \
             interface; add it; site.example.toml shows every key",
            "site.toml:1: management: the table is missing; expected [management] with network; \
             add it; site.example.toml shows every key",
            "site.toml:1: site: the table is missing; expected [site] with name; add it; \
             site.example.toml shows every key",
        ]
    );
}

/// The lines that a good site gets when this is added to it, without the name of the file.
fn problems(added: &str) -> Vec<String> {
    let (_, said) = check(&format!("{GOOD}{added}"));
    said.lines()
        .filter_map(|line| line.strip_prefix("site.toml:"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_small_site_is_good() {
    assert_eq!(problems(""), [""; 0]);
}

#[test]
fn numbered_computes_leave_the_network_once() {
    let found =
        problems("[computes]\ncount = 20\nfirst_address = \"10.20.0.250\"\ninterface = \"ens3\"\n");
    assert_eq!(
        found,
        [
            "7: computes.first_address: 10.20.0.255 of compute6 is the broadcast address of \
             10.20.0.0/24; expected an address from 10.20.0.1 to 10.20.0.254; correct it or \
             management.network on line 3"
        ]
    );
}

#[test]
fn many_computes_share_no_mac_address() {
    let found = problems(
        "[computes]\ncount = 2\nfirst_address = \"10.20.0.21\"\n\
         interface = \"52:54:00:00:00:10\"\n",
    );
    assert_eq!(
        found,
        [
            "8: computes.interface: the MAC address 52:54:00:00:00:10 belongs to one of 2 \
             computes; expected an interface by name, the same on each; write its kernel name, \
             or describe each compute in a [[compute]] table"
        ]
    );
}

#[test]
fn computes_that_share_a_seed_have_no_addresses() {
    let shared = "[computes]\ncount = 9\nname_from = \"mac\"\ninterface = \"ens3\"\n";
    assert_eq!(problems(shared), [""; 0]);
    let found = problems(&format!(
        "{shared}first_address = \"10.20.0.21\"\nname_prefix = \"a-prefix-that-is-too-long\"\n"
    ));
    assert_eq!(
        found,
        [
            "9: computes.first_address: is given to computes that get their addresses by DHCP; \
             expected no first_address beside name_from; remove it, or remove name_from to number \
             the computes",
            "10: computes.name_prefix: \"a-prefix-that-is-too-long\" has 25 characters; expected \
             at most 24 characters where computes share a seed; shorten it"
        ]
    );
    let found = problems(&shared.replace("mac", "uuid"));
    assert_eq!(
        found,
        [
            "7: computes.name_from: \"uuid\" is none of them; expected \"number\", \"mac\" or \
             \"dmi\"; write it as in name_from = \"mac\""
        ]
    );
}

#[test]
fn computes_that_share_a_seed_need_the_provider_network_as_others_do() {
    let shared = "[computes]\ncount = 9\nname_from = \"dmi\"\ninterface = \"ens3\"\n";
    let found = problems(&format!("{shared}provider_interface = \"ens4\"\n"));
    assert_eq!(
        found,
        [
            "9: computes.provider_interface: there is no provider network; expected a [provider] \
             table; add the table, or remove this key"
        ]
    );
}

#[test]
fn one_mac_address_is_on_one_node() {
    let found = problems(
        "[[compute]]\nname = \"a\"\naddress = \"10.20.0.21\"\ninterface = \"52:54:00:00:00:10\"\n\
         [[compute]]\nname = \"b\"\naddress = \"10.20.0.22\"\ninterface = \"52:54:00:00:00:10\"\n",
    );
    assert_eq!(
        found,
        [
            "12: compute.interface: the MAC address 52:54:00:00:00:10 is already a's; expected a \
             MAC address that no other node has; give each node its own, or name the interface \
             as the kernel does"
        ]
    );
}

#[test]
fn vlans_have_a_tag_and_flat_networks_have_none() {
    let provider = "[provider]\ninterface = \"ens4\"\nnetwork = \"203.0.113.0/24\"\n\
                    allocation_start = \"203.0.113.9\"\nallocation_end = \"203.0.113.10\"\n";
    assert_eq!(
        problems(&format!("{provider}kind = \"vlan\"\n")),
        [
            "5: provider.vlan_id: is missing; expected a number from 1 to 4094; add vlan_id, or \
             write kind = \"flat\""
        ]
    );
    assert_eq!(
        problems(&format!("{provider}vlan_id = 5\n")),
        [
            "10: provider.vlan_id: a flat network has no VLAN tag; expected no vlan_id beside \
             kind = \"flat\"; remove it, or write kind = \"vlan\""
        ]
    );
}

#[test]
fn networks_are_apart_and_pools_leave_the_gateway_alone() {
    let found = problems(
        "[provider]\ninterface = \"ens4\"\nnetwork = \"10.0.0.0/8\"\ngateway = \"10.1.0.5\"\n\
         allocation_start = \"10.1.0.1\"\nallocation_end = \"10.1.0.9\"\n",
    );
    assert_eq!(
        found,
        [
            "7: provider.network: 10.0.0.0/8 overlaps the management network 10.20.0.0/24; \
             expected two networks without a common address; choose other addresses for one of \
             them",
            "8: provider.gateway: 10.1.0.5 is in the pool 10.1.0.1 to 10.1.0.9, so that an \
             instance could get it; expected a gateway outside the pool; move one end of the pool",
        ]
    );
}

#[test]
fn wrong_types_services_and_releases() {
    let found = problems(
        "platform = { name = \"debian-12\", release = \"zedd\" }\n\
         image = { disk_size_gib = \"big\" }\n\
         overlay = { vni_range = 5 }\n\
         [override.nowa.DEFAULT]\ndebug = true\n\
         [override.nova.DEFAULT]\ncpu_allocation_ratio = [1]\n",
    );
    assert_eq!(
        found,
        [
            "5: platform.release: debian-12 has no release \"zedd\"; expected one of zed; did \
             you mean zed?",
            "6: image.disk_size_gib: is text; expected a number from 10 to 16384; write it as in \
             disk_size_gib = 20",
            "7: overlay.vni_range: is a whole number; expected FIRST:LAST with numbers from 1 to \
             16777215; write it as in vni_range = \"1:1000\"",
            "8: override.nowa: there is no such service; expected one of keystone, glance, \
             placement, nova, neutron, ml2, openvswitch_agent, l3_agent, dhcp_agent, \
             metadata_agent; did you mean nova?",
            "11: override.nova.DEFAULT.cpu_allocation_ratio: is a list; expected text on one \
             line, a decimal number, true or false; write the value as the service's \
             documentation does, in quotes",
        ]
    );
}

#[test]
fn an_option_that_no_release_of_the_site_has_is_refused_with_what_was_meant() {
    let wrong = "[override.nova.DEFAULT]\ncpu_alocation_ratio = 4\n\
                 [override.openvswitch_agent.vxlan]\nlocal_ip = \"10.0.0.1\"\n\
                 [override.glance.file]\nfilesystem_store_file_perm = 0\n";
    let at = |release: &str, line: usize| {
        [
            format!(
                "{}: override.nova.DEFAULT.cpu_alocation_ratio: nova of {release} has no such \
                 option in [DEFAULT]; expected an option of the release; did you mean \
                 cpu_allocation_ratio?",
                line + 1
            ),
            format!(
                "{}: override.openvswitch_agent.vxlan.local_ip: openvswitch_agent of {release} has \
                 no section [vxlan]; expected an option of the release; [ovs] has it: write it \
                 below [override.openvswitch_agent.ovs]",
                line + 3
            ),
        ]
    };
    assert_eq!(problems(wrong), at("antelope", 5));
    let zed = "platform = { name = \"debian-12\" }\n";
    assert_eq!(problems(&format!("{zed}{wrong}")), at("zed", 6));
    let epoxy = "platform = { name = \"centos-stream-9\", release = \"epoxy\" }\n";
    assert_eq!(problems(&format!("{epoxy}{wrong}")), at("epoxy", 6));
    // Antelope does not have it yet.
    let new = "[override.nova.spice]\nrequire_secure = true\n";
    assert_eq!(problems(&format!("{epoxy}{new}")), [""; 0]);
    assert_eq!(
        problems(new),
        [
            "6: override.nova.spice.require_secure: nova of antelope has no such option in \
             [spice]; expected an option of the release; look it up in the configuration \
             reference of the release"
        ]
    );
}

#[test]
fn init_writes_a_good_site_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    files::replace(
        &at.join(".ssh/id_ed25519.pub"),
        b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB63z6mjQqXdMmq5AzQG/QsP7BSc/RYDQN4G1m4PAQno me\n",
        Ownership::mode(0o644),
    )
    .unwrap();
    assert!(cellboot(at, &["init"]).status.success());
    let text = std::fs::read_to_string(at.join("site.toml")).unwrap();
    assert!(text.contains("authorized_key_files = [\"~/.ssh/id_ed25519.pub\"]"));
    assert!(cellboot(at, &["check"]).status.success());
    let again = cellboot(at, &["init"]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(again.stderr).unwrap(),
        "cellboot: there is a site.toml already\n\
         hint: edit it, move it away, or give another path with --site\n"
    );
    assert_eq!(std::fs::read_to_string(at.join("site.toml")).unwrap(), text);
}

#[test]
fn check_answers_programs_in_json() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("site.toml");
    let text = format!("{GOOD}vlan = 5\n");
    files::replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
    let output = cellboot(directory.path(), &["check", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["good"], false);
    assert_eq!(answer["problems"][0]["line"], 5);
    assert_eq!(answer["problems"][0]["key"], "vlan");
}
