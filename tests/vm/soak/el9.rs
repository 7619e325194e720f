//! The agent on the platform `centos-stream-9`, on a stand-in for it: a Debian tree with OpenStack's
//! Antelope from PyPI, arranged by `tests/el9/` as RDO's packages arrange Stream 9.
//!
//! Agent, overlay, the commands of the platform's build and its table are the real ones, unchanged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cellboot::agent::Agent;
use cellboot::build::Build;
use cellboot::cache::{Cache, Lock};
use cellboot::disk::export::Format;
use cellboot::engine::namespace::Namespace;
use cellboot::engine::{Engine, Mirrors};
use cellboot::lab::machine::{Bus, Firmware};
use cellboot::lab::start::{self, Plan};
use cellboot::lab::{Lab, ssh};
use cellboot::plan::{BASE, Recipe, Source};
use cellboot::report::Report;
use cellboot::{overlay, workspace};
use firstboot::cmd::Cmd;
use firstboot::config::Role;
use firstboot::files::{Ownership, read_if_exists, replace};
use firstboot::hash::sha256;
use firstboot::platform::{Packages, Platform};
use serde::Deserialize;

use super::CONTROLLER;
use crate::cell::{self, AGENT};
use crate::{accelerator, directory, site};

const PLATFORM: &str = "centos-stream-9";
const RELEASE: &str = "antelope";
const COMPUTE: &str = "compute1";
/// What makes the stand-in, and the environment with OpenStack's code, which `make soak` makes.
const ARRANGEMENT: &str = "tests/el9";
const PYTHON: &str = "target/options/venv";
const PINS: &str = "tests/options/antelope.txt";
/// Of the cache of the stand-in's builds the base before it is arranged, and below `target/el9` all
/// that is made from it afterwards.
const DEBIAN: &str = "debian";
const ARRANGED: [&str; 4] = [
    "cache/entries/base",
    "cache/entries/role-controller",
    "cache/entries/role-compute",
    PLATFORM,
];
const ARCHIVE: &str = "base.tar";

/// `tests/el9/tree.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tree {
    packages: Vec<String>,
    disable: Vec<String>,
}

#[test]
#[ignore = "builds two images and boots them: make soak"]
fn the_other_platforms_nodes_are_a_cell() {
    let images = built();
    let (site, keys) = site();
    let plan = Plan {
        directory: directory().join("el9-cell"),
        images,
        platform: Platform::load(PLATFORM).unwrap(),
        keys,
        computes: 1,
        accelerator: accelerator(),
        firmware: Firmware::Uefi,
        bus: Bus::VirtioBlk,
        more_ports: Vec::new(),
    };
    if let Some(old) = Lab::find(&plan.directory).unwrap() {
        old.down(false).unwrap();
    }
    let mut lab = Lab::create(&plan, &site).unwrap();
    lab.power_on(CONTROLLER).unwrap();
    cell::is_ready(&lab, CONTROLLER);
    lab.power_on(COMPUTE).unwrap();
    cell::joins(&lab, COMPUTE);
    for name in [CONTROLLER, COMPUTE] {
        let login = lab.login(lab.node(Some(name)).unwrap()).unwrap();
        cell::answers(&login, &SETTLED);
        cell::applies_nothing_again(&login);
    }
    let login = lab.login(lab.node(None).unwrap()).unwrap();
    cell::answers(&login, &ENFORCED);
    a_denial_is_told(&login);
    cell::instances_run(&lab, &[COMPUTE], false);
    super::a_reboot_applies_nothing(&mut lab, &[COMPUTE, CONTROLLER]);
    lab.down(true).unwrap();
}

/// What both nodes are like once they are done: a line for the shell, and the answer.
const SETTLED: [(&str, &str); 2] = [
    ("systemctl --failed --no-legend --plain", ""),
    // the management network's interface, and the provider's
    (
        "nmcli --terse --fields TYPE,STATE device | grep ^ethernet | sort | xargs",
        "ethernet:connected ethernet:unmanaged",
    ),
];

/// What of SELinux can only be seen on the node: a line for its shell, and the answer.
const ENFORCED: [(&str, &str); 3] = [
    ("cat /sys/fs/selinux/enforce", "1"),
    // off in the policy that it was installed with
    (
        "getsebool os_neutron_dac_override os_dnsmasq_dac_override httpd_can_network_connect \
         neutron_can_network | cut -d ' ' -f 3 | xargs",
        "on on on on",
    ),
    // its directory has another
    ("stat -c %C /etc/nova/nova.conf", "system_u:object_r:etc_t"),
];

/// The policy of the stand-in denies to read one kind of file.
fn a_denial_is_told(login: &ssh::Login) {
    let check = || {
        let check = login.run(&format!("{AGENT} check"));
        String::from_utf8(check.output().unwrap().stdout).unwrap()
    };
    let before = check();
    assert!(!before.contains("SELinux denied"), "{before}");
    let read = "touch /root/secret && chcon -t secret_t /root/secret && cat /root/secret";
    let refused = login.run(read).any_status().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("Permission denied"), "{said}");
    let after = check();
    assert!(
        after.contains("SELinux denied 1; first: type=AVC"),
        "{after}"
    );
    assert!(after.contains("comm=\"cat\""), "{after}");
}

/// The directory of the stand-in's images, built where they are missing or older than what they
/// are made from.
fn built() -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = project.join("target/el9");
    let (cache, results) = (Cache::at(&work.join("cache")), work.join(PLATFORM));
    forget_what_is_old(project, &work);

    let debian = Platform::load("debian-12").unwrap();
    let text = fs::read_to_string(project.join(ARRANGEMENT).join("tree.toml")).unwrap();
    let tree: Tree = toml::from_str(&text).unwrap();
    let mirrors = Mirrors::of(&debian, None).unwrap();
    let overlays = overlays(project, &work);
    let overlay = |role| {
        let files = overlay::Files::load(&overlays, role, PLATFORM);
        (role, files.unwrap())
    };
    let recipe = Recipe {
        platform: stand_in(debian, tree),
        release: RELEASE.to_owned(),
        source: Source::Archive(mirrors.clone()),
        roles: BTreeMap::from([Role::Controller, Role::Compute].map(overlay)),
        agent: Agent::Checkout(project.to_owned()),
        format: Format::Qcow2,
        disk_size_gib: 20,
    };
    let plan = recipe.plan(&cache, &results).unwrap();
    let report = Report::new(plan.stages());
    let base = plan.layer(BASE, None).unwrap();
    if plan.makes(base) {
        let namespace = Namespace::for_this_user().unwrap();
        let lock = cache.lock(namespace).unwrap();
        let (scratch, _guard) = workspace::open(namespace, &work).unwrap();
        let engine = Engine {
            platform: &recipe.platform,
            mirrors: &mirrors,
            namespace,
            packages: cache.directory("packages").unwrap(),
            logs: cache.directory("logs").unwrap(),
            work: scratch,
            report: &report,
        };
        arrange(&engine, project, &cache, &lock, &base.inputs);
    }
    let plan = recipe.plan(&cache, &results).unwrap();
    Build {
        recipe: &recipe,
        plan: &plan,
        cache: &cache,
        results: &results,
        report: &report,
    }
    .run()
    .unwrap();
    start::image(&results, Role::Controller).unwrap();
    results
}

/// The overlay of the project, and what the stand-in needs besides to boot.
fn overlays(project: &Path, work: &Path) -> PathBuf {
    let overlays = work.join("overlays");
    let _ = fs::remove_dir_all(&overlays);
    let copy = |from: PathBuf, to: &Path| {
        let copy = Cmd::new("cp").arg("-r").path(&from).path(to);
        copy.run().unwrap();
    };
    copy(project.join("overlays"), &overlays);
    let (ours, common) = (
        project.join(ARRANGEMENT).join("overlay"),
        overlays.join("common"),
    );
    copy(ours.join("boot"), &common);
    let mut described = String::new();
    for tree in [common.clone(), ours] {
        described += &fs::read_to_string(tree.join("overlay.toml")).unwrap();
    }
    let mode = Ownership::mode(0o644);
    replace(&common.join("overlay.toml"), described.as_bytes(), mode).unwrap();
    overlays
}

/// The platform itself, but for where its packages come from and what they are called there.
fn stand_in(debian: Platform, tree: Tree) -> Platform {
    let mut platform = Platform::load(PLATFORM).unwrap();
    platform.archive = debian.archive;
    platform.packages = Packages {
        base: tree.packages,
        controller: Vec::new(),
        compute: Vec::new(),
    };
    let build = &mut platform.build;
    build.disable.extend(tree.disable);
    build.remove.extend(debian.build.remove);
    // Its compute has the dashboard too, and the key that came with it.
    for command in &mut build.commands {
        if command.overlay.is_empty() {
            command.roles = Role::ALL.to_vec();
        }
    }
    build.exclude = debian.build.exclude;
    build.include = debian.build.include;
    build.initramfs = debian.build.initramfs;
    build.byte_compile = debian.build.byte_compile;
    build
        .byte_compile
        .push("/usr/local/lib/python3.11/dist-packages".into());
    platform
}

/// The archive of the base, with `arrange.sh` run in its tree.
fn arrange(
    engine: &Engine<'_>,
    project: &Path,
    cache: &Cache,
    lock: &Lock,
    inputs: &cellboot::cache::Inputs,
) {
    let debian = match cache.find(DEBIAN, &inputs.key()) {
        Some(entry) => entry,
        None => cache
            .add(lock, DEBIAN, inputs, |entry| {
                engine.base(&entry.join(ARCHIVE))
            })
            .unwrap(),
    };
    let added = cache.add(lock, BASE, inputs, |entry| {
        let tree = engine.work.join("arranged");
        fs::create_dir_all(&tree)?;
        let tar = |arguments: &[&str], archive: &Path| {
            let tar = Cmd::new("tar").args(["--numeric-owner", "--xattrs", "--xattrs-include=*"]);
            let tar = tar.args(arguments.iter().copied());
            let place = tar.path(archive).arg("--directory").path(&tree);
            engine.namespace.enter(place)
        };
        let unpack = [
            "--extract",
            "--preserve-permissions",
            "--exclude=./dev/*",
            "--file",
        ];
        tar(&unpack, &debian.join(ARCHIVE)).run()?;
        let binds = [
            (project.join(ARRANGEMENT), "/run/el9"),
            (project.join(PYTHON), "/run/python"),
        ];
        let script = Cmd::new("sh").arg("/run/el9/arrange.sh");
        let inside = engine.namespace.inside(&tree, &binds, script);
        inside.run_logged(&engine.logs.join("arrange.log"))?;
        let pack = ["--create", "--file"];
        tar(&pack, &entry.join(ARCHIVE)).arg(".").run()?;
        let remove = Cmd::new("rm").args(["-rf", "--"]).path(&tree);
        engine.namespace.enter(remove).run()
    });
    added.unwrap();
}

/// The cache knows what of a platform decides about its base, and nothing of the arrangement.
fn forget_what_is_old(project: &Path, work: &Path) {
    let mut all = fs::read(project.join(PINS)).unwrap();
    let mut directories = vec![project.join(ARRANGEMENT)];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let list = if path.is_dir() {
                &mut directories
            } else {
                &mut files
            };
            list.push(path);
        }
    }
    files.sort();
    for file in files {
        all.extend(file.to_string_lossy().into_owned().into_bytes());
        all.extend(fs::read(&file).unwrap());
    }
    let now = sha256(&all);
    let record = work.join("arranged-from");
    let before = read_if_exists(&record).unwrap();
    if before.as_deref() != Some(now.as_str()) {
        for made in ARRANGED {
            let _ = fs::remove_dir_all(work.join(made));
        }
        replace(&record, now.as_bytes(), Ownership::mode(0o644)).unwrap();
    }
}
