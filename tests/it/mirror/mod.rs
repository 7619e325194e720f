//! Fetching an installer from a mirror: what comes whole, and every way in which it may not.

mod stand_in;

use std::path::Path;
use std::time::Duration;

use cellboot::fault::Class;
use cellboot::mirror::download::Patience;
use cellboot::mirror::{self, Installer};
use cellboot::report::Report;
use firstboot::cmd::Cmd;
use firstboot::platform::{Platform, Tree};
use proptest::prelude::*;
use stand_in::{Conduct, Mirror, SIGS, TREE};

use super::{SITE, said, site};

const SHORT: Patience = Patience {
    connect: Duration::from_secs(2),
    stall: Duration::from_secs(1),
};
const STAGE2: &str = "images/install.img";

fn content(kind: u8) -> Vec<u8> {
    (0..100_000_u32)
        .map(|at| (at as u8).wrapping_mul(kind))
        .collect()
}

fn mirror() -> Mirror {
    let mirror = Mirror::plain();
    mirror.tree(b"kernel", b"initrd", &content(7));
    mirror
}

fn url(mirror: &Mirror) -> String {
    format!("http://{}{TREE}", mirror.address)
}

/// As the platform describes it.
fn tree() -> Tree {
    Platform::load("centos-stream-9").unwrap().tree.unwrap()
}

fn fetch(mirror: &Mirror, cache: &Path) -> anyhow::Result<Installer> {
    mirror::installer(&url(mirror), &tree(), &[], cache, SHORT, &Report::new(0))
}

/// The class and the text of what went wrong.
fn refused(mirror: &Mirror) -> (u8, String) {
    let cache = tempfile::tempdir().unwrap();
    let error = fetch(mirror, cache.path()).unwrap_err();
    (Class::of(&error).exit_code(), format!("{error:#}"))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn an_installer_comes_whole_and_only_once() {
    let (mirror, cache) = (mirror(), tempfile::tempdir().unwrap());
    let installer = fetch(&mirror, cache.path()).unwrap();
    assert_eq!(read(&installer.kernel), b"kernel");
    assert_eq!(read(&installer.initrd), b"initrd");
    assert_eq!(read(&installer.stage2), content(7));
    assert_eq!(mirror.requests().len(), 4);
    // The tree is asked whether it is still the same; nothing else is fetched.
    assert_eq!(fetch(&mirror, cache.path()).unwrap(), installer);
    assert_eq!(mirror.requests(), [format!("{TREE}.treeinfo")]);
    let trees = cache.path().join("trees").read_dir().unwrap().count();
    assert_eq!(trees, 1, "nothing but the tree is left");
}

#[test]
fn a_download_that_broke_off_goes_on_where_it_was() {
    let (mirror, cache) = (mirror(), tempfile::tempdir().unwrap());
    let path = format!("{TREE}{STAGE2}");
    mirror.set(&path, Conduct::CloseAfter(content(7), 60_000));
    let error = fetch(&mirror, cache.path()).unwrap_err();
    assert_eq!(Class::of(&error), Class::Network);
    assert_eq!(
        format!("{error:#}"),
        format!(
            "fetching {}{STAGE2}: the mirror ended after 60000 bytes, before the end of the \
             file\nhint: run it again: what has arrived is kept",
            url(&mirror)
        )
    );
    mirror.requests();
    mirror.set(&path, Conduct::Serve(content(7)));
    let installer = fetch(&mirror, cache.path()).unwrap();
    assert_eq!(read(&installer.stage2), content(7));
    let asked = mirror.requests();
    assert_eq!(
        asked,
        [format!("{TREE}.treeinfo"), format!("{path} 60000-")]
    );
}

#[test]
fn half_a_file_of_another_build_is_fetched_anew() {
    let (mirror, cache) = (mirror(), tempfile::tempdir().unwrap());
    let path = format!("{TREE}{STAGE2}");
    mirror.set(&path, Conduct::CloseAfter(content(9), 60_000));
    fetch(&mirror, cache.path()).unwrap_err();
    mirror.set(&path, Conduct::Serve(content(7)));
    let installer = fetch(&mirror, cache.path()).unwrap();
    assert_eq!(read(&installer.stage2), content(7));
}

#[test]
fn a_mirror_that_cannot_resume_is_asked_for_all_of_it() {
    let (mirror, cache) = (mirror(), tempfile::tempdir().unwrap());
    let path = format!("{TREE}{STAGE2}");
    mirror.set(&path, Conduct::CloseAfter(content(7), 60_000));
    fetch(&mirror, cache.path()).unwrap_err();
    mirror.set(&path, Conduct::IgnoreRange(content(7)));
    let installer = fetch(&mirror, cache.path()).unwrap();
    assert_eq!(read(&installer.stage2), content(7));
}

#[test]
fn what_is_not_what_was_promised_is_refused_and_not_kept() {
    let (mirror, cache) = (mirror(), tempfile::tempdir().unwrap());
    mirror.set(&format!("{TREE}{STAGE2}"), Conduct::Serve(content(9)));
    let error = fetch(&mirror, cache.path()).unwrap_err();
    assert_eq!(Class::of(&error), Class::Refused);
    let text = format!("{error:#}");
    let begin = format!("fetching {}{STAGE2}: its SHA-256 is ", url(&mirror));
    assert!(text.starts_with(&begin), "{text}");
    assert!(text.contains(", its .treeinfo promises "), "{text}");
    assert!(
        text.contains("\nhint: the mirror is between two composes"),
        "{text}"
    );
    let left = cache.path().join("trees").read_dir().unwrap();
    for tree in left {
        let names: Vec<_> = tree.unwrap().path().read_dir().unwrap().collect();
        assert_eq!(
            names.len(),
            2,
            "only the kernel and its RAM disk: {names:?}"
        );
    }
}

#[test]
fn each_way_in_which_a_mirror_fails_has_its_own_words() {
    let mirror = mirror();
    let url = url(&mirror);
    let treeinfo = format!("{TREE}.treeinfo");
    mirror.set(&treeinfo, Conduct::Status(404));
    assert_eq!(
        refused(&mirror),
        (
            4,
            format!(
                "fetching {url}.treeinfo: the mirror does not have it (HTTP 404)\n\
                 hint: the tree has moved: name a dated compose as main under \
                 [platform.mirrors], or, if the stream has ended, main = \
                 \"https://vault.centos.org/9-stream\" and sigs = \
                 \"https://vault.centos.org/SIGs/9-stream\""
            )
        )
    );
    mirror.set(&treeinfo, Conduct::Status(503));
    let (class, text) = refused(&mirror);
    assert_eq!(class, 4);
    assert!(
        text.contains(".treeinfo: the mirror answered with HTTP 503\nhint: "),
        "{text}"
    );
    mirror.set(&treeinfo, Conduct::Serve(vec![b'x'; 2 << 20]));
    let (class, text) = refused(&mirror);
    assert_eq!(class, 4);
    assert!(
        text.contains("it is larger than the 1048576 bytes it may have"),
        "{text}"
    );
    mirror.set(&treeinfo, Conduct::Serve(b"<html>Welcome</html>".to_vec()));
    let (class, text) = refused(&mirror);
    assert_eq!(class, 5);
    assert!(
        text.contains(".treeinfo: it has no arch under [general]\nhint: "),
        "{text}"
    );
    mirror.set(&treeinfo, Conduct::StallAfter(b"[general]\n".repeat(9), 20));
    let (class, text) = refused(&mirror);
    assert_eq!(class, 4);
    assert!(text.contains("Operation too slow"), "{text}");
}

#[test]
fn a_tree_of_another_version_is_refused() {
    let (mirror, cache) = (mirror(), tempfile::tempdir().unwrap());
    let url = url(&mirror);
    let newer = Tree {
        version: "10".into(),
        ..tree()
    };
    let error = mirror::installer(&url, &newer, &[], cache.path(), SHORT, &Report::new(0));
    let error = error.unwrap_err();
    assert_eq!(Class::of(&error), Class::Refused);
    assert_eq!(
        format!("{error:#}"),
        format!(
            "{url}.treeinfo is of version 9, not 10\n\
             hint: give the address of a tree of CentOS Stream 10 under [platform.mirrors]"
        )
    );
}

#[test]
fn a_mirror_that_is_not_there_or_says_nothing_is_told_soon() {
    let cache = tempfile::tempdir().unwrap();
    let ask = |address: std::net::SocketAddr| {
        let url = format!("http://{address}/");
        let error = mirror::installer(&url, &tree(), &[], cache.path(), SHORT, &Report::new(0));
        let error = error.unwrap_err();
        assert_eq!(Class::of(&error), Class::Network);
        format!("{error:#}")
    };
    let text = ask(stand_in::nobody());
    assert!(
        text.contains("Failed to connect") || text.contains("Couldn't connect"),
        "{text}"
    );
    let (_listener, address) = stand_in::mute();
    let text = ask(address);
    assert!(text.contains("Operation too slow"), "{text}");
}

/// Before anything large is fetched.
#[test]
fn a_repository_that_is_not_there_is_named() {
    let (mirror, cache) = (mirror(), tempfile::tempdir().unwrap());
    let paths = ["/9-stream/AppStream/", "/SIGs/cloud/openstack-antelope/"];
    let repositories = paths.map(|path| format!("http://{}{path}", mirror.address));
    let fetch = || {
        let (url, cache) = (url(&mirror), cache.path());
        mirror::installer(&url, &tree(), &repositories, cache, SHORT, &Report::new(0))
    };
    let [description, missing] = paths.map(|path| format!("{path}repodata/repomd.xml"));
    mirror.set(&description, Conduct::Serve(b"<repomd/>".to_vec()));
    let error = fetch().unwrap_err();
    assert_eq!(Class::of(&error), Class::Network);
    assert_eq!(
        format!("{error:#}"),
        format!(
            "fetching http://{}{missing}: the mirror does not have it (HTTP 404)\n\
             hint: a release that has ended is moved away: give its address as sigs (or main) \
             under [platform.mirrors], which may be \"https://vault.centos.org/SIGs/9-stream\", or \
             ask for another release",
            mirror.address
        )
    );
    let treeinfo = format!("{TREE}.treeinfo");
    let asked = mirror.requests();
    assert_eq!(asked, [treeinfo, description, missing.clone()]);

    // What a server that answers everything says.
    mirror.set(&missing, Conduct::Serve(b"<html>Welcome</html>".to_vec()));
    let error = fetch().unwrap_err();
    assert_eq!(Class::of(&error), Class::Refused);
    assert_eq!(
        format!("{error:#}"),
        format!(
            "http://{}{missing} is no repository's\n\
             hint: name another mirror under [platform.mirrors]",
            mirror.address
        )
    );
    mirror.set(&missing, Conduct::Serve(b"<repomd/>".to_vec()));
    fetch().unwrap();
}

#[test]
fn an_old_tree_makes_room_for_the_third() {
    let (mirror, cache) = (mirror(), tempfile::tempdir().unwrap());
    let mut trees = Vec::new();
    for kind in [1, 2, 3] {
        mirror.tree(b"kernel", b"initrd", &content(kind));
        trees.push(fetch(&mirror, cache.path()).unwrap().stage2);
    }
    let there: Vec<bool> = trees.iter().map(|tree| tree.exists()).collect();
    assert_eq!(there, [false, true, true]);
}

/// Over TLS, as the program does it: a certificate that nobody vouches for is refused, one that this
/// host trusts is not, and nobody is sent from https to http.
#[test]
fn tls_is_checked_and_never_left() {
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("authority.pem");
    let mirror = Mirror::secure(&authority);
    mirror.tree(b"kernel", b"initrd", &content(7));
    mirror.repositories();
    let at = |path: &str| format!("https://{}{path}", mirror.address);
    let mirrors = format!("main = {:?}, sigs = {:?}", at("/9-stream"), at(SIGS));
    let platform =
        format!("platform = {{ name = \"centos-stream-9\", mirrors = {{ {mirrors} }} }}\n");
    let site = site(directory.path(), &format!("{SITE}{platform}"));
    let build = |authority: Option<&Path>| {
        let cache = directory
            .path()
            .join("cache")
            .to_string_lossy()
            .into_owned();
        // No agent, so that it ends where the installer is there and nothing was installed yet.
        let mut command = Cmd::new(env!("CARGO_BIN_EXE_cellboot"))
            .args([
                "build", "--site", &site, "--cache", &cache, "--agent", "/bin/sh",
            ])
            .directory(env!("CARGO_MANIFEST_DIR"));
        if let Some(authority) = authority {
            command = command.env("CURL_CA_BUNDLE", authority.to_string_lossy());
        }
        said(&command.any_status().unwrap())
    };
    let (code, text) = build(None);
    assert_eq!(code, Some(4));
    assert!(
        text.contains(".treeinfo: SSL certificate problem: self-signed certificate\nhint: "),
        "{text}"
    );
    assert!(
        text.contains("hint: name = \"debian-12\" under [platform]"),
        "{text}"
    );

    let (code, text) = build(Some(&authority));
    let fetched = "whole, with the checksums of its .treeinfo";
    assert!(
        text.contains(fetched) && text.contains("it is not static"),
        "{text}"
    );
    assert_eq!(code, Some(5), "{text}");

    let plain = Mirror::plain();
    plain.tree(b"kernel", b"initrd", b"other");
    let elsewhere = format!("http://{}{TREE}.treeinfo", plain.address);
    mirror.set(&format!("{TREE}.treeinfo"), Conduct::Redirect(elsewhere));
    let (code, text) = build(Some(&authority));
    assert_eq!(code, Some(4), "{text}");
    assert!(plain.requests().is_empty(), "it went to http: {text}");
}

/// A site that leaves the platform open gets what can be fetched, and is told why it is not the other.
#[test]
fn an_open_platform_is_the_one_whose_mirror_answers() {
    let directory = tempfile::tempdir().unwrap();
    let mirror = mirror();
    let main = format!("http://{}/9-stream", mirror.address);
    let open = format!("platform = {{ mirrors = {{ main = \"{main}\" }} }}\n");
    let site = site(directory.path(), &format!("{SITE}{open}"));
    let plan = || {
        let output = Cmd::new(env!("CARGO_BIN_EXE_cellboot"))
            .args([
                "plan", "--json", "--site", &site, "--agent", "/bin/sh", "--cache",
            ])
            .path(directory.path().join("cache"))
            .arg("--out")
            .path(directory.path().join("out"))
            .directory(env!("CARGO_MANIFEST_DIR"))
            .any_status()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (
            plan["platform"].as_str().unwrap().to_owned(),
            said(&output).1,
        )
    };
    mirror.tree(b"kernel", b"initrd", b"stage2");
    assert_eq!(plan(), ("centos-stream-9".to_owned(), String::new()));
    mirror.set(&format!("{TREE}.treeinfo"), Conduct::Status(404));
    let (platform, said) = plan();
    assert_eq!(platform, "debian-12");
    let expected = format!(
        "PLATFORM: debian-12, because no mirror of centos-stream-9 answers: {main}/BaseOS/x86_64/os/\
         .treeinfo: curl: (22) The requested URL returned error: 404; a site that names its platform \
         gets no other\n"
    );
    assert_eq!(said, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Wherever a download breaks off, the next one ends with the same bytes.
    #[test]
    fn any_place_to_break_off_is_as_good(at in 0_usize..100_000) {
        let (mirror, cache) = (mirror(), tempfile::tempdir().unwrap());
        let path = format!("{TREE}{STAGE2}");
        mirror.set(&path, Conduct::CloseAfter(content(7), at));
        fetch(&mirror, cache.path()).unwrap_err();
        mirror.set(&path, Conduct::Serve(content(7)));
        let installer = fetch(&mirror, cache.path()).unwrap();
        prop_assert_eq!(read(&installer.stage2), content(7));
    }
}
