//! The engine's promises, with toy steps that make files in a temporary directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use anyhow::{Result, ensure};
use firstboot::config::NodeConfig;
use firstboot::engine::{self, Event, Mode, Outcome, Record, Watch};
use firstboot::files::{self, Ownership};
use firstboot::graph::Graph;
use firstboot::node::Node;
use firstboot::platform::Platform;
use firstboot::render::Templates;
use firstboot::secrets::Secrets;
use firstboot::step::{Check, Step};

/// Remembers what happened, in words.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Watch for Seen {
    fn event(&self, event: &Event<'_>) {
        let text = match event {
            Event::Started { step } => format!("{step} started"),
            Event::Applying { step, reason } => format!("{step} applying: {reason}"),
            Event::Says { step, text } => format!("{step} says {text:?}"),
            Event::Finished(record) => format!("{} {}", record.step, record.outcome.as_str()),
        };
        self.0.lock().unwrap().push(text);
    }
}

fn node() -> Node {
    let text = r#"
        schema = 1
        name = "control"
        role = "controller"
        platform = "debian-12"
        release = "zed"
        nodes = [{ name = "control", role = "controller", address = "10.20.0.11" }]
        site = { name = "t", region = "R", domain = "t.test", time_zone = "UTC", ntp_servers = [], dns_servers = [] }
        management = { address = "10.20.0.11/24", interface = "ens3" }
        overlay = { vni_start = 1, vni_end = 1000 }
    "#;
    let config = NodeConfig::parse(text).unwrap();
    Node {
        platform: Platform::load(&config.platform).unwrap(),
        config,
        templates: Templates::none(),
        secrets: Secrets::none(),
        bundle: OnceLock::new(),
        members: Vec::new(),
        sessions: Default::default(),
    }
}

fn run(steps: &[Step], mode: Mode) -> Vec<Record> {
    run_seen(steps, mode, 4, &Seen::default())
}

fn run_seen(steps: &[Step], mode: Mode, bound: usize, seen: &Seen) -> Vec<Record> {
    let graph = Graph::new(steps).unwrap();
    engine::run(&node(), steps, &graph, mode, bound, seen).unwrap()
}

fn outcomes(records: &[Record]) -> Vec<(&str, Outcome)> {
    records
        .iter()
        .map(|record| (record.step.as_str(), record.outcome))
        .collect()
}

/// A disk whose machine loses power after so many writes.
#[derive(Clone)]
struct Disk {
    root: PathBuf,
    writes_left: Arc<AtomicUsize>,
}

impl Disk {
    fn new(root: &Path, writes_left: usize) -> Self {
        Self {
            root: root.to_owned(),
            writes_left: Arc::new(AtomicUsize::new(writes_left)),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let take = |left: usize| left.checked_sub(1);
        let powered = self
            .writes_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        ensure!(powered.is_ok(), "the power is off");
        files::replace(
            &self.root.join(name),
            text.as_bytes(),
            Ownership::mode(0o644),
        )
    }

    fn has(&self, name: &str) -> bool {
        self.root.join(name).exists()
    }

    fn tree(&self) -> BTreeMap<String, String> {
        let entries = std::fs::read_dir(&self.root)
            .unwrap()
            .map(|entry| entry.unwrap());
        let read = |entry: std::fs::DirEntry| {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        };
        entries.map(read).collect()
    }

    /// A step that makes two files, one after the other, and refuses to run before its needs.
    fn step(&self, name: &'static str, needs: &'static [&'static str]) -> Step {
        let (look, make) = (self.clone(), self.clone());
        Step::new(name, "two files")
            .needs(needs.iter().copied())
            .check(move |_| Ok(Check::of(look.has(&format!("{name}-2")), "no second file")))
            .apply(move |_| {
                for need in needs {
                    ensure!(make.has(&format!("{need}-2")), "{name} ran before {need}");
                }
                make.write(&format!("{name}-1"), name)?;
                make.write(&format!("{name}-2"), name)
            })
    }

    fn steps(&self) -> Vec<Step> {
        vec![
            self.step("end", &["left", "right"]),
            self.step("left", &["start"]),
            self.step("right", &["start"]),
            self.step("start", &[]),
            self.step("alone", &[]),
        ]
    }
}

#[test]
fn a_second_run_applies_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), usize::MAX);
    let first = run(&disk.steps(), Mode::Apply);
    assert!(
        first
            .iter()
            .all(|record| record.outcome == Outcome::Applied),
        "{first:?}"
    );
    let names: Vec<_> = first.iter().map(|record| record.step.as_str()).collect();
    assert_eq!(names, ["end", "left", "right", "start", "alone"]);
    let tree = disk.tree();
    let off = Disk::new(directory.path(), 0);
    let second = run(&off.steps(), Mode::Apply);
    assert!(
        second.iter().all(|record| record.outcome == Outcome::Done),
        "{second:?}"
    );
    assert_eq!(off.tree(), tree);
}

#[test]
fn a_run_cut_off_at_any_write_is_finished_by_the_next() {
    let whole = tempfile::tempdir().unwrap();
    let disk = Disk::new(whole.path(), usize::MAX);
    run(&disk.steps(), Mode::Apply);
    let expected = disk.tree();
    assert_eq!(expected.len(), 10);
    for writes in 0..expected.len() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path(), writes);
        let cut = run(&disk.steps(), Mode::Apply);
        assert!(cut.iter().any(|record| record.outcome == Outcome::Failed));
        assert_eq!(disk.tree().len(), writes);
        let again = Disk::new(directory.path(), usize::MAX);
        let records = run(&again.steps(), Mode::Apply);
        assert!(
            records.iter().all(|record| record.outcome.holds()),
            "{records:?}"
        );
        assert_eq!(again.tree(), expected, "cut after {writes} writes");
    }
}

#[test]
fn a_failing_step_blocks_only_what_needs_it() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), usize::MAX);
    let mut steps = disk.steps();
    let broken = Step::new("left", "")
        .needs(["start"])
        .hint("look at the left")
        .check(|_| Ok(Check::Todo("no left".into())))
        .apply(|_| anyhow::bail!("it is stuck"));
    steps[1] = broken;
    steps.push(disk.step("after-end", &["end"]));
    let records = run(&steps, Mode::Apply);
    assert_eq!(
        outcomes(&records),
        [
            ("end", Outcome::Blocked),
            ("left", Outcome::Failed),
            ("right", Outcome::Applied),
            ("start", Outcome::Applied),
            ("alone", Outcome::Applied),
            ("after-end", Outcome::Blocked),
        ]
    );
    assert_eq!(records[0].reason, "needs left");
    assert_eq!(records[5].reason, "needs left");
    assert_eq!(records[1].reason, "it is stuck");
    assert_eq!(records[1].hint, "look at the left");
}

#[test]
fn steps_that_do_not_need_each_other_run_at_once() {
    // Nobody passes the barrier unless three steps are inside apply at the same time.
    let barrier = Arc::new(Barrier::new(3));
    let meet = |name: &'static str| {
        let (barrier, met) = (Arc::clone(&barrier), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&met);
        Step::new(name, "")
            .check(move |_| Ok(Check::of(seen.load(Ordering::SeqCst) > 0, "not met")))
            .apply(move |_| {
                barrier.wait();
                met.store(1, Ordering::SeqCst);
                Ok(())
            })
    };
    let steps = [meet("a"), meet("b"), meet("c")];
    let records = run_seen(&steps, Mode::Apply, 3, &Seen::default());
    assert!(
        records
            .iter()
            .all(|record| record.outcome == Outcome::Applied)
    );
}

#[test]
fn never_more_at_once_than_the_bound_and_the_longest_chain_first() {
    let inside = Arc::new(AtomicUsize::new(0));
    let make = |name: &'static str, weight| {
        let inside = Arc::clone(&inside);
        Step::new(name, "").weight(weight).check(move |_| {
            ensure!(inside.fetch_add(1, Ordering::SeqCst) == 0, "two at once");
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(Check::Done)
        })
    };
    let steps = [make("short", 1), make("long", 9), make("middle", 5)];
    let seen = Seen::default();
    run_seen(&steps, Mode::Apply, 1, &seen);
    assert_eq!(
        *seen.0.lock().unwrap(),
        [
            "long started",
            "long done",
            "middle started",
            "middle done",
            "short started",
            "short done",
        ]
    );
}

#[test]
fn looking_applies_nothing_and_goes_no_further_than_what_holds() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new(directory.path(), usize::MAX);
    let records = run(&disk.steps(), Mode::Check);
    assert_eq!(
        outcomes(&records),
        [
            ("end", Outcome::Blocked),
            ("left", Outcome::Blocked),
            ("right", Outcome::Blocked),
            ("start", Outcome::Todo),
            ("alone", Outcome::Todo),
        ]
    );
    assert_eq!(records[3].reason, "no second file");
    assert_eq!(records[0].reason, "needs start");
    assert!(disk.tree().is_empty());
}

#[test]
fn what_is_still_not_true_after_apply_is_a_failure() {
    let step = Step::new("a", "")
        .check(|_| Ok(Check::Todo("port 80 is closed".into())))
        .apply(|_| Ok(()));
    let records = run(&[step], Mode::Apply);
    assert_eq!(records[0].outcome, Outcome::Failed);
    assert_eq!(records[0].reason, "applied, but: port 80 is closed");
}

#[test]
fn errors_hints_panics_and_warnings_come_out() {
    let steps = [
        Step::new("error", "")
            .hint("ask")
            .check(|_| Err(anyhow::anyhow!("no disk\nhint: buy one").context("looking"))),
        Step::new("panic", "").check(|_| panic!("seven is {}", 8)),
        Step::new("warn", "").check(|_| Ok(Check::Warn("no time server".into()))),
        Step::new("after", "").needs(["warn"]),
    ];
    let records = run(&steps, Mode::Apply);
    assert_eq!(records[0].reason, "looking: no disk");
    assert_eq!(records[0].hint, "buy one");
    assert_eq!(records[1].outcome, Outcome::Failed);
    assert_eq!(records[1].reason, "panicked: seven is 8");
    assert_eq!(
        records[1].hint,
        "this is a bug of cellboot, please report it"
    );
    assert_eq!(records[2].outcome, Outcome::Done);
    assert_eq!(records[2].warning, "no time server");
    assert_eq!(records[3].outcome, Outcome::Done);
}

#[test]
fn a_step_that_waits_says_so_and_stops_saying_so() {
    use firstboot::wait::Probe;
    use std::time::Duration;
    let step = Step::new("a", "").check(|context| {
        context.wait("a sign", Duration::from_secs(5), || {
            Ok(Probe::Ready(Check::Done))
        })
    });
    let seen = Seen::default();
    run_seen(&[step], Mode::Apply, 1, &seen);
    assert_eq!(
        *seen.0.lock().unwrap(),
        ["a started", "a says \"a sign\"", "a says \"\"", "a done"]
    );
}
