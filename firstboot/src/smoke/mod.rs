//! `firstboot verify --smoke`: an instance on each compute, from nothing to its first word.
//!
//! ```text
//! image, flavor, network ─▶ one instance a host ─▶ ACTIVE ─▶ its console speaks ─▶ all removed
//! ```
//!
//! ACTIVE proves scheduling, the image's way to the host, the port's wiring and the address that
//! DHCP keeps for it; the sentence proves that the guest really runs. Everything is made by name, so
//! that what an earlier run left when it was killed is found and removed by the next one.

pub mod boot_sector;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::interrupt;
use crate::resource::openstack::{Session, compute, image, network, server};
use crate::wait::{self, Probe};

/// The name of everything that is made; an instance has its host's name besides.
const NAME: &str = "cellboot-smoke";
/// Addresses that are reserved for documentation: no site's own network has them.
const SUBNET: &str = "192.0.2.0/24";
/// Emulated processors inside emulated processors are slow.
const ACTIVE: Duration = Duration::from_secs(1800);
const SPEAKS: Duration = Duration::from_secs(900);
const REMOVED: Duration = Duration::from_secs(600);

/// What became of the instance of one host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// The host.
    pub host: String,
    /// Seconds from the request to ACTIVE.
    pub active_seconds: f64,
    /// Seconds from the request to the guest's first word.
    pub speaks_seconds: f64,
}

/// Makes an instance on each of these hosts, or on every compute that takes instances, and
/// removes all of it again; `say` is told how far it is.
///
/// # Errors
/// When no host takes instances, an instance does not come up or stays silent, or something
/// cannot be removed.
pub fn run(session: &Session, hosts: &[String], mut say: impl FnMut(&str)) -> Result<Vec<Found>> {
    let hosts = chosen(&compute::services(session)?, hosts)?;
    remove(session).context("removing what an earlier run left")?;
    let found = prove(session, &hosts, &mut say);
    if interrupt::requested() {
        // The request is answered by removing everything; a second one ends that too.
        interrupt::forget();
    }
    say("removing what was made");
    let removed = remove(session).context("removing what was made");
    // What went wrong first is what matters.
    let found = found?;
    removed?;
    Ok(found)
}

/// The hosts to prove: those that are named, or all that take instances.
fn chosen(services: &[compute::ComputeService], wanted: &[String]) -> Result<Vec<String>> {
    let computes: Vec<_> = services
        .iter()
        .filter(|service| service.binary == "nova-compute")
        .collect();
    for name in wanted {
        let Some(service) = computes.iter().find(|service| service.host == *name) else {
            let known: Vec<_> = computes
                .iter()
                .map(|service| service.host.as_str())
                .collect();
            bail!(
                "no compute is called {name}\nhint: Nova knows {}",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            );
        };
        if service.status != "enabled" || service.state != "up" {
            bail!(
                "{name} takes no instances: its nova-compute is {} and {}\n\
                 hint: `firstboot node list` shows how far its join is",
                service.status,
                service.state
            );
        }
    }
    if !wanted.is_empty() {
        return Ok(wanted.to_vec());
    }
    let usable = computes
        .iter()
        .filter(|service| service.status == "enabled" && service.state == "up");
    let hosts: Vec<String> = usable.map(|service| service.host.clone()).collect();
    if hosts.is_empty() {
        bail!(
            "no compute takes instances: {} of them are known, none is up and enabled\n\
             hint: power on a compute and wait for its JOINED; `firstboot node list` shows how far it is",
            computes.len()
        );
    }
    Ok(hosts)
}

fn prove(session: &Session, hosts: &[String], say: &mut impl FnMut(&str)) -> Result<Vec<Found>> {
    say("making an image, a flavor and a network");
    let image = image::create(session, NAME, &boot_sector::image())?;
    let flavor = server::create_flavor(session, NAME)?;
    let network = network::create(session, NAME, SUBNET)?;
    let mut instances = Vec::new();
    for host in hosts {
        let name = format!("{NAME}-{host}");
        let wanted = server::Wanted {
            name: &name,
            image: &image,
            flavor: &flavor,
            network: &network,
            host,
        };
        instances.push((host, server::create(session, &wanted)?, Instant::now()));
    }
    let mut found = Vec::new();
    for (host, id, began) in &instances {
        say(&format!("waiting for the instance on {host}"));
        wait::until(
            &format!("the instance on {host} to be ACTIVE"),
            ACTIVE,
            || active(host, &server::show(session, id)?),
        )?;
        let active_seconds = began.elapsed().as_secs_f64();
        wait::until(&format!("the instance on {host} to speak"), SPEAKS, || {
            Ok(spoke(&server::console_output(session, id)?))
        })
        .with_context(|| {
            format!(
                "the instance on {host} is ACTIVE, and its guest does not run\n\
                     hint: look at /var/log/libvirt/qemu on {host}"
            )
        })?;
        found.push(Found {
            host: (*host).clone(),
            active_seconds,
            speaks_seconds: began.elapsed().as_secs_f64(),
        });
    }
    Ok(found)
}

fn active(host: &str, server: &server::Server) -> Result<Probe<()>> {
    match server.status.as_str() {
        "ACTIVE" => Ok(Probe::Ready(())),
        "ERROR" => bail!(
            "the instance on {host} failed: {}\n\
             hint: read /var/log/nova/nova-compute.log on {host} and nova-conductor.log here",
            server.fault().unwrap_or("Nova does not say why")
        ),
        other => Ok(Probe::NotYet(format!("it is {other}"))),
    }
}

fn spoke(output: &str) -> Probe<()> {
    if output.contains(boot_sector::SENTENCE) {
        return Probe::Ready(());
    }
    let last = output.lines().rfind(|line| !line.trim().is_empty());
    Probe::NotYet(match last {
        Some(line) => format!("its console ends with {:?}", line.trim()),
        None => "its console is empty".to_owned(),
    })
}

/// Removes everything of this name, instances first: they hold the others.
fn remove(session: &Session) -> Result<()> {
    for id in server::find(session, NAME)? {
        server::delete(session, &id)?;
    }
    wait::until("the instances to be gone", REMOVED, || {
        Ok(match server::find(session, NAME)?.len() {
            0 => Probe::Ready(()),
            count => Probe::NotYet(format!("{count} are there")),
        })
    })?;
    for id in network::find(session, NAME)? {
        network::delete(session, &id)?;
    }
    for id in server::find_flavors(session, NAME)? {
        server::delete_flavor(session, &id)?;
    }
    for id in image::find(session, NAME)? {
        image::remove(session, &id)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(host: &str, status: &str, state: &str) -> compute::ComputeService {
        // As in the compute API's reference.
        serde_json::from_value(serde_json::json!({
            "id": "s", "binary": "nova-compute", "host": host, "status": status, "state": state,
        }))
        .unwrap()
    }

    #[test]
    fn every_compute_that_takes_instances_is_proved() {
        let services = [
            service("one", "enabled", "up"),
            service("two", "disabled", "up"),
            service("three", "enabled", "down"),
        ];
        assert_eq!(chosen(&services, &[]).unwrap(), ["one"]);
        assert_eq!(chosen(&services, &["one".to_owned()]).unwrap(), ["one"]);
    }

    #[test]
    fn a_host_that_takes_none_is_told_with_its_state() {
        let services = [service("two", "disabled", "up")];
        let message = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            chosen(&services, &wanted).unwrap_err().to_string()
        };
        assert_eq!(
            message(&["two"]),
            "two takes no instances: its nova-compute is disabled and up\n\
             hint: `firstboot node list` shows how far its join is"
        );
        assert_eq!(
            message(&["four"]),
            "no compute is called four\nhint: Nova knows two"
        );
        assert_eq!(
            message(&[]),
            "no compute takes instances: 1 of them are known, none is up and enabled\n\
             hint: power on a compute and wait for its JOINED; `firstboot node list` shows how \
             far it is"
        );
    }

    #[test]
    fn a_silent_guest_is_told_by_its_last_line() {
        assert!(matches!(
            spoke("SeaBIOS\r\ncellboot: this instance runs\r\n"),
            Probe::Ready(())
        ));
        let Probe::NotYet(last) = spoke("SeaBIOS (version 1.16)\r\n\r\n") else {
            panic!("it has not spoken");
        };
        assert_eq!(last, "its console ends with \"SeaBIOS (version 1.16)\"");
    }
}
