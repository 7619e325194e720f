//! From a host that reports to a host in its cell: one `nova-manage` for all that wait.
//!
//! A return code is never the proof. A host is in its cell when Nova's table of hosts says so and
//! Placement has what it can give; only then is its service enabled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::join::protocol::{Membership, ReadyAnswer};
use crate::wait;

/// How long one request waits before it says what for; the protocol promises half a minute.
const PATIENCE: Duration = Duration::from_secs(25);
/// How old a look may be that another request took.
const FRESH: Duration = Duration::from_secs(1);
/// What a provider must have before an instance can be put there.
const CLASSES: [&str; 3] = ["VCPU", "MEMORY_MB", "DISK_GB"];

/// A nova-compute service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its UUID.
    pub id: String,
    /// True if it reports.
    pub is_up: bool,
    /// True if instances go there.
    pub is_enabled: bool,
}

/// How the hosts of the cloud stand, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The nova-compute service of each host.
    pub services: BTreeMap<String, Service>,
    /// Hosts whose Open vSwitch agent reports.
    pub switched: BTreeSet<String>,
    /// UUID of each host's hypervisor, which is that of its resource provider. Nova shows only
    /// those of hosts that are mapped.
    pub hypervisors: BTreeMap<String, String>,
    /// Name and UUID of the cell of each host that is mapped.
    pub cells: BTreeMap<String, (String, String)>,
}

/// The cloud, as far as a join needs it.
pub trait Cloud: Send + Sync {
    /// How the hosts stand now.
    fn view(&self) -> Result<View>;
    /// Has Nova map every host that reports and is in no cell yet.
    fn discover_hosts(&self) -> Result<()>;
    /// The resource classes of which a provider has any.
    fn inventories(&self, provider: &str) -> Result<BTreeSet<String>>;
    /// Lets instances onto the host of a service.
    fn enable(&self, service: &str) -> Result<()>;
}

/// Maps hosts, for many requests at once.
pub struct Discovery {
    cloud: Arc<dyn Cloud>,
    seen: Mutex<Option<(Instant, Arc<View>)>>,
    /// When the service of a host that is not placed yet was first seen to report.
    up_since: Mutex<BTreeMap<String, Instant>>,
    rounds: Mutex<Rounds>,
    ended: Condvar,
}

/// Runs of `discover_hosts`, by number.
#[derive(Default)]
struct Rounds {
    begun: u64,
    ended: u64,
}

/// What is missing, or that nothing is.
enum Standing {
    Missing(String),
    Unmapped,
    Mapped(Membership, Service),
}

impl Discovery {
    /// For this cloud.
    pub fn new(cloud: Arc<dyn Cloud>) -> Arc<Self> {
        Arc::new(Self {
            cloud,
            seen: Mutex::default(),
            up_since: Mutex::default(),
            rounds: Mutex::default(),
            ended: Condvar::new(),
        })
    }

    /// Brings a host into its cell as far as that goes within half a minute.
    pub fn place(self: &Arc<Self>, host: &str) -> ReadyAnswer {
        self.place_within(host, PATIENCE)
    }

    fn place_within(self: &Arc<Self>, host: &str, patience: Duration) -> ReadyAnswer {
        let deadline = Instant::now() + patience;
        let mut was_discovered = false;
        loop {
            let what = match self.step(host, deadline, &mut was_discovered) {
                Ok(Ok(mut membership)) => {
                    let since = lock(&self.up_since).remove(host);
                    let took = since.map_or(Duration::ZERO, |since| since.elapsed());
                    membership.milliseconds = crate::clock::milliseconds(took);
                    return ReadyAnswer::Joined(membership);
                }
                Ok(Err(what)) => what,
                // The controller's own services may still be starting.
                Err(error) => format!("the controller's services: {error:#}"),
            };
            if Instant::now() >= deadline {
                return ReadyAnswer::Waiting(what);
            }
            wait::pause(FRESH.min(patience));
        }
    }

    /// One look, and what follows from it: the host's place, or what is missing.
    fn step(
        self: &Arc<Self>,
        host: &str,
        deadline: Instant,
        was_discovered: &mut bool,
    ) -> Result<std::result::Result<Membership, String>> {
        let view = self.view()?;
        if view.services.get(host).is_some_and(|service| service.is_up) {
            let mut up_since = lock(&self.up_since);
            up_since.entry(host.to_owned()).or_insert_with(Instant::now);
        }
        match standing(&view, host) {
            Standing::Missing(what) => Ok(Err(what)),
            Standing::Unmapped if *was_discovered => Ok(Err(format!(
                "{host} to be mapped: nova-manage ended, and the host is in no cell"
            ))),
            Standing::Unmapped => {
                if !self.discover(deadline) {
                    return Ok(Err(format!("nova-manage to map {host}")));
                }
                *was_discovered = true;
                *lock(&self.seen) = None;
                self.step(host, deadline, was_discovered)
            }
            Standing::Mapped(membership, service) => {
                let found = self.cloud.inventories(&membership.provider)?;
                if let Some(class) = CLASSES.iter().find(|class| !found.contains(**class)) {
                    return Ok(Err(format!("Placement to know {class} of {host}")));
                }
                if !service.is_enabled {
                    self.cloud.enable(&service.id)?;
                    *lock(&self.seen) = None;
                }
                Ok(Ok(membership))
            }
        }
    }

    /// How the hosts stand; two hundred requests share one look a second.
    fn view(&self) -> Result<Arc<View>> {
        let mut seen = lock(&self.seen);
        if let Some((_, view)) = seen.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(Arc::clone(view));
        }
        let view = Arc::new(self.cloud.view()?);
        *seen = Some((Instant::now(), Arc::clone(&view)));
        Ok(view)
    }

    /// Waits for the end of a run that begins from now on: one that goes on already may have
    /// looked before this host was there. False when time ran out.
    fn discover(self: &Arc<Self>, deadline: Instant) -> bool {
        let mut rounds = lock(&self.rounds);
        let wanted = rounds.begun + 1;
        while rounds.ended < wanted {
            if rounds.begun == rounds.ended && self.begin() {
                rounds.begun += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.ended.wait_timeout(rounds, left);
            rounds = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Runs `discover_hosts` beside the requests: it may take longer than any of them waits. The
    /// caller holds the lock of the rounds, so that no run ends before it is counted.
    fn begin(self: &Arc<Self>) -> bool {
        let this = Arc::clone(self);
        let run = move || {
            if let Err(error) = this.cloud.discover_hosts() {
                tracing::warn!("discovering hosts: {error:#}");
            }
            this.end();
        };
        let started = std::thread::Builder::new().spawn(run);
        if let Err(error) = &started {
            tracing::warn!("starting a thread: {error}");
        }
        started.is_ok()
    }

    fn end(&self) {
        let mut rounds = lock(&self.rounds);
        rounds.ended = rounds.begun;
        drop(rounds);
        self.ended.notify_all();
    }
}

fn standing(view: &View, host: &str) -> Standing {
    let missing = |what: &str| Standing::Missing(format!("{what} of {host} to report"));
    let Some(service) = view.services.get(host).filter(|service| service.is_up) else {
        return missing("nova-compute");
    };
    // Nova shows no hypervisor of a host that is in no cell, and a host can be mapped while its
    // agent still loads: nothing goes there before it is enabled.
    let Some((cell, cell_uuid)) = view.cells.get(host) else {
        return Standing::Unmapped;
    };
    if !view.switched.contains(host) {
        return missing("the Open vSwitch agent");
    }
    let Some(provider) = view.hypervisors.get(host) else {
        return missing("the hypervisor");
    };
    Standing::Mapped(
        Membership {
            cell: cell.clone(),
            cell_uuid: cell_uuid.clone(),
            service: service.id.clone(),
            provider: provider.clone(),
            milliseconds: 0,
        },
        service.clone(),
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cloud that does what a real one does, and remembers what it was told.
    #[derive(Default)]
    struct Recorded {
        view: Mutex<View>,
        runs: Mutex<u32>,
        is_blind: bool,
        is_poor: bool,
    }

    impl Recorded {
        fn of(hosts: usize) -> Self {
            let recorded = Self::default();
            for number in 0..hosts {
                let host = format!("c{number}");
                let service = Service {
                    id: format!("s{number}"),
                    is_up: true,
                    is_enabled: false,
                };
                let mut view = recorded.view.lock().unwrap();
                view.services.insert(host.clone(), service);
                view.switched.insert(host.clone());
                view.hypervisors.insert(host, format!("p{number}"));
            }
            recorded
        }

        fn enabled(&self) -> usize {
            let view = self.view.lock().unwrap();
            view.services.values().filter(|it| it.is_enabled).count()
        }
    }

    impl Cloud for Recorded {
        fn view(&self) -> Result<View> {
            let mut view = self.view.lock().unwrap().clone();
            let View {
                hypervisors, cells, ..
            } = &mut view;
            hypervisors.retain(|host, _| cells.contains_key(host));
            Ok(view)
        }

        fn discover_hosts(&self) -> Result<()> {
            *self.runs.lock().unwrap() += 1;
            let mut view = self.view.lock().unwrap();
            let hosts: Vec<String> = view.services.keys().cloned().collect();
            if !self.is_blind {
                let cell = |host| (host, ("cell1".to_owned(), "u".to_owned()));
                view.cells = hosts.into_iter().map(cell).collect();
            }
            Ok(())
        }

        fn inventories(&self, _provider: &str) -> Result<BTreeSet<String>> {
            let count = if self.is_poor { 1 } else { 3 };
            Ok(CLASSES
                .iter()
                .take(count)
                .map(|it| (*it).to_owned())
                .collect())
        }

        fn enable(&self, id: &str) -> Result<()> {
            let mut view = self.view.lock().unwrap();
            let mut services = view.services.values_mut();
            services.find(|it| it.id == id).unwrap().is_enabled = true;
            Ok(())
        }
    }

    /// Long enough for a machine that does much else; whoever is placed does not wait for it.
    const LONG: Duration = Duration::from_secs(60);

    fn place(recorded: &Arc<Recorded>, host: &str) -> ReadyAnswer {
        Discovery::new(recorded.clone()).place_within(host, LONG)
    }

    /// What is told of a host that cannot be placed.
    fn waiting(recorded: &Arc<Recorded>, host: &str) -> String {
        let discovery = Discovery::new(recorded.clone());
        match discovery.place_within(host, Duration::from_secs(1)) {
            ReadyAnswer::Waiting(what) => what,
            ReadyAnswer::Joined(_) => panic!("{host} is not there"),
        }
    }

    #[test]
    fn a_host_that_reports_is_mapped_and_enabled() {
        let recorded = Arc::new(Recorded::of(1));
        let ReadyAnswer::Joined(membership) = place(&recorded, "c0") else {
            panic!("it was not mapped");
        };
        let ids = (membership.cell.as_str(), membership.provider.as_str());
        assert_eq!(ids, ("cell1", "p0"));
        assert_eq!(recorded.enabled(), 1);
        // Asked again, as after a lost answer, nothing runs.
        place(&recorded, "c0");
        assert_eq!(*recorded.runs.lock().unwrap(), 1);
    }

    #[test]
    fn what_is_missing_is_told() {
        let recorded = Arc::new(Recorded::of(1));
        let waiting = |host: &str| waiting(&recorded, host);
        assert_eq!(waiting("c9"), "nova-compute of c9 to report");
        recorded.view.lock().unwrap().hypervisors.clear();
        assert_eq!(waiting("c0"), "the hypervisor of c0 to report");
        recorded.view.lock().unwrap().switched.clear();
        assert_eq!(waiting("c0"), "the Open vSwitch agent of c0 to report");
        // Mapped meanwhile, once, and not enabled.
        assert_eq!(*recorded.runs.lock().unwrap(), 1);
        assert_eq!(recorded.enabled(), 0);
    }

    #[test]
    fn a_run_that_maps_nothing_enables_nothing() {
        let recorded = Arc::new(Recorded {
            is_blind: true,
            ..Recorded::of(1)
        });
        let expected = "c0 to be mapped: nova-manage ended, and the host is in no cell";
        assert_eq!(waiting(&recorded, "c0"), expected);
        assert_eq!(recorded.enabled(), 0);
    }

    #[test]
    fn a_provider_without_memory_enables_nothing() {
        let recorded = Arc::new(Recorded {
            is_poor: true,
            ..Recorded::of(1)
        });
        assert_eq!(
            waiting(&recorded, "c0"),
            "Placement to know MEMORY_MB of c0"
        );
        assert_eq!(recorded.enabled(), 0);
    }

    #[test]
    fn two_hundred_hosts_share_a_few_runs() {
        let recorded = Arc::new(Recorded::of(200));
        let discovery = Discovery::new(recorded.clone());
        std::thread::scope(|scope| {
            for number in 0..200 {
                let discovery = &discovery;
                scope.spawn(move || {
                    let answer = discovery.place_within(&format!("c{number}"), LONG);
                    assert!(matches!(answer, ReadyAnswer::Joined(_)), "{answer:?}");
                });
            }
        });
        assert_eq!(recorded.enabled(), 200);
        let runs = *recorded.runs.lock().unwrap();
        // A run takes no time here, so that a straggler may begin another; in earnest there are two.
        assert!((1..=20).contains(&runs), "{runs}");
    }
}
