//! The life of a cell, longer than a test of every change may take: `make soak` runs it, and what is
//! below here.

mod el9;
mod libvirt;

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cellboot::lab::Lab;
use cellboot::lab::machine::{self, Bus, Firmware, Machine};
use cellboot::lab::serial::{Event, Follow};
use cellboot::lab::start::Plan;
use firstboot::files::{Ownership, replace};
use firstboot::wait::{self, Probe};
use serde_json::Value;

use super::cell::{self, AGENT, on_controller};
use super::{accelerator, directory, images, site};

const CONTROLLER: &str = "controller";
const COMPUTES: [&str; 2] = ["compute1", "compute2"];
/// How often the controller's power is cut in its first boot, unless `CUTS` says otherwise.
const CUTS: usize = 10;
/// The one that is replaced and removed.
const OTHER: &str = "compute2";
/// What the services' own programs say of a controller that is READY.
const STATUS: [(&str, &str); 2] = [
    ("nova-status upgrade check >/dev/null 2>&1; echo $?", "0"),
    (
        "placement-status upgrade check >/dev/null 2>&1; echo $?",
        "0",
    ),
];
/// How long the controller is away in the middle of a join.
const ABSENCE: Duration = Duration::from_secs(600);

#[test]
#[ignore = "needs built images and hours: make soak"]
fn a_cell_with_two_computes_lives_through_everything() {
    let (site, keys) = site();
    let (platform, images) = images();
    let plan = Plan {
        directory: directory().join("cell"),
        images,
        platform,
        keys,
        computes: COMPUTES.len(),
        accelerator: accelerator(),
        firmware: Firmware::Uefi,
        bus: Bus::VirtioBlk,
        more_ports: Vec::new(),
    };
    if let Some(old) = Lab::find(&plan.directory).unwrap() {
        old.down(false).unwrap();
    }
    let mut lab = Lab::create(&plan, &site).unwrap();

    let begin = Instant::now();
    let ended = |phase: &str| println!("== {phase}: ended at {} s", begin.elapsed().as_secs());
    computes_wait_for_their_controller(&mut lab);
    ended("first boot, with power cuts, and joining");
    cell::instances_run(&lab, &COMPUTES, true);
    ended("instances");
    let smoke = on_controller(&lab, &format!("{AGENT} verify --smoke"));
    println!("{smoke}");
    ended("verify --smoke");
    a_broker_that_was_never_finished_is_made_again(&lab);
    ended("the broker made again");
    a_reboot_applies_nothing(&mut lab, &[OTHER, CONTROLLER, "compute1"]);
    ended("reboot");
    a_replaced_disk_needs_a_token(&mut lab);
    ended("replaced disk");
    the_controller_may_be_away(&mut lab);
    ended("the controller away in a join");
    a_compute_is_removed_when_it_is_empty(&lab);
    ended("removal");
    a_line_that_is_typed_makes_a_compute(&lab);
    ended("a typed line");
    lab.down(true).unwrap();
}

/// Computes that are powered on first say that they wait, and join when the controller is there,
/// however often its power is cut before that.
fn computes_wait_for_their_controller(lab: &mut Lab) {
    for name in COMPUTES {
        lab.power_on(name).unwrap();
        says(lab, name, "join/enrolled waits for the controller at ");
    }
    cell::cut_power_as_it_boots(lab, CONTROLLER, &cuts());
    lab.power_on(CONTROLLER).unwrap();
    cell::is_ready(lab, CONTROLLER);
    let login = lab.login(lab.node(None).unwrap()).unwrap();
    cell::answers(&login, &STATUS);
    for name in COMPUTES {
        cell::joins(lab, name);
        cell::look_at_compute(lab, name);
    }
}

/// How far the controller's boot is, in percent of its steps, at each cut; drawn by lot.
fn cuts() -> Vec<u32> {
    let count = std::env::var("CUTS").map_or(CUTS, |text| text.parse().unwrap());
    let mut lots: Vec<u8> = vec![0; count];
    getrandom::fill(&mut lots).unwrap();
    lots.sort_unstable();
    lots.into_iter()
        .map(|lot| u32::from(lot) * 98 / 255)
        .collect()
}

/// What a power cut leaves in the middle of RabbitMQ's first start: a schema, and none of its tables.
fn a_broker_that_was_never_finished_is_made_again(lab: &Lab) {
    let said = on_controller(
        lab,
        "set -e; cd /var/lib/rabbitmq; systemctl stop rabbitmq-server; \
         find mnesia/rabbit@localhost -type f ! -name schema.DAT -delete; rm database-complete; \
         systemctl start rabbitmq-server; ls database-complete; \
         rabbitmqctl list_users --silent | cut -f 1",
    );
    assert_eq!(said, "database-complete\nopenstack");
    // The accounts of computes were in that database too.
    let computes = || on_controller(lab, "rabbitmqctl list_users --silent | grep -c ^compute-");
    on_controller(lab, &format!("{AGENT} apply"));
    assert_eq!(computes(), "2");
}

/// All of a cell is shut down and comes back, in this order.
fn a_reboot_applies_nothing(lab: &mut Lab, all: &[&str]) {
    for name in all {
        shut_down(lab, name);
    }
    for name in all {
        lab.power_on(name).unwrap();
    }
    cell::is_ready(lab, CONTROLLER);
    for name in all.iter().filter(|name| **name != CONTROLLER) {
        let end = cell::last_word(lab, name);
        assert!(matches!(end, Event::Joined { .. }), "{name}: {end:?}");
    }
    for name in all {
        let login = lab.login(lab.node(Some(name)).unwrap()).unwrap();
        let steps = cell::nothing_was_applied(&login);
        println!("{name}: booted again, nothing of {steps} steps was applied");
    }
}

/// The node's name belongs to its old key: it is refused with the way out, which works.
fn a_replaced_disk_needs_a_token(lab: &mut Lab) {
    let before = compute_id(lab);
    shut_down(lab, OTHER);
    replace_disk(lab);
    lab.power_on(OTHER).unwrap();
    let end = cell::last_word(lab, OTHER);
    let Event::Failed { step, reason, hint } = end else {
        panic!("{OTHER}: {end:?}");
    };
    println!("FAILED step={step} reason={reason:?} hint={hint:?}");
    assert_eq!(step, "join/enrolled");
    assert!(reason.contains("was used up by another node"), "{reason}");
    let way_out = format!("firstboot token create --rejoin {OTHER}");
    assert!(hint.contains(&way_out), "{hint}");

    shut_down(lab, OTHER);
    let seed = "/root/rejoin.img";
    let machine = &lab.node(Some(OTHER)).unwrap().machine;
    let [management, provider] = [0, 1].map(|port| machine.ports[port].interface.clone());
    on_controller(
        lab,
        &format!(
            "{AGENT} token create --rejoin {OTHER} --interface {management} \
             --provider-interface {provider} --seed {seed}"
        ),
    );
    let login = lab.login(lab.node(None).unwrap()).unwrap();
    let fetched = login.run(&format!("cat {seed} && rm {seed}")).output();
    let file = machine.seed.clone().unwrap();
    replace(&file, &fetched.unwrap().stdout, Ownership::mode(0o600)).unwrap();
    lab.power_on(OTHER).unwrap();
    says(lab, OTHER, "join/enrolled applied");
    assert_eq!(compute_id(lab), before, "the host keeps its identity");
}

/// In the middle of a join; the compute waits, says so, and goes on.
fn the_controller_may_be_away(lab: &mut Lab) {
    lab.node(None)
        .unwrap()
        .machine
        .process()
        .cut_power()
        .unwrap();
    let away = Instant::now();
    let node = lab.node(Some(OTHER)).unwrap();
    let ended = |event: &Event| !matches!(event, Event::Said(_));
    let (log, begins) = (&node.machine, node.boot_begins);
    let waited = cellboot::lab::await_event(log, begins, ABSENCE, |_| (), ended);
    let error = format!("{:#}", waited.expect_err("it cannot have joined"));
    assert!(error.contains("waited 600 s"), "{error}");
    println!(
        "{OTHER} waited: {}",
        error.lines().next().unwrap_or_default()
    );
    lab.power_on(CONTROLLER).unwrap();
    cell::is_ready(lab, CONTROLLER);
    cell::joins(lab, OTHER);
    println!(
        "the controller was away for {} s and more",
        away.elapsed().as_secs()
    );
}

fn a_compute_is_removed_when_it_is_empty(lab: &Lab) {
    let openstack = |line: &str| {
        let version = "OS_COMPUTE_API_VERSION=2.37";
        on_controller(
            lab,
            &format!(". /root/admin-openrc; {version} openstack {line}"),
        )
    };
    on_controller(lab, "truncate -s 1M /root/blob");
    openstack("image create --file /root/blob --disk-format raw --container-format bare last");
    openstack("flavor create --ram 64 --disk 1 --vcpus 1 last");
    openstack(&format!(
        "server create --wait --image last --flavor last --nic none \
         --availability-zone nova:{OTHER} last"
    ));
    let login = lab.login(lab.node(None).unwrap()).unwrap();
    let remove = login.run(&format!("{AGENT} node remove {OTHER}"));
    let refused = remove.any_status().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("1 instances live on {OTHER}")),
        "{said}"
    );

    openstack("server delete --wait last");
    openstack("flavor delete last");
    openstack("image delete last");
    shut_down(lab, OTHER);
    println!("{}", remove.read().unwrap());
    for listing in [
        "compute service list -f value -c Host",
        "hypervisor list -f value -c \"Hypervisor Hostname\"",
        "resource provider list -f value -c name",
        "network agent list -f value -c Host",
    ] {
        let listed = openstack(listing);
        assert!(!listed.contains(OTHER), "{listing}: {listed}");
    }
    let rest = format!("{AGENT} node list; nova-manage cell_v2 list_hosts; rabbitmqctl list_users");
    let rest = on_controller(lab, &rest);
    assert!(rest.contains("compute1") && !rest.contains(OTHER), "{rest}");
}

/// The machine that was removed comes back without a seed: a token's line is typed at its console.
fn a_line_that_is_typed_makes_a_compute(lab: &Lab) {
    replace_disk(lab);
    let node = lab.node(Some(OTHER)).unwrap();
    let [management, provider] = [0, 1].map(|port| node.machine.ports[port].interface.clone());
    let bare = Machine {
        seed: None,
        ..node.machine.clone()
    };
    let begins = bare.power_on().unwrap();
    let deadline = Duration::from_secs(1800);
    let ended = |event: &Event| !matches!(event, Event::Said(_));
    let waits = cellboot::lab::await_event(&bare, begins, deadline, |_| (), ended);
    assert!(matches!(waits.unwrap(), Event::Waiting(_)));

    let mut console = Console::of(&bare);
    let refusal = "cellboot: the line was not taken: ";
    console.type_line("firstboot join");
    let told = wait::until("an answer to half a line", deadline, || {
        let lines = Follow::new(&bare.log(), begins).lines()?;
        let told = lines.into_iter().find(|line| line.contains(refusal));
        Ok(told.map_or_else(|| Probe::NotYet("none".into()), Probe::Ready))
    });
    println!("{}", told.unwrap());

    let line = on_controller(
        lab,
        &format!(
            "{AGENT} token create --node {OTHER} --interface {management} \
             --provider-interface {provider} 2>/dev/null"
        ),
    );
    console.type_line(&line);
    let joined = |event: &Event| matches!(event, Event::Joined { .. } | Event::Failed { .. });
    let end = cellboot::lab::await_event(&bare, begins, deadline * 2, |_| (), joined).unwrap();
    assert!(matches!(end, Event::Joined { .. }), "{end:?}");
    println!("{end:?}");
    let login = lab.login(node).unwrap();
    // A new machine for the lab: its host key is another one.
    std::fs::remove_file(&login.known_hosts).unwrap();
    cell::applies_nothing_again(&login);
}

/// Somebody who sits at a console. What it says is read, for a console that is full stops its machine;
/// and it is not hung up, for then what the machine has not taken yet of a line is lost.
struct Console(UnixStream);

impl Console {
    fn of(machine: &Machine) -> Self {
        let socket = machine.process().socket("serial").unwrap();
        let socket = socket.connect().unwrap();
        let mut said = socket.try_clone().unwrap();
        // Until it is hung up.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self(socket)
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.0, "{line}").unwrap();
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Waits until a node has said something.
fn says(lab: &Lab, name: &str, what: &str) {
    let node = lab.node(Some(name)).unwrap();
    let wanted = |event: &Event| match event {
        Event::Said(text) => text.contains(what),
        _ => true,
    };
    let event = lab.await_event(node, |_| (), wanted).unwrap();
    assert!(matches!(event, Event::Said(_)), "{name}: {event:?}");
}

fn shut_down(lab: &Lab, name: &str) {
    let deadline = Duration::from_secs(120) * lab.accelerator().patience();
    let process = lab.node(Some(name)).unwrap().machine.process();
    process.shut_down(deadline).unwrap();
}

fn replace_disk(lab: &Lab) {
    let node = lab.node(Some(OTHER)).unwrap();
    let disk: &Path = &node.machine.disk;
    std::fs::remove_file(disk).unwrap();
    machine::overlay(&node.image.path, disk, None).unwrap();
}

fn compute_id(lab: &Lab) -> String {
    let text = on_controller(lab, &format!("{AGENT} node list --json"));
    let rows: Value = serde_json::from_str(&text).unwrap();
    let mut rows = rows.as_array().unwrap().iter();
    let row = rows.find(|row| row["name"] == OTHER).unwrap();
    row["compute_id"].as_str().unwrap().to_owned()
}
