//! What a compute promises once it has joined, and what instances on computes prove.

use std::path::Path;
use std::time::Duration;

use cellboot::lab::serial::Event;
use cellboot::lab::{Lab, ssh, timings};
use firstboot::cmd::Cmd;
use firstboot::engine::Outcome;
use firstboot::journal::Journal;
use serde_json::Value;

use super::directory;

/// The agent on a node, as hints and pages tell people to type it.
pub(super) const AGENT: &str = "firstboot";

/// The first thing that a node says besides progress, which is shown; and if it failed, what it
/// can tell of that, because nobody can look at this node later.
pub(super) fn last_word(lab: &Lab, name: &str) -> Event {
    let node = lab.node(Some(name)).unwrap();
    let said = |text: &str| println!("  {name}: {text}");
    let the_end = |event: &Event| !matches!(event, Event::Said(_));
    let end = lab.await_event(node, said, the_end).unwrap();
    if matches!(end, Event::Failed { .. }) {
        println!("{end:?}");
        let login = lab.login(node).unwrap();
        for line in EVIDENCE {
            match login.run(line).any_status() {
                Ok(told) => println!("== {line}\n{}", String::from_utf8_lossy(&told.stdout)),
                Err(error) => println!("== {line}\n{error:#}"),
            }
        }
    }
    end
}

/// What tells why a node failed, in its own shell.
const EVIDENCE: [&str; 5] = [
    "systemctl list-units --no-legend --plain --state=failed,activating",
    "for log in /var/log/rabbitmq/*.log /var/log/neutron/*.log /var/log/nova/*.log; do \
     echo \"-- $log\"; tail -n 12 \"$log\" | cut -c -300; done 2>&1",
    // Erlang's own processes, of those that have not moved for a while
    "timeout 120 rabbitmq-diagnostics maybe_stuck 2>&1 | tail -n 60",
    "timeout 120 rabbitmqctl list_queues name pid state consumers 2>&1 | tail -n 40",
    "top -bn1 | head -n 15; free -m; df -h /; ss -tnp state established '( sport = 5672 )' | wc -l",
];

/// Boots a node once for each of `percents`, and cuts its power when so many percent of its steps are
/// finished.
pub(super) fn cut_power_as_it_boots(lab: &mut Lab, name: &str, percents: &[u32]) {
    for &percent in percents {
        lab.power_on(name).unwrap();
        let node = lab.node(Some(name)).unwrap();
        let far_enough = |event: &Event| match event {
            Event::Said(text) => progress(text).is_some_and(|seen| seen >= percent),
            Event::Ready { .. } | Event::Joined { .. } | Event::Failed { .. } => true,
            Event::Waiting(_) => true,
        };
        let event = lab.await_event(node, |_| (), far_enough).unwrap();
        assert!(
            matches!(event, Event::Said(_)),
            "before the cut at {percent} %: {event:?}"
        );
        node.machine.process().cut_power().unwrap();
        println!("power cut at {event:?}");
    }
}

/// Percent of the steps that are finished, from `[12/48] ...`.
fn progress(said: &str) -> Option<u32> {
    let (place, _) = said.strip_prefix('[')?.split_once(']')?;
    let (finished, total) = place.split_once('/')?;
    let [finished, total]: [u32; 2] = [finished.parse().ok()?, total.parse().ok()?];
    finished.checked_mul(100)?.checked_div(total)
}

/// Waits until a controller has come up as a cloud, and tells how long that took, step by step.
pub(super) fn is_ready(lab: &Lab, name: &str) {
    let end = last_word(lab, name);
    assert!(matches!(end, Event::Ready { .. }), "{end:?}");
    println!("{end:?}");
    if let Some(table) = timings::table(lab, lab.node(Some(name)).unwrap()).unwrap() {
        println!("{table}");
    }
}

/// Waits until a compute has joined, and tells how long that took, step by step.
pub(super) fn joins(lab: &Lab, name: &str) {
    let end = last_word(lab, name);
    assert!(matches!(end, Event::Joined { .. }), "{name}: {end:?}");
    println!("{end:?}");
    if let Some(table) = timings::table(lab, lab.node(Some(name)).unwrap()).unwrap() {
        println!("{table}");
    }
    let listed = on_controller(lab, &format!("{AGENT} node list"));
    let row = listed.lines().find(|line| line.starts_with(name));
    println!("{}", row.unwrap_or_else(|| panic!("{name}: {listed}")));
}

/// What a line says in the controller's shell.
pub(super) fn on_controller(lab: &Lab, line: &str) -> String {
    let login = lab.login(lab.node(None).unwrap()).unwrap();
    login.run(line).read().unwrap().trim().to_owned()
}

/// What of a compute can only be seen on the node itself: a line for its shell, and the answer.
const INSIDE: [(&str, &str); 8] = [
    // no database, and nobody who administers anything
    (
        "grep -rlE '^connection *=|mysql|username = admin' /etc/nova /etc/neutron | wc -l",
        "0",
    ),
    ("stat -c %a:%U /etc/nova/compute_id", "444:root"),
    (
        "stat -c %a:%U /etc/cellboot/node.toml /var/lib/cellboot/join/key.pem \
         /var/lib/cellboot/join/bundle.json | xargs",
        "600:root 600:root 600:root",
    ),
    ("virsh net-list --all --name | grep -c . || true", "0"),
    ("systemctl --failed --no-legend --plain | wc -l", "0"),
    // SSH alone is open while no instance runs; chrony asks from a port that only loopback reaches
    (
        "ss -Hlnt | awk '{print $4}' | grep -vE '^(127|\\[::1\\])' | sed 's/.*://' | sort -u | xargs",
        "22",
    ),
    // every secret, looked for in the journal and in what other users see of processes
    (
        "umask 077; tr -d ' \\n' </var/lib/cellboot/join/bundle.json | \
         grep -oE '\"[A-Za-z0-9]{32}\"' | tr -d '\"' >/run/cellboot/secrets.list; \
         grep -oE '[a-z2-7]{26}' /etc/cellboot/node.toml >>/run/cellboot/secrets.list; \
         test $(wc -l </run/cellboot/secrets.list) -ge 4 || echo too few; \
         (journalctl --no-pager -o cat; ps axeww -o args) | \
         grep -cFf /run/cellboot/secrets.list; rm /run/cellboot/secrets.list",
        "0",
    ),
    // what instances run on is known, and this processor is emulated
    ("grep ^virt_type /etc/nova/nova.conf", "virt_type = qemu"),
];

/// Looks at a compute that has joined, and applies again.
pub(super) fn look_at_compute(lab: &Lab, name: &str) {
    let login = lab.login(lab.node(Some(name)).unwrap()).unwrap();
    answers(&login, &INSIDE);
    applies_nothing_again(&login);
}

/// Each of these lines has this answer in a node's shell.
pub(super) fn answers(login: &ssh::Login, lines: &[(&str, &str)]) {
    for (line, expected) in lines {
        let answer = login.run(line).any_status().unwrap();
        let said = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        let noise = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert_eq!(said, *expected, "{}: {line}\n{noise}", login.node);
    }
}

/// Applying again on a finished node changes nothing, and `check` agrees that it is finished.
pub(super) fn applies_nothing_again(login: &ssh::Login) {
    login.run(&format!("{AGENT} apply")).run().unwrap();
    let steps = nothing_was_applied(login);
    println!("{}: applying again: nothing of {steps} steps", login.node);
    login.run(&format!("{AGENT} check")).run().unwrap();
}

/// The last run on a node found everything done; gives how many steps that is.
pub(super) fn nothing_was_applied(login: &ssh::Login) -> usize {
    let text = login.run("cat /var/lib/cellboot/journal.json").read();
    let journal: Journal = serde_json::from_str(&text.unwrap()).unwrap();
    let last = journal.runs.last().expect("apply is in the journal");
    assert!(last.ready, "{}: {last:?}", login.node);
    // To wait for the controller is to do nothing.
    let changes = |step: &str| step != "join/controller";
    let applied: Vec<_> = last
        .steps
        .iter()
        .filter(|record| record.outcome != Outcome::Done && changes(&record.step))
        .collect();
    assert!(applied.is_empty(), "{}: {applied:?}", login.node);
    last.steps.len()
}

/// Runs one of the Python programs here, openstacksdk and requests on this host, against the doors
/// of a lab; gives what it said.
pub(super) fn ask_cloud(lab: &Lab, script: &str, arguments: &[&str]) -> String {
    let clouds = lab.fetch_clouds_yaml().unwrap();
    let output = python(script)
        .args(["--console", &lab.endpoints().unwrap()["console"]])
        .args(arguments.iter().copied())
        .env("OS_CLIENT_CONFIG_FILE", clouds.to_string_lossy())
        .deadline(Duration::from_secs(7200))
        .any_status()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    let noise = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{noise}");
    said
}

/// One of the Python programs here.
pub(super) fn python(script: &str) -> Cmd {
    let python = directory().join("venv/bin/python");
    assert!(
        python.exists(),
        "there is no {}: `make test` makes it",
        python.display()
    );
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm");
    Cmd::new(python).path(tests.join(script))
}

/// Makes an instance on each of these computes, which are all that the cell has, and proves what it
/// can do; `all` adds what takes two of them.
pub(super) fn instances_run(lab: &Lab, computes: &[&str], all: bool) {
    let guest = directory().join("guest");
    python("guest.py").path(&guest).run().unwrap();
    let seconds = lab.clouds_yaml().with_file_name("instances.json");
    let names = computes.join(",");
    let login = lab.login(lab.node(None).unwrap()).unwrap().line();
    let mut arguments = vec!["--computes", &names, "--controller-ssh", &login];
    arguments.extend(["--guest", guest.to_str().unwrap()]);
    arguments.extend(["--timings", seconds.to_str().unwrap()]);
    if all {
        arguments.push("--full");
    }
    ask_cloud(lab, "instances.py", &arguments);
    let text = std::fs::read_to_string(&seconds).unwrap();
    let taken: Value = serde_json::from_str(&text).unwrap();
    println!("seconds: {taken}");
}

#[test]
fn progress_is_read_from_the_agents_lines() {
    assert_eq!(
        progress("[12/48] mariadb/running applied in 3.1 s"),
        Some(25)
    );
    assert_eq!(progress("[0/0] x"), None);
    assert_eq!(progress("starting"), None);
}
