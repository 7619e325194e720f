//! `cellboot plan` and `cellboot build`, as far as no package has to be installed.

use std::path::Path;

use firstboot::cmd::{Cmd, Output};

use super::{SITE, said, site};

/// Runs the builder in the checkout, with a cache and results of its own.
fn cellboot(directory: &Path, verb: &str, site: &str, args: &[&str]) -> Output {
    let below = |name: &str| directory.join(name).to_string_lossy().into_owned();
    Cmd::new(env!("CARGO_BIN_EXE_cellboot"))
        .args([verb, "--site", site])
        .args(["--cache".to_owned(), below("cache")])
        .args(["--out".to_owned(), below("out")])
        .args(args.iter().copied())
        .directory(env!("CARGO_MANIFEST_DIR"))
        .any_status()
        .unwrap()
}

#[test]
fn a_plan_names_every_layer_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let site = site(directory.path(), SITE);
    let output = cellboot(directory.path(), "plan", &site, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let layers: Vec<_> = plan["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| {
            let text = |key: &str| layer[key].as_str().unwrap_or("").to_owned();
            (text("layer"), text("role"), text("key").len())
        })
        .collect();
    let expected = [
        ("base", ""),
        ("role", "controller"),
        ("role", "compute"),
        ("image", "controller"),
        ("image", "compute"),
    ];
    let expected = expected.map(|(layer, role)| (layer.to_owned(), role.to_owned(), 32));
    assert_eq!(layers, expected);
    let left: Vec<_> = directory.path().read_dir().unwrap().collect();
    assert_eq!(left.len(), 1, "plan wrote something: {left:?}");
}

#[test]
fn a_site_that_pins_another_platform_never_falls_back() {
    let directory = tempfile::tempdir().unwrap();
    // Port 1 of loopback: nobody is there.
    let mirrors = r#"{ main = "http://127.0.0.1:1/9" }"#;
    let platform = format!("{{ name = \"centos-stream-9\", mirrors = {mirrors} }}");
    let site = site(directory.path(), &format!("{SITE}platform = {platform}\n"));
    let output = cellboot(directory.path(), "build", &site, &[]);
    let (code, text) = said(&output);
    assert_eq!(code, Some(4), "{text}");
    let begin = "cellboot: fetching http://127.0.0.1:1/9/BaseOS/x86_64/os/.treeinfo: ";
    assert!(text.starts_with(begin), "{text}");
    assert!(
        text.ends_with(
            "hint: name = \"debian-12\" under [platform] builds from Debian's archive\n"
        ),
        "{text}"
    );
    assert!(!directory.path().join("out").exists());
    let output = cellboot(
        directory.path(),
        "build",
        &site,
        &["--platform", "debian-12"],
    );
    let expected = format!(
        "cellboot: the site is for centos-stream-9, not for debian-12\n\
         hint: leave --platform out, or change platform.name in {site}\n"
    );
    assert_eq!(said(&output), (Some(2), expected));
}

#[test]
fn a_dynamic_agent_is_refused_before_any_image_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let agent = cellboot::agent::Agent::File(env!("CARGO_BIN_EXE_cellboot").into());
    let error = agent.program(&directory.path().join("log")).unwrap_err();
    assert_eq!(cellboot::fault::Class::of(&error).exit_code(), 5);
}
