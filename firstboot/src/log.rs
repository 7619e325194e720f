//! Where events go: into the system's journal with their fields (`STEP`, `OUTCOME`,
//! `DURATION_MS`) when systemd runs the agent, to standard error when a person does.

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The systemd unit that the agent runs as, whose log `firstboot logs` reads.
pub const UNIT: &str = "cellboot-firstboot.service";

/// True if systemd started this process as a service and listens to its output.
pub fn under_systemd() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some()
}

/// Begins to collect events. By hand only warnings are shown, or with `verbose` everything.
pub fn begin(verbose: bool) {
    let level = match (verbose, under_systemd()) {
        (true, _) => Level::DEBUG,
        (false, true) => Level::INFO,
        (false, false) => Level::WARN,
    };
    let filter = LevelFilter::from_level(level);
    let registry = tracing_subscriber::registry().with(filter);
    // Without its prefix a field `step` of an event is `STEP` in the journal.
    let journal = under_systemd()
        .then(tracing_journald::layer)
        .and_then(Result::ok);
    let begun = match journal {
        Some(journal) => registry.with(journal.with_field_prefix(None)).try_init(),
        None => {
            let format = tracing_subscriber::fmt::layer()
                .without_time()
                .with_target(false)
                .with_ansi(false)
                .with_writer(std::io::stderr);
            registry.with(format).try_init()
        }
    };
    // A second call finds the first one's collector, which is as good.
    drop(begun);
}
