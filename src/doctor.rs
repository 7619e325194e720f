//! What this host needs to build images and boot them, looked at item by item; each with its fix.
//!
//! Only looks: nothing is installed or changed here (`make images` installs what it misses).

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use firstboot::cmd::Cmd;
use firstboot::files;
use firstboot::kvm;
use serde::Serialize;

use crate::host::{self, Program};
use crate::lab::accel;
use crate::lab::machine::OVMF;

/// How an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// As it should be.
    Good,
    /// Works, but slower or with less than one might expect.
    Poor,
    /// Needed and not there.
    Lacking,
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What was looked at.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// What was found.
    pub found: String,
    /// What to do, where there is something to do.
    pub fix: String,
}

impl Item {
    fn good(name: &str, found: impl Into<String>) -> Self {
        Self::new(name, Standing::Good, found, "")
    }

    fn new(
        name: &str,
        standing: Standing,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            standing,
            found: found.into(),
            fix: fix.into(),
        }
    }
}

/// Space that a build of both images and their cache takes.
const DISK_GIB: u64 = 12;
/// Memory of a controller in the lab, with what QEMU needs besides.
const MEMORY_GIB: u64 = 7;
const GIB: u64 = 1024 * 1024 * 1024;
/// What APT, TLS and Keystone's tokens bear without a complaint.
const MOST_SKEW: Duration = Duration::from_secs(60);
const NETWORK_DEADLINE: Duration = Duration::from_secs(5);

/// What is looked at besides the host itself.
pub struct Subject<'a> {
    /// Directories that are written to.
    pub directories: &'a [PathBuf],
    /// Where packages come from.
    pub mirror: &'a str,
    /// The kernel of a built image, for the probe boot of KVM.
    pub kernel: Option<Vec<u8>>,
    /// Where the probe's answer is kept.
    pub cache: &'a Path,
}

/// Looks at everything.
pub fn examine(subject: &Subject) -> Result<Vec<Item>> {
    let programs = host::BUILD.iter().chain(host::LAB);
    let mut items: Vec<Item> = programs.map(installed).collect();
    items.push(firmware());
    if !rustix::process::getuid().is_root() {
        items.extend(rootless()?);
    }
    for directory in subject.directories {
        items.push(space(directory)?);
    }
    items.push(memory()?);
    items.push(kvm(subject)?);
    items.extend(mirror(subject.mirror));
    Ok(items)
}

fn installed(&(name, package): &Program) -> Item {
    let Some(path) = host::find(name) else {
        let fix = format!("apt-get install {package}");
        return Item::new(name, Standing::Lacking, "not installed", fix);
    };
    Item::good(name, version(name, &path))
}

/// The first line that a program says about itself, or else where it is.
fn version(name: &str, path: &Path) -> String {
    let flag = match name {
        "mke2fs" | "debugfs" | "ssh" => "-V",
        _ => "--version",
    };
    let asked = Cmd::new(path).arg(flag).deadline(Duration::from_secs(20));
    let said = asked
        .output()
        .map(|output| [output.stdout, output.stderr].concat());
    let text = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
    match text.lines().next() {
        Some(line) if !line.is_empty() => line.to_owned(),
        _ => path.display().to_string(),
    }
}

fn firmware() -> Item {
    match OVMF.iter().find(|path| !Path::new(path).is_file()) {
        None => Item::good("UEFI firmware", OVMF[0]),
        Some(path) => Item::new(
            "UEFI firmware",
            Standing::Lacking,
            format!("there is no {path}"),
            "apt-get install ovmf",
        ),
    }
}

fn rootless() -> Result<Vec<Item>> {
    let user = Cmd::new("id").arg("-un").read()?.trim().to_owned();
    let mut items = Vec::new();
    let file = Path::new("/etc/subuid");
    let text = files::read_if_exists(file)?.unwrap_or_default();
    items.push(if has_range(&text, &user) {
        Item::good("subordinate users", format!("{user} is in /etc/subuid"))
    } else {
        Item::new(
            "subordinate users",
            Standing::Lacking,
            format!("{user} has no range of 65536 in /etc/subuid"),
            format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"),
        )
    });
    let namespace = Cmd::new("unshare").args(["--user", "--map-root-user", "true"]);
    items.push(if namespace.succeeds()? {
        Item::good("user namespaces", "an ordinary user can make one")
    } else {
        Item::new(
            "user namespaces",
            Standing::Lacking,
            "an ordinary user cannot make one",
            "sudo sysctl kernel.unprivileged_userns_clone=1, or run as root",
        )
    });
    Ok(items)
}

/// True if a line of `/etc/subuid` gives the user enough for a whole system.
fn has_range(subuid: &str, user: &str) -> bool {
    subuid.lines().any(|line| {
        let mut fields = line.split(':');
        let name = fields.next();
        let count = fields.nth(1).and_then(|count| count.parse::<u64>().ok());
        name == Some(user) && count.is_some_and(|count| count >= 65536)
    })
}

fn space(directory: &Path) -> Result<Item> {
    let mut existing = std::path::absolute(directory).context("looking for free space")?;
    while !existing.exists() && existing.pop() {}
    let context = || format!("looking for free space in {}", existing.display());
    let numbers = rustix::fs::statvfs(&existing).with_context(context)?;
    let gib = numbers.f_bavail * numbers.f_frsize / GIB;
    let name = format!("space in {}", directory.display());
    let found = format!("{gib} GiB free");
    Ok(if gib >= DISK_GIB {
        Item::good(&name, found)
    } else {
        let fix = format!("make {DISK_GIB} GiB free, or use `--out` and `--cache` elsewhere");
        Item::new(&name, Standing::Lacking, found, fix)
    })
}

fn memory() -> Result<Item> {
    let text = files::read_if_exists(Path::new("/proc/meminfo"))?.unwrap_or_default();
    let mib = available_mib(&text).context("reading /proc/meminfo")?;
    let found = format!("{:.1} GiB available", mib as f64 / 1024.0);
    Ok(if mib >= MEMORY_GIB * 1024 {
        Item::good("memory", found)
    } else {
        let fix = format!("a controller in the lab takes {MEMORY_GIB} GiB; builds need less");
        Item::new("memory", Standing::Poor, found, fix)
    })
}

fn available_mib(meminfo: &str) -> Option<u64> {
    let rest = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024)
}

fn kvm(subject: &Subject) -> Result<Item> {
    let slow = "machines of the lab are emulated, which works and is slow; \
                for KVM, load kvm_intel or kvm_amd and join the group kvm";
    let finding = match (&subject.kernel, kvm::device()) {
        (_, Err(reason)) => return Ok(Item::new("KVM", Standing::Poor, reason, slow)),
        (None, Ok(())) => {
            let found = "/dev/kvm opens; not tried, because no image is built yet";
            let fix = "run this again after `make images`: it boots the image's kernel";
            return Ok(Item::new("KVM", Standing::Poor, found, fix));
        }
        (Some(kernel), Ok(())) => accel::probe(kernel, subject.cache)?,
    };
    Ok(if finding.works {
        Item::good("KVM", finding.reason)
    } else {
        Item::new("KVM", Standing::Poor, finding.reason, slow)
    })
}

fn mirror(url: &str) -> Vec<Item> {
    if url.starts_with("https:") {
        let found =
            format!("{url} was not asked: what fetches packages speaks TLS, this check does not");
        return vec![Item::new("mirror", Standing::Poor, found, "")];
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(NETWORK_DEADLINE))
        .http_status_as_error(false)
        .user_agent("cellboot")
        .build()
        .into();
    let now = SystemTime::now();
    match agent.head(url).call() {
        Err(error) => {
            let found = format!("{url} does not answer: {error}");
            let fix = "check the network, or set `mirrors` under [platform] in site.toml";
            vec![Item::new("mirror", Standing::Lacking, found, fix)]
        }
        Ok(response) => {
            let status = response.status().as_u16();
            let date = response.headers().get("date");
            let date = date.and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
            let answered = Item::good("mirror", format!("{url} answers ({status})"));
            let clock = date.map(|date| clock(now, date));
            [Some(answered), clock].into_iter().flatten().collect()
        }
    }
}

fn clock(now: SystemTime, mirrors: SystemTime) -> Item {
    let skew = now
        .duration_since(mirrors)
        .unwrap_or_else(|error| error.duration());
    let found = format!("{} s from the mirror's", skew.as_secs());
    if skew <= MOST_SKEW {
        return Item::good("clock", found);
    }
    let fix = "set the clock; signatures and tokens are refused when it is wrong";
    Item::new("clock", Standing::Lacking, found, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_comes_with_its_package() {
        let item = installed(&("no-such-program", "no-such-package"));
        let fix = "apt-get install no-such-package";
        assert_eq!(
            item,
            Item::new("no-such-program", Standing::Lacking, "not installed", fix)
        );
    }

    #[test]
    fn a_range_has_to_be_the_users_and_large_enough() {
        let text = "alice:100000:65536\nbob:165536:10\n";
        for (user, enough) in [("alice", true), ("bob", false), ("carol", false)] {
            assert_eq!(has_range(text, user), enough, "{user}");
        }
    }

    #[test]
    fn memory_is_what_is_available_not_what_is_free() {
        let text = "MemTotal: 1024 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n";
        assert_eq!(available_mib(text), Some(8192));
        assert_eq!(available_mib("MemTotal: 1024 kB\n"), None);
    }

    #[test]
    fn a_clock_may_be_a_minute_off_either_way() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (seconds, standing) in [(60, Standing::Good), (61, Standing::Lacking)] {
            let skew = Duration::from_secs(seconds);
            assert_eq!(clock(now, now + skew).standing, standing, "ahead {seconds}");
            assert_eq!(
                clock(now, now - skew).standing,
                standing,
                "behind {seconds}"
            );
        }
    }

    #[test]
    fn a_mirror_that_does_not_answer_is_named() {
        let items = mirror("http://127.0.0.1:1/debian");
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].standing, Standing::Lacking);
        assert!(
            items[0]
                .found
                .starts_with("http://127.0.0.1:1/debian does not answer: ")
        );
    }
}
