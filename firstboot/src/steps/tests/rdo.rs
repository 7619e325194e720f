//! The twelve things that bite whoever installs RDO's packages on EL9 by hand, in the order of the
//! study that this platform was written from, and what of each an image of ours can show.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{all, before, on, text};
use crate::config::Role;
use crate::node::Node;
use crate::platform::Platform;
use crate::roles;

const CENTOS: &str = "centos-stream-9";

fn platform() -> Platform {
    Platform::load(CENTOS).unwrap()
}

fn controller() -> Vec<(PathBuf, String)> {
    all(&on(CENTOS, Node::example(Role::Controller)))
}

fn compute() -> Vec<(PathBuf, String)> {
    all(&on(CENTOS, Node::example_member()))
}

/// The value of an option, or nothing.
fn option(files: &[(PathBuf, String)], path: &str, section: &str, name: &str) -> Option<String> {
    let text = text(files, path);
    let heading = format!("[{section}]");
    let mut inside = false;
    text.lines().find_map(|line| {
        if line.starts_with('[') {
            inside = line == heading;
        }
        let (found, value) = line.split_once(" = ").filter(|_| inside)?;
        (found == name).then(|| value.to_owned())
    })
}

fn set(files: &[(PathBuf, String)], path: &str, section: &str, name: &str) -> String {
    let value = option(files, path, section, name);
    value.unwrap_or_else(|| panic!("{path}: [{section}] {name} is not set"))
}

#[test]
fn rdo_1_what_stands_in_dist_conf_alone_is_set_by_us() {
    for files in [controller(), compute()] {
        let nova = |section, name| set(&files, "/etc/nova/nova.conf", section, name);
        assert_eq!(nova("DEFAULT", "state_path"), "/var/lib/nova");
        assert_eq!(nova("DEFAULT", "log_dir"), "/var/log/nova");
        assert_eq!(nova("oslo_concurrency", "lock_path"), "/var/lib/nova/tmp");
    }
    let (controller, compute) = (controller(), compute());
    let driver = set(&compute, "/etc/nova/nova.conf", "DEFAULT", "compute_driver");
    assert_eq!(driver, "libvirt.LibvirtDriver");
    let mkisofs = set(&compute, "/etc/nova/nova.conf", "DEFAULT", "mkisofs_cmd");
    assert_eq!(
        mkisofs, "/usr/bin/mkisofs",
        "genisoimage is no package of EL9"
    );
    for (path, name) in [
        (
            "/etc/keystone/keystone.conf",
            "/var/log/keystone/keystone.log",
        ),
        ("/etc/glance/glance-api.conf", "/var/log/glance/api.log"),
    ] {
        assert_eq!(set(&controller, path, "DEFAULT", "log_file"), name);
    }
}

#[test]
fn rdo_2_the_virtual_switch_has_its_options_where_it_reads_them() {
    let path = "/etc/neutron/plugins/ml2/openvswitch_agent.ini";
    for (files, address) in [(controller(), "10.20.0.11"), (compute(), "10.20.0.21")] {
        assert_eq!(set(&files, path, "ovs", "local_ip"), address);
        let mapped = set(&files, path, "ovs", "bridge_mappings");
        assert_eq!(mapped, "provider:br-provider", "a bridge, not an interface");
        assert_eq!(set(&files, path, "agent", "tunnel_types"), "vxlan");
        assert_eq!(set(&files, path, "agent", "l2_population"), "true");
        assert_eq!(option(&files, path, "vxlan", "local_ip"), None);
    }
}

#[test]
fn rdo_3_the_dashboard_is_where_its_script_and_its_address_are() {
    let files = controller();
    let apache = text(&files, "/etc/httpd/conf.d/openstack-dashboard.conf");
    let script = "/usr/share/openstack-dashboard/openstack_dashboard/wsgi.py";
    assert!(
        apache.contains(&format!("WSGIScriptAlias /dashboard {script} ")),
        "{apache}"
    );
    assert!(!apache.contains("django.wsgi"), "{apache}");
    let settings = "/usr/share/openstack-dashboard/openstack_dashboard/local/local_settings.d";
    let ours = text(&files, &format!("{settings}/_9000_cellboot.py"));
    assert!(ours.contains("\nWEBROOT = \"/dashboard/\"\n"), "{ours}");
    let policies = text(&files, &format!("{settings}/_9050_policies.py"));
    assert!(policies.contains("\nPOLICY_FILES_PATH = \"/etc/openstack-dashboard\"\n"));
}

#[test]
fn rdo_4_apache_does_not_compress_the_dashboard_before_it_starts() {
    let name = "httpd.service.d/openstack-dashboard.conf";
    // systemd takes a drop-in of /etc in the place of one of the same name in /usr/lib.
    let ours = text(&controller(), &format!("/etc/systemd/system/{name}"));
    assert!(ours.lines().all(|line| line.starts_with('#')), "{ours}");
    let compressed = platform().build.commands.into_iter();
    let compressed: Vec<_> = compressed.map(|run| run.command[0].clone()).collect();
    assert!(compressed.contains(&"/usr/libexec/cellboot/dashboard-static".to_owned()));
}

#[test]
fn rdo_5_apache_may_run_placement() {
    let apache = text(&controller(), "/etc/httpd/conf.d/00-placement-api.conf");
    let host = apache.split("<VirtualHost *:8778>").nth(1).unwrap();
    let (host, after) = host.split_once("</VirtualHost>").unwrap();
    let grant = host.split("<Directory /usr/bin>").nth(1).unwrap();
    assert!(
        grant.contains("<Files placement-api>\n            Require all granted"),
        "{host}"
    );
    assert_eq!(after.trim(), "");
}

#[test]
fn rdo_6_libvirt_is_modular_and_nothing_else() {
    let units = platform().service("libvirt").unwrap().units.clone();
    assert!(units.iter().any(|unit| unit == "virtqemud.socket"));
    assert!(
        units.iter().all(|unit| !unit.starts_with("libvirtd")),
        "{units:?}"
    );
    // A package of its own has it, which none of those that a compute has asks for.
    assert!(!units.iter().any(|unit| unit.starts_with("virtproxyd")));
    let uuid = text(&compute(), "/etc/libvirt/virtqemud.conf");
    assert!(
        uuid.contains("\nhost_uuid_source = \"machine-id\"\n"),
        "{uuid}"
    );
}

#[test]
fn rdo_7_the_databases_of_nova_come_in_their_order_and_a_compute_after_its_conductor() {
    let steps = roles::steps(&on(CENTOS, Node::example(Role::Controller)));
    let cells = before(&steps, "nova/cells");
    assert!(cells.contains("nova/schema-api"), "api_db sync comes first");
    let api = before(&steps, "nova/api");
    for step in [
        "nova/schema-api",
        "nova/schema-cell0",
        "nova/schema-cell1",
        "nova/cells",
    ] {
        assert!(api.contains(step), "{step}");
    }
    let steps = roles::steps(&on(CENTOS, Node::example_member()));
    assert!(before(&steps, "nova/compute").contains("join/controller"));
}

#[test]
fn rdo_8_an_image_has_nothing_that_would_be_the_same_on_every_node() {
    let removed: BTreeSet<_> = platform().build.remove.into_iter().collect();
    for path in [
        "/var/lib/nova/compute_id",
        "/etc/keystone/fernet-keys/",
        "/etc/keystone/credential-keys/",
        "/etc/openvswitch/conf.db",
        "/etc/openvswitch/system-id.conf",
        "/var/lib/rabbitmq/.erlang.cookie",
        "/var/lib/rabbitmq/mnesia/",
        "/var/lib/mysql/",
        "/etc/ssh/ssh_host_*",
    ] {
        assert!(removed.contains(path), "{path}");
    }
    let key = [
        "sed",
        "-i",
        "/^SECRET_KEY/d",
        "/etc/openstack-dashboard/local_settings",
    ];
    assert!(
        platform()
            .build
            .commands
            .iter()
            .any(|run| run.command == key)
    );
    for role in Role::ALL {
        let steps = roles::steps(&on(CENTOS, Node::example(role)));
        let first = match role {
            Role::Controller => ["rabbitmq/running", "openvswitch/running"],
            Role::Compute => ["nova/compute", "openvswitch/running"],
        };
        for step in first {
            assert!(before(&steps, step).contains("base/hostname"), "{step}");
        }
    }
}

#[test]
fn rdo_9_who_is_made_in_the_dashboard_may_use_the_cloud() {
    let files = controller();
    let path = "/usr/share/openstack-dashboard/openstack_dashboard/local/local_settings.d";
    let settings = text(&files, &format!("{path}/_9000_cellboot.py"));
    // With the defaults of these releases other roles may do nothing.
    assert!(settings.contains("\nOPENSTACK_KEYSTONE_DEFAULT_ROLE = \"member\"\n"));
    for path in ["/etc/nova/nova.conf", "/etc/glance/glance-api.conf"] {
        assert_eq!(
            option(&files, path, "oslo_policy", "enforce_new_defaults"),
            None
        );
    }
}

#[test]
fn rdo_10_what_no_package_asks_for_is_named() {
    let packages = platform().packages;
    let named: BTreeSet<_> = packages.base.iter().chain(&packages.controller).collect();
    for name in [
        "openstack-selinux",
        "httpd",
        "python3-mod_wsgi",
        "chrony",
        "memcached",
        "mariadb-server",
        "rabbitmq-server",
        // from CRB, and what our settings of the caches import
        "python3-pyxattr",
        "python3-pymemcache",
        "python3-memcached",
    ] {
        assert!(named.contains(&name.to_owned()), "{name}");
    }
    // The agent of Open vSwitch runs it, and its package does not ask for it.
    assert!(packages.compute.contains(&"conntrack-tools".to_owned()));
}

#[test]
fn rdo_11_no_value_has_a_comment_a_continuation_or_a_dollar_too_many() {
    for files in [controller(), compute()] {
        let services = ["nova", "neutron", "keystone", "glance", "placement"];
        let of_openstack = |path: &PathBuf| {
            let rest = services
                .iter()
                .any(|name| path.starts_with(format!("/etc/{name}")));
            rest && path
                .extension()
                .is_some_and(|it| it == "conf" || it == "ini")
        };
        let mut seen = 0;
        for (path, text) in files.iter().filter(|(path, _)| of_openstack(path)) {
            seen += 1;
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let place = format!("{}: {line}", path.display());
                assert_eq!(line.trim(), line, "{place}");
                let Some((name, value)) = line.split_once('=') else {
                    assert!(line.is_empty() || line.starts_with('['), "{place}");
                    continue;
                };
                assert!(!name.contains(':') && !value.contains(" #"), "{place}");
                assert!(!value.replace("$my_ip", "").contains('$'), "{place}");
            }
        }
        assert!(seen >= 3);
    }
}

#[test]
fn rdo_12_debian_runs_its_apis_in_uwsgi_and_needs_its_defaults_undone() {
    let debian = Platform::load("debian-12").unwrap();
    for service in [
        "keystone",
        "placement",
        "nova-api",
        "nova-metadata",
        "neutron-api",
    ] {
        let service = debian.service(service).unwrap();
        let uwsgi = |path: &PathBuf| path.to_string_lossy().ends_with("uwsgi.ini");
        assert!(service.files.iter().any(uwsgi), "{:?}", service.units);
    }
    let files = all(&on("debian-12", Node::example(Role::Controller)));
    let nova = |section, name| set(&files, "/etc/nova/nova.conf", section, name);
    assert_eq!(nova("spice", "enabled"), "false");
    assert_eq!(nova("placement", "region_name"), "RegionOne");
    assert_eq!(nova("neutron", "region_name"), "RegionOne");
    let proxy = text(&files, "/etc/default/nova-consoleproxy");
    assert!(proxy.contains("NOVA_CONSOLE_PROXY_TYPE=novnc"), "{proxy}");
}
