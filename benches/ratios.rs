//! `make bench`: how long things take, as ratios to something measured in the same run.
//!
//! A figure alone says more about the machine than about the program; every line here names what
//! it is compared with. Nothing is asserted: a bench tells, whatever it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cellboot::keys::Keys;
use cellboot::lab::accel::Choice;
use cellboot::lab::machine::{Bus, Firmware};
use cellboot::lab::start::{self, Plan};
use cellboot::lab::{Lab, ssh};
use cellboot::report::Report;
use cellboot::site::Site;
use firstboot::cmd::Cmd;
use firstboot::config::Role;
use firstboot::engine::Outcome;
use firstboot::files::{Ownership, replace};
use firstboot::journal::{Journal, Run};
use serde::Deserialize;

/// Longer than any build or boot takes.
const DEADLINE: Duration = Duration::from_secs(3 * 3600);

/// The largest resident size of the agent, by looking at it while it runs.
const RESIDENT: &str = "/usr/libexec/cellboot/firstboot check >/dev/null & \
    while now=$(grep VmHWM /proc/$!/status 2>/dev/null); do most=$now; sleep 0.2; done; \
    echo $most | cut -d: -f2";

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = root.join("target/bench");
    std::fs::create_dir_all(&work).context("making target/bench")?;
    let bench = Bench {
        cellboot: root.join("target/release/cellboot"),
        site: work.join("site.toml"),
        root,
        work: &work,
    };
    if !bench.site.exists() {
        bench.cellboot("init", &[]).run()?;
    }
    let skip_cold = std::env::var_os("BENCH_NO_COLD").is_some();
    if !skip_cold {
        bench.cold_build()?;
    }
    bench.warm_builds()?;
    bench.seeds()?;
    bench.first_boot()
}

struct Bench<'a> {
    cellboot: PathBuf,
    site: PathBuf,
    root: &'a Path,
    work: &'a Path,
}

impl Bench<'_> {
    fn cellboot(&self, verb: &str, more: &[&str]) -> Cmd {
        Cmd::new(&self.cellboot)
            .directory(self.root)
            .args([verb, "--site"])
            .path(&self.site)
            .args(more.iter().copied())
            .deadline(DEADLINE)
    }

    fn build(&self, more: &[&str]) -> Cmd {
        self.cellboot("build", more)
            .arg("--out")
            .path(self.work.join("out"))
    }

    /// Both images from nothing, against the packages of both put into a plain tree.
    fn cold_build(&self) -> Result<()> {
        let cache = self.work.join("cold");
        let flag = cache.to_string_lossy().into_owned();
        let build = timed("cold build", &self.build(&["--cache", &flag]))?;
        let platform = firstboot::platform::Platform::load("debian-12")?;
        let mut alone = Duration::ZERO;
        for role in Role::ALL {
            let packages = [
                platform.packages.base.as_slice(),
                platform.packages.of(role),
            ];
            let include = format!("--include={}", packages.concat().join(","));
            let tar = self.work.join("mmdebstrap.tar");
            let cmd = Cmd::new("mmdebstrap")
                .args(["--quiet", "--variant=minbase", &include, "bookworm"])
                .path(&tar)
                .deadline(DEADLINE);
            alone += timed(&format!("mmdebstrap alone, {role}"), &cmd)?;
            std::fs::remove_file(&tar).context("removing the tree of mmdebstrap")?;
        }
        compare(
            "cold build of both images",
            build,
            "mmdebstrap alone, both",
            alone,
        );
        Ok(())
    }

    /// Nothing changed; an overlay file changed.
    fn warm_builds(&self) -> Result<()> {
        let first = timed("build, packages cached or not", &self.build(&[]))?;
        let nothing = timed("build, nothing changed", &self.build(&[]))?;
        compare("nothing changed", nothing, "that build", first);
        let edited = self.work.join("edited");
        let source = self.root.join("overlays");
        std::fs::create_dir_all(&edited).context("making a copy of the overlays")?;
        Cmd::new("cp")
            .arg("-aT")
            .path(&source)
            .path(edited.join("overlays"))
            .run()?;
        let file = edited.join("overlays/common/etc/hosts.j2");
        let mut text = std::fs::read_to_string(&file).context("reading an overlay file")?;
        text += "{# an edit #}\n";
        replace(&file, text.as_bytes(), Ownership::mode(0o644))?;
        let agent = cellboot::agent::built(self.root);
        let agent = agent.to_string_lossy().into_owned();
        let build = self.build(&["--agent", &agent]).directory(&edited);
        let edit = timed("build, an overlay edited", &build)?;
        compare("an overlay edited, both images", edit, "that build", first);
        timed("build, the edit undone", &self.build(&[])).map(drop)
    }

    fn seeds(&self) -> Result<()> {
        let site = Site::load(&self.site)?;
        let out = self.work.join("seeds");
        let out = out.to_string_lossy().into_owned();
        let all = timed(
            "seeds of all nodes",
            &self.cellboot("seed", &["--out", &out]),
        )?;
        let nodes = u32::try_from(site.nodes.len()).unwrap_or(u32::MAX);
        println!(
            "  a seed: {:.0} ms",
            all.as_secs_f64() * 1000.0 / f64::from(nodes)
        );
        Ok(())
    }

    /// Power-on to READY, against the sum of the steps' own times.
    fn first_boot(&self) -> Result<()> {
        let site = Site::load(&self.site)?;
        let (platform, images) = start::built_images(&self.work.join("out"), None)?;
        let report = Report::new(2);
        let plan = Plan {
            directory: self.work.join("lab"),
            accelerator: start::accelerator(&images, Choice::Auto, &report)?,
            images,
            platform,
            keys: Keys::beside(&self.site)?,
            computes: 0,
            firmware: Firmware::Uefi,
            bus: Bus::VirtioBlk,
            more_ports: Vec::new(),
        };
        if let Some(old) = Lab::find(&plan.directory)? {
            old.down(false)?;
        }
        let lab = Lab::start(&plan, &site)?;
        let measured = lab.await_ready(&report).and_then(|()| measure(&lab));
        lab.down(false)?;
        measured
    }
}

fn measure(lab: &Lab) -> Result<()> {
    let controller = lab.node(None)?;
    let seconds = lab.standing(controller)?.seconds().unwrap_or_default();
    let login = lab.login(controller)?;
    let text = login.run("cat /var/lib/cellboot/journal.json").read()?;
    let journal: Journal = serde_json::from_str(&text).context("reading the node's journal")?;
    let run = journal
        .runs
        .last()
        .context("finding a run in the node's journal")?;
    let sum: u64 = run
        .steps
        .iter()
        .map(|step| step.check_ms + step.apply_ms)
        .sum();
    println!("{:<44} {:>9}", "step", "seconds");
    let mut steps: Vec<_> = run.steps.iter().collect();
    steps.sort_by_key(|step| std::cmp::Reverse(step.check_ms + step.apply_ms));
    for step in steps.iter().filter(|step| step.outcome == Outcome::Applied) {
        let spent = (step.check_ms + step.apply_ms) as f64 / 1000.0;
        println!("{:<44} {spent:>9.1}", step.step);
    }
    println!(
        "critical path: {}",
        critical_path(run, &needs(&login)?).join(" > ")
    );
    let ready = Duration::from_secs(seconds);
    compare(
        "power-on to READY",
        ready,
        "the steps' own times, summed",
        Duration::from_millis(sum),
    );
    let size = login
        .run("stat -c %s /usr/libexec/cellboot/firstboot")
        .read()?;
    let size: f64 = size.trim().parse().context("reading the agent's size")?;
    println!("agent on disk: {:.1} MiB", size / 1024.0 / 1024.0);
    let resident = login.run(RESIDENT).read()?;
    println!("agent resident while it checks: {}", resident.trim());
    discovery(&login)
}

/// What it costs to map hosts into their cell, against a run that finds none.
fn discovery(login: &ssh::Login) -> Result<()> {
    let said = login.run(include_str!("discovery.sh")).read()?;
    let mut nothing_new = None;
    for line in said.lines() {
        let (new, milliseconds) = line.split_once(' ').context("reading how many were new")?;
        let spent = Duration::from_millis(milliseconds.parse().context("reading a time")?);
        let baseline = *nothing_new.get_or_insert(spent);
        let what = format!("discovery of {new} new hosts");
        compare(&what, spent, "one that finds none", baseline);
    }
    Ok(())
}

/// One step of `firstboot graph --json`.
#[derive(Deserialize)]
struct Planned {
    name: String,
    needs: Vec<String>,
}

fn needs(login: &ssh::Login) -> Result<BTreeMap<String, Vec<String>>> {
    let text = login
        .run("/usr/libexec/cellboot/firstboot graph --json")
        .read()?;
    let steps: Vec<Planned> = serde_json::from_str(&text).context("reading the graph of steps")?;
    Ok(steps
        .into_iter()
        .map(|step| (step.name, step.needs))
        .collect())
}

/// From the step that ended last back along whichever need ended last.
fn critical_path(run: &Run, needs: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let position: BTreeMap<&str, usize> = run
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| (step.step.as_str(), index))
        .collect();
    let mut path = Vec::new();
    let mut at = run.steps.len().checked_sub(1);
    while let Some(index) = at {
        let name = run.steps[index].step.clone();
        let before = needs.get(&name).into_iter().flatten();
        at = before
            .filter_map(|need| position.get(need.as_str()).copied())
            .max();
        path.push(name);
    }
    path.reverse();
    path
}

fn timed(what: &str, cmd: &Cmd) -> Result<Duration> {
    let began = Instant::now();
    cmd.run()?;
    let spent = began.elapsed();
    println!("{what}: {:.1} s", spent.as_secs_f64());
    Ok(spent)
}

fn compare(what: &str, spent: Duration, with: &str, other: Duration) {
    let ratio = spent.as_secs_f64() / other.as_secs_f64();
    println!(
        "{what}: {:.1} s, {ratio:.2} of {with} ({:.1} s)",
        spent.as_secs_f64(),
        other.as_secs_f64()
    );
}
