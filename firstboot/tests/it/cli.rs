//! The program itself, on a machine that is no node.

use std::path::Path;

use firstboot::cmd::{Cmd, Output};
use firstboot::paths;

fn firstboot(arguments: &[&str]) -> Output {
    Cmd::new(env!("CARGO_BIN_EXE_firstboot"))
        .args(arguments.iter().copied())
        .any_status()
        .unwrap()
}

#[test]
fn looking_at_a_machine_without_a_seed_is_a_configuration_error() {
    assert!(
        !Path::new(paths::NODE_CONFIG).exists(),
        "this machine is a node"
    );
    for verb in [&["check"][..], &["plan", "--json"], &["graph", "--dot"]] {
        let output = firstboot(verb);
        assert_eq!(output.status.code(), Some(2), "{verb:?}");
        assert_eq!(output.stdout, b"", "{verb:?}");
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "firstboot: reading the node: there is no /etc/cellboot/node.toml\n\
             hint: attach the node's seed and power on again\n",
            "{verb:?}"
        );
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [&["bogus"][..], &[], &["graph", "--json", "--dot"]] {
        assert_eq!(firstboot(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
