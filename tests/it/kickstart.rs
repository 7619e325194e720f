//! Kickstarts: what they say for which site, and what EL9's own grammar and shellcheck say of them.

use std::path::{Path, PathBuf};

use cellboot::kickstart::{Destination, Kickstart, Mirrors};
use cellboot::overlay;
use cellboot::site::Site;
use firstboot::cmd::{Cmd, Output};
use firstboot::config::Role;
use firstboot::files::{Ownership, replace};
use firstboot::platform::Platform;

use super::{SITE, said, site};

/// What a site may add that changes its kickstarts, by a name for the file.
const VARIANTS: [(&str, &str); 8] = [
    ("auto", ""),
    ("antelope", r#"platform = { name = "centos-stream-9" }"#),
    (
        "bobcat",
        r#"platform = { name = "centos-stream-9", release = "bobcat" }"#,
    ),
    (
        "caracal",
        r#"platform = { name = "centos-stream-9", release = "caracal" }"#,
    ),
    (
        "dalmatian",
        r#"platform = { name = "centos-stream-9", release = "dalmatian" }"#,
    ),
    (
        "epoxy",
        r#"platform = { name = "centos-stream-9", release = "epoxy" }"#,
    ),
    ("mirrors", MIRRORS),
    (
        "plain-http",
        r#"platform = { name = "centos-stream-9", mirrors = { main = "http://10.0.0.1:8080/cs9" } }"#,
    ),
];
const MIRRORS: &str = r#"platform = { name = "centos-stream-9", mirrors = { main = "https://composes.example/CentOS-Stream-9-20241216.0/compose/", sigs = "https://own.example/SIGs" } }"#;

fn kickstart(directory: &Path, added: &str, role: &str) -> Output {
    kickstart_of(directory, &format!("{SITE}{added}\n"), role)
}

fn kickstart_of(directory: &Path, text: &str, role: &str) -> Output {
    let site = site(directory, text);
    Cmd::new(env!("CARGO_BIN_EXE_cellboot"))
        .args(["kickstart", "--site", &site, "--role", role])
        .directory(env!("CARGO_MANIFEST_DIR"))
        .any_status()
        .unwrap()
}

fn text(added: &str, role: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let output = kickstart(directory.path(), added, role);
    assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The values of an option in the lines that begin with a command.
fn values<'a>(text: &'a str, command: &str, option: &str) -> Vec<&'a str> {
    text.lines()
        .filter(|line| line.split(' ').next() == Some(command))
        .filter_map(|line| line.split(' ').find_map(|word| word.strip_prefix(option)))
        .collect()
}

#[test]
fn installer_and_packages_come_from_one_tree_and_the_sigs() {
    let text = text(MIRRORS, "controller");
    let compose = "https://composes.example/CentOS-Stream-9-20241216.0/compose";
    assert_eq!(
        values(&text, "url", "--url="),
        [format!("{compose}/BaseOS/x86_64/os/")]
    );
    let sigs = "https://own.example/SIGs";
    assert_eq!(
        values(&text, "repo", "--baseurl="),
        [
            format!("{compose}/AppStream/x86_64/os/"),
            format!("{compose}/CRB/x86_64/os/"),
            format!("{sigs}/extras/x86_64/extras-common/"),
            format!("{sigs}/nfv/x86_64/openvswitch-2/"),
            format!("{sigs}/messaging/x86_64/rabbitmq-38/"),
            format!("{sigs}/cloud/x86_64/openstack-antelope/"),
        ]
    );
    assert!(!text.to_lowercase().contains("epel"));
}

#[test]
fn a_release_brings_its_own_repository_and_no_other() {
    for (release, added) in &VARIANTS[1..6] {
        let text = text(added, "compute");
        let repositories = values(&text, "repo", "--baseurl=");
        let openstack: Vec<_> = repositories
            .iter()
            .filter(|url| url.contains("/openstack-"))
            .collect();
        let expected = format!(
            "https://mirror.stream.centos.org/SIGs/9-stream/cloud/x86_64/openstack-{release}/"
        );
        assert_eq!(openstack, [&expected.as_str()]);
        assert!(text.contains(&format!("\ncentos-release-openstack-{release}\n")));
    }
}

#[test]
fn a_kickstart_says_nothing_about_its_site() {
    let one = text("", "controller");
    let other = SITE
        .replace("10.20.0", "192.0.2")
        .replace("\"cell\"", "\"other\"");
    let directory = tempfile::tempdir().unwrap();
    let output = kickstart_of(directory.path(), &other, "controller");
    assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));
    assert_eq!(one, String::from_utf8(output.stdout).unwrap());
    assert!(one.contains("\nrootpw --lock\n") && one.contains("\nselinux --enforcing\n"));
}

#[test]
fn a_site_of_another_platform_has_none() {
    let directory = tempfile::tempdir().unwrap();
    let added = r#"platform = { name = "debian-12" }"#;
    let output = kickstart(directory.path(), added, "compute");
    let expected = "cellboot: the site is for debian-12, which is not installed by a kickstart\n\
                    hint: name = \"centos-stream-9\" or \"auto\" under [platform]\n";
    assert_eq!(said(&output), (Some(2), expected.to_owned()));
}

#[test]
fn a_mirror_of_what_the_platform_lacks_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let added =
        r#"platform = { name = "centos-stream-9", mirrors = { security = "http://x.example/" } }"#;
    let output = kickstart(directory.path(), added, "compute");
    let (code, said) = said(&output);
    assert_eq!(code, Some(2));
    let problem = "site.toml:5: platform.mirrors.security: centos-stream-9 has no packages of the \
                   kind \"security\"; expected main or sigs; rename the key, or remove it";
    assert!(said.contains(problem), "{said}");
}

/// The kickstart of a medium, for this disk or the only one.
fn of_medium(role: Role, disk: Option<&str>, seed: bool) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let platform = Platform::load("centos-stream-9").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let site = Site::load(Path::new(&site(directory.path(), SITE))).unwrap();
    let overlay = overlay::Files::load(&root.join("overlays"), role, &platform.name).unwrap();
    let kickstart = Kickstart {
        platform: &platform,
        release: &platform.release,
        role,
        mirrors: &Mirrors::of(platform.tree.as_ref().unwrap(), &site),
        overlay: &overlay,
        destination: Destination::Machine { disk, seed },
    };
    kickstart.text(&root.join("kickstart")).unwrap()
}

#[test]
fn a_medium_touches_the_disk_that_is_named_or_the_only_one() {
    let named = of_medium(Role::Compute, Some("/dev/sdb"), false);
    assert!(named.contains("\ndisk=/dev/sdb\nseed=no\n"), "{named}");
    assert!(!named.contains("seed.img"), "{named}");
    let only = of_medium(Role::Compute, None, true);
    assert!(only.contains("make the medium with --disk"), "{only}");
    assert!(
        only.contains("\nseed=yes\n") && only.contains("seed.img"),
        "{only}"
    );
}

/// systemctl refuses to enable a unit that is not there, and the installation ends with that.
#[test]
fn only_units_that_the_role_has_are_enabled() {
    let enabled = |role: &str| {
        let text = text("", role);
        let line = text.lines().find_map(|line| line.strip_prefix("enable=("));
        let units = line.unwrap().trim_end_matches(')').split_whitespace();
        units.map(str::to_owned).collect::<Vec<_>>()
    };
    let everywhere = [
        "sshd.service",
        "firewalld.service",
        "auditd.service",
        "cloud-init-local.service",
        "cellboot-firstboot.service",
    ];
    assert_eq!(enabled("compute"), everywhere);
    let controllers = [everywhere.as_slice(), &["cellboot-fernet-rotate.timer"]].concat();
    assert_eq!(enabled("controller"), controllers);
}

/// The script as it is in kickstarts, on patterns of a directory.
#[test]
fn what_no_package_has_left_yet_is_removed_too() {
    let directory = tempfile::tempdir().unwrap();
    let below = |name: &str| directory.path().join(name);
    for name in ["log/a", "log/deep/b", "kept", "key-1", "key-2", "gone/c"] {
        replace(&below(name), b"x", Ownership::mode(0o600)).unwrap();
    }
    let patterns = [
        "log/", "key-*", "gone", "missing/", "missing", "none-*", "none-*/",
    ];
    let patterns = patterns.map(|it| format!("'{}/{it}'", directory.path().display()));
    let kickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("kickstart");
    let script = std::fs::read_to_string(kickstart.join("remove.sh")).unwrap();
    let script = format!(
        "set -Eeuo pipefail\ntrap 'echo \"$BASH_COMMAND\"' ERR\nset -- {}\n{script}",
        patterns.join(" ")
    );
    let ended = Cmd::new("bash").args(["-c", &script]).any_status().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!((ended.status.code(), said.as_str()), (Some(0), ""));
    let left = |name: &str| below(name).exists();
    assert!(left("kept") && left("log/deep"), "directories stay");
    for name in ["log/a", "log/deep/b", "key-1", "key-2", "gone"] {
        assert!(!left(name), "{name}");
    }
}

/// The bodies of the scripts of a kickstart, as Anaconda would run them.
fn scripts(text: &str) -> Vec<String> {
    let mut scripts = Vec::new();
    let mut body = None;
    for line in text.lines() {
        let is_script = line.starts_with('%') && line.contains("--interpreter=");
        if is_script {
            body = Some(String::from("#!/usr/bin/bash\n"));
        } else if line == "%end" {
            scripts.extend(body.take());
        } else if let Some(body) = &mut body {
            body.push_str(line);
            body.push('\n');
        }
    }
    scripts
}

/// Kept in `target/kickstarts/`, for whoever wants to read them or have another judge look.
#[test]
#[ignore = "needs pykickstart and shellcheck: make test"]
fn every_kickstart_is_good_grammar_and_good_shell() {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let validator = target.join("vm/venv/bin/ksvalidator");
    let kept = target.join("kickstarts");
    std::fs::create_dir_all(&kept).unwrap();
    let mut judged = 0;
    for (name, added) in VARIANTS {
        for role in ["controller", "compute"] {
            let text = text(added, role);
            let path = kept.join(format!("{name}-{role}.ks"));
            replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
            passes(Cmd::new(&validator).args(["-v", "RHEL9"]), &path);
            let scripts = scripts(&text);
            assert_eq!(scripts.len(), 4, "%pre, two %post and %onerror");
            for (number, script) in scripts.iter().enumerate() {
                let path = kept.join(format!("{name}-{role}-{number}.bash"));
                replace(&path, script.as_bytes(), Ownership::mode(0o644)).unwrap();
                passes(Cmd::new("shellcheck").args(["--shell=bash"]), &path);
            }
            judged += 1;
        }
    }
    for (name, disk, seed) in [
        ("medium", None, true),
        ("medium-disk", Some("/dev/sdb"), false),
    ] {
        for role in Role::ALL {
            let text = of_medium(role, disk, seed);
            let path = kept.join(format!("{name}-{role}.ks"));
            replace(&path, text.as_bytes(), Ownership::mode(0o644)).unwrap();
            passes(Cmd::new(&validator).args(["-v", "RHEL9"]), &path);
            for (number, script) in scripts(&text).iter().enumerate() {
                let path = kept.join(format!("{name}-{role}-{number}.bash"));
                replace(&path, script.as_bytes(), Ownership::mode(0o644)).unwrap();
                passes(Cmd::new("shellcheck").args(["--shell=bash"]), &path);
            }
            judged += 1;
        }
    }
    println!("{judged} kickstarts are valid for RHEL9, their scripts pass shellcheck");
}

fn passes(judge: Cmd, path: &PathBuf) {
    let output = judge.path(path).any_status().unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(output.status.success(), "{}: {told}", path.display());
}
