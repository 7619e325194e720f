//! The clock. Nothing waits for it to be right: a site without a time server must come up too.

use anyhow::Result;

use super::shape;
use crate::cmd::Cmd;
use crate::node::Node;
use crate::step::{Check, Step};

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::configured(
            "chrony/config",
            "the time servers are the site's",
            &["chrony"],
        ),
        shape::running("chrony/running", "the clock is being kept", "chrony").needs([
            "chrony/config",
            "base/hostname",
            "base/resolver",
        ]),
        Step::new("chrony/sources", "a time server was heard")
            .needs(["chrony/running"])
            .hint("let the node reach one of site.ntp_servers on UDP port 123")
            .check(|context| sources(context)),
    ]
}

fn sources(node: &Node) -> Result<Check> {
    let chronyc = Cmd::new(node.platform.program("chronyc")?).args(["-n", "-c"]);
    let tracking = chronyc.clone().arg("tracking").any_status()?;
    if is_synchronised(&String::from_utf8_lossy(&tracking.stdout)) {
        return Ok(Check::Done);
    }
    let listed = chronyc.arg("sources").any_status()?;
    let unreachable = unreachable(&String::from_utf8_lossy(&listed.stdout));
    Ok(Check::Warn(match unreachable.as_slice() {
        [] => "the clock is not synchronised yet".to_owned(),
        names => format!(
            "the clock is not synchronised: no answer yet from {}",
            names.join(", ")
        ),
    }))
}

/// In the comma-separated form the third field is the stratum and the last the leap status. A
/// clock that only follows itself says stratum 10 and reference 127.127.1.1.
fn is_synchronised(tracking: &str) -> bool {
    let fields: Vec<_> = tracking.trim().split(',').collect();
    let follows_itself = fields.first() == Some(&"7F7F0101");
    !follows_itself && fields.last().is_some_and(|leap| *leap == "Normal")
}

/// Fields: mode, state, name, stratum, poll, reach (octal), ...
fn unreachable(sources: &str) -> Vec<String> {
    let fields = sources
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.get(5) == Some(&"0"))
        .filter_map(|fields| fields.get(2).map(|name| (*name).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_and_the_leap_status_tell() {
        let followed =
            "C0000201,192.0.2.1,3,1700000000.1,0.0,0.0,0.0,0.0,0.0,0.0,0.1,0.1,64.0,Normal\n";
        assert!(is_synchronised(followed));
        assert!(!is_synchronised(
            "7F7F0101,,10,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,Normal\n"
        ));
        assert!(!is_synchronised(
            "00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n"
        ));
        assert!(!is_synchronised(""));
    }

    #[test]
    fn sources_that_never_answered_are_named() {
        let sources =
            "^,?,192.0.2.1,0,6,0,4294967295,0.0,0.0,0.0\n^,*,192.0.2.2,2,6,17,20,0.0,0.0,0.0\n";
        assert_eq!(unreachable(sources), ["192.0.2.1"]);
    }
}
