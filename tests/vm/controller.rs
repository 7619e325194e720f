//! The controller, from power-on through a power cut to READY, and all that READY promises; then a
//! compute that joins it, and an instance there.

use cellboot::lab::accel::Accelerator;
use cellboot::lab::machine::{Bus, Firmware};
use cellboot::lab::start::Plan;
use cellboot::lab::{Lab, ssh};

use super::{accelerator, cell, directory, images, site};

/// How far a boot is, in percent of its steps, when its power is cut: while the databases and the
/// broker come up. A cut costs the boot up to it, which has to be waited for again; `make soak` cuts
/// anywhere.
const CUTS: [u32; 1] = [35];
/// The first compute of the site.
const COMPUTE: &str = "compute1";
/// Ports of the controller that nobody outside has any business with: MariaDB, RabbitMQ,
/// memcached, nova's metadata.
const CLOSED: [u16; 4] = [3306, 5672, 11211, 8775];

#[test]
#[ignore = "needs built images: make test"]
fn a_controller_survives_a_power_cut_and_a_compute_joins_it() {
    let (site, keys) = site();
    let (platform, images) = images();
    let plan = Plan {
        directory: directory().join("controller"),
        images,
        platform,
        keys,
        computes: 1,
        accelerator: accelerator(),
        firmware: Firmware::Uefi,
        bus: Bus::VirtioBlk,
        more_ports: CLOSED.to_vec(),
    };
    if let Some(old) = Lab::find(&plan.directory).unwrap() {
        old.down(false).unwrap();
    }
    let mut lab = Lab::create(&plan, &site).unwrap();
    let name = site.controller().name.clone();

    cell::cut_power_as_it_boots(&mut lab, &name, &CUTS);

    // The compute is there before its controller, and loads while that waits for something.
    lab.power_on(COMPUTE).unwrap();
    lab.power_on(&name).unwrap();
    cell::is_ready(&lab, &name);
    cell::joins(&lab, COMPUTE);

    look_from_outside(&lab);
    let login = lab.login(lab.node(None).unwrap()).unwrap();
    look_inside(&login);
    cell::look_at_compute(&lab, COMPUTE);
    cell::instances_run(&lab, &[COMPUTE], false);
    cell::answers(&login, &AFTER_INSTANCES);
    lab.down(true).unwrap();
}

/// `cloud.py`, through the doors.
fn look_from_outside(lab: &Lab) {
    let endpoints = lab.endpoints().unwrap();
    let controller = lab.node(None).unwrap();
    let door = |port: &str| controller.doors[port].host_port;
    let closed = CLOSED.map(|port| format!("{port}:{}", door(&port.to_string())));
    let mut arguments = vec!["--dashboard", &endpoints["dashboard"]];
    arguments.extend(closed.iter().flat_map(|pair| ["--closed", pair]));
    let said = cell::ask_cloud(lab, "cloud.py", &arguments);
    assert_eq!(
        said.lines().filter(|line| line.starts_with("ok ")).count(),
        14,
        "{said}"
    );
}

/// What of the table can only be seen on the node itself: a line for its shell, and the answer. What
/// `nova-status` and `placement-status` say is a step each, which READY has seen; `make soak` asks them itself.
const INSIDE: [(&str, &str); 14] = [
    (
        "mariadb -N -e \"SELECT schema_name FROM information_schema.schemata WHERE schema_name \
         NOT IN ('information_schema','mysql','performance_schema','sys') ORDER BY 1\" | xargs",
        "glance keystone neutron nova nova_api nova_cell0 placement",
    ),
    (
        "mariadb -N -e \"SELECT DISTINCT CONCAT(user, ':', REPLACE(db, '\\\\\\\\', '')) FROM \
         mysql.db WHERE db NOT LIKE 'test%' ORDER BY 1\" | xargs",
        "glance:glance keystone:keystone neutron:neutron nova:nova nova:nova_api \
         nova:nova_cell0 placement:placement",
    ),
    (
        "ss -Hlnt 'sport = :11211' | awk '{print $4}' | grep -cvxF 10.20.0.11:11211 || true",
        "0",
    ),
    (
        "ss -Hlnt 'sport = :3306' | awk '{print $4}' | grep -cvxF 10.20.0.11:3306 || true",
        "0",
    ),
    (
        "rabbitmqctl -q --no-table-headers list_users | grep -c '^guest' || true",
        "0",
    ),
    (
        "grep -h ^NODENAME= /etc/rabbitmq/rabbitmq-env.conf",
        "NODENAME=rabbit@localhost",
    ),
    (
        "mariadb -N -e \"SELECT COUNT(*) FROM nova_api.cell_mappings WHERE \
         database_connection LIKE '%{username}%' AND (name = 'cell0' OR transport_url LIKE \
         '%{username}%')\"",
        "2",
    ),
    ("systemctl is-active cellboot-fernet-rotate.timer", "active"),
    (
        "stat -c %a:%U /root/admin-openrc /etc/openstack/clouds.yaml /etc/cellboot/node.toml \
         /var/lib/cellboot/secrets.json | xargs",
        "600:root 600:root 600:root 600:root",
    ),
    ("systemctl --failed --no-legend --plain | wc -l", "0"),
    (
        "grep -cE '^(enable_new_services = false|discover_hosts_in_cells_interval = 300)' \
         /etc/nova/nova.conf",
        "2",
    ),
    (
        // every secret, looked for in the journal and in what other users see of processes
        "umask 077; tr -d ' \\n' </var/lib/cellboot/secrets.json | grep -oE '[A-Za-z0-9]{32}' \
         >/run/cellboot/secrets.list; (journalctl --no-pager -o cat; ps axeww -o args) | \
         grep -cFf /run/cellboot/secrets.list; rm /run/cellboot/secrets.list",
        "0",
    ),
    (
        ". /root/admin-openrc && openstack token issue -f value -c id 2>/dev/null | cut -c 1-5",
        "gAAAA",
    ),
    // who may log in here may log in to a node that the registrar gives a seed
    (
        "nsenter -t $(systemctl show -P MainPID cellboot-registrar) -m \
         cmp /root/.ssh/authorized_keys - </root/.ssh/authorized_keys; echo $?; \
         grep -c cellboot /root/.ssh/authorized_keys",
        "0\n1",
    ),
];

/// What the lab arranges for a machine whose processor is emulated, as the guest sees it: only it can
/// tell that it was not taken.
const EMULATED: [(&str, &str); 2] = [
    ("cat /proc/sys/kernel/randomize_va_space", "0"),
    ("cat /sys/kernel/debug/sched/min_granularity_ns", "40000000"),
];

/// What instances must not have brought about: an eventlet that waits for another thread, which
/// keeps a request for good, and services that lack a login.
const AFTER_INSTANCES: [(&str, &str); 2] = [
    (
        "grep -l 'cannot switch to a different thread' /var/log/*/*.log | wc -l",
        "0",
    ),
    ("grep -l MissingAuthPlugin /var/log/*/*.log | wc -l", "0"),
];

fn look_inside(login: &ssh::Login) {
    cell::answers(login, &INSIDE);
    if accelerator() == Accelerator::Tcg {
        cell::answers(login, &EMULATED);
    }
    let hosts = login
        .run("getent hosts $(hostname -i | cut -d' ' -f1)")
        .read()
        .unwrap();
    let names: Vec<&str> = hosts.split_whitespace().skip(1).collect();
    let host = login.run("hostname -s; hostname -f").read().unwrap();
    let [short, full] = host.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("the node's names are {host:?}");
    };
    assert_eq!(names, [full, short], "canonical name first in /etc/hosts");

    cell::applies_nothing_again(login);
}
