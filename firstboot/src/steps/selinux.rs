//! SELinux, where the platform has it: what of its policy OpenStack needs, and what it has denied.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cmd::Cmd;
use crate::config::Role;
use crate::node::Node;
use crate::platform::Platform;
use crate::resource::selinux;
use crate::step::{Check, Step};

/// The step that the agents of Neutron start after.
pub(super) const BOOLEANS: &str = "selinux/booleans";
/// The first two are off in openstack-selinux until somebody asks for them: without them Neutron's
/// agents cannot start the helper that has their privileges, and dnsmasq cannot write its leases below
/// a directory of Neutron's (puppet-openstack-integration, `neutron.pp`, has them on). The others are
/// what the package switches on when it is installed, as far as these nodes would not work without;
/// nobody has seen yet that it does so inside an installer.
const NEEDED: [&str; 9] = [
    "os_neutron_dac_override",
    "os_dnsmasq_dac_override",
    "os_haproxy_dac_override",
    "os_httpd_wsgi",
    "httpd_use_openstack",
    "httpd_can_network_connect",
    "glance_api_can_network",
    "neutron_can_network",
    "virt_use_execmem",
];
const AUDIT_LOG: &str = "/var/log/audit/audit.log";

pub(super) fn steps(platform: &Platform, role: Role) -> Vec<Step> {
    if !platform.programs.contains_key("setsebool") {
        return Vec::new();
    }
    let last = match role {
        Role::Controller => "verify/network",
        Role::Compute => "join/mapped",
    };
    vec![
        Step::new("selinux/enforcing", "the policy of SELinux is enforced")
            .needs(["base/preflight"])
            .hint("`setenforce 1`, and SELINUX=enforcing in /etc/selinux/config")
            .check(|_| Ok(enforced(selinux::enforced()?))),
        Step::new(BOOLEANS, "the policy lets OpenStack do what it must")
            .needs(["base/preflight"])
            .hint("look at the policy: `getsebool -a | grep -E 'os_|neutron|httpd'`")
            .weight(10)
            .check(|context| {
                if selinux::enforced()?.is_none() {
                    return Ok(Check::Done);
                }
                Ok(booleans(&values(context)?))
            })
            .apply(|context| {
                let values = values(context)?;
                let off = values.iter().filter(|(_, value)| *value == Boolean::Off);
                Cmd::new(context.platform.program("setsebool")?)
                    .arg("-P")
                    .args(off.map(|(name, _)| format!("{name}=on")))
                    .run()
            }),
        Step::new(
            "selinux/denials",
            "nothing was denied since the machine started",
        )
        .needs([last])
        .hint("`ausearch -m AVC -ts boot | audit2why` explains each")
        .check(|context| {
            // It ends with 1 where it finds nothing.
            let found = Path::new(AUDIT_LOG).exists().then(|| {
                Cmd::new(context.platform.program("ausearch")?)
                    .args(["--input-logs", "--raw", "--start", "boot"])
                    .args(["--message", "AVC,USER_AVC"])
                    .any_status()
            });
            let found = found.transpose()?;
            let text = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            Ok(denials(&text.unwrap_or_default()))
        }),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boolean {
    On,
    Off,
    /// The policy has none of this name.
    Unknown,
}

fn values(node: &Node) -> Result<Vec<(&'static str, Boolean)>> {
    let program = node.platform.program("getsebool")?;
    let value = |name| {
        let said = Cmd::new(program).arg(name).any_status()?;
        Ok((name, value(&String::from_utf8_lossy(&said.stdout))))
    };
    let values: Result<_> = NEEDED.into_iter().map(value).collect();
    values.context("asking for the booleans of the policy")
}

/// As in `os_neutron_dac_override --> off`; of a boolean that it does not know getsebool says
/// something on its standard error alone.
fn value(said: &str) -> Boolean {
    match said.trim().rsplit_once("--> ") {
        Some((_, "on")) => Boolean::On,
        Some(_) => Boolean::Off,
        None => Boolean::Unknown,
    }
}

fn booleans(values: &[(&str, Boolean)]) -> Check {
    let of = |wanted| {
        let found = values.iter().filter(move |(_, value)| *value == wanted);
        found.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    let (off, unknown) = (of(Boolean::Off), of(Boolean::Unknown));
    match (off.as_str(), unknown.as_str()) {
        ("", "") => Check::Done,
        ("", unknown) => Check::Warn(format!(
            "the policy does not know {unknown}: is openstack-selinux another than expected?"
        )),
        (off, _) => Check::Todo(format!("off: {off}")),
    }
}

fn enforced(enforced: Option<bool>) -> Check {
    match enforced {
        Some(true) => Check::Done,
        Some(false) => {
            Check::Warn("SELinux is permissive: it only writes down what it would deny".into())
        }
        None => Check::Warn("SELinux is off".into()),
    }
}

fn denials(log: &str) -> Check {
    let mut denied = log.lines().filter(|line| line.contains("denied"));
    match denied.next() {
        None => Check::Done,
        Some(first) => Check::Warn(format!(
            "SELinux denied {}; first: {first}",
            1 + denied.count()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_read_as_getsebool_says_them() {
        assert_eq!(value("os_neutron_dac_override --> on\n"), Boolean::On);
        assert_eq!(value("virt_use_execmem --> off\n"), Boolean::Off);
        assert_eq!(value(""), Boolean::Unknown);
    }

    #[test]
    fn what_is_off_is_to_do_and_what_is_unknown_is_told() {
        use Boolean::{Off, On, Unknown};
        assert_eq!(booleans(&[("a", On), ("b", On)]), Check::Done);
        assert_eq!(
            booleans(&[("a", Off), ("b", Unknown), ("c", Off)]),
            Check::Todo("off: a, c".into())
        );
        assert_eq!(
            booleans(&[("a", On), ("b", Unknown)]),
            Check::Warn(
                "the policy does not know b: is openstack-selinux another than expected?".into()
            )
        );
    }

    #[test]
    fn a_machine_without_selinux_is_told_from_a_permissive_one() {
        assert_eq!(enforced(Some(true)), Check::Done);
        assert_eq!(enforced(None), Check::Warn("SELinux is off".into()));
        assert_eq!(
            enforced(Some(false)),
            Check::Warn("SELinux is permissive: it only writes down what it would deny".into())
        );
    }

    #[test]
    fn denials_are_counted_and_the_first_is_shown() {
        let line = "type=AVC msg=audit(1.2:3): avc:  denied  { read } for  pid=7 comm=\"httpd\"";
        assert_eq!(denials("<no matches>\n"), Check::Done);
        let log = format!("{line}\ntype=SYSCALL msg=audit(1.2:3): arch=c000003e\n{line}\n");
        assert_eq!(
            denials(&log),
            Check::Warn(format!("SELinux denied 2; first: {line}"))
        );
    }
}
