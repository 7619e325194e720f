//! The shapes that most steps have: a rendered file, a running service, a URL that answers.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::resource::unit::Running;
use crate::resource::{config, http};
use crate::step::{Context, Step};

/// How long a service may take to answer its first request: every one of them is a Python program
/// that loads for a minute and more where the processor is emulated.
pub(super) const FIRST_ANSWER: Duration = Duration::from_secs(900);

/// A step that renders configuration files.
pub(super) fn rendered(
    name: &'static str,
    summary: &'static str,
    paths: &'static [&'static str],
) -> Step {
    Step::new(name, summary)
        .needs(["base/preflight"])
        .hint(
            "a value in site.toml does not fit; correct it, make the seed again and power on again",
        )
        .check(|context| config::check(context, paths))
        .apply(|context| config::write(context, paths))
}

/// A step that keeps a service running with the files it reads.
pub(super) fn running(name: &'static str, summary: &'static str, service: Running) -> Step {
    Step::new(name, summary)
        .hint("read the service's own log below /var/log, and `journalctl -u` of its unit")
        .check(move |context| service.check(context))
        .apply(move |context| service.start(context))
}

/// Like [`running`], for a service that is ready only when its API answers.
pub(super) fn serving(
    name: &'static str,
    summary: &'static str,
    service: Running,
    api: Api,
) -> Step {
    Step::new(name, summary)
        .hint("read the service's own log below /var/log, and `journalctl -u` of its unit")
        .check(move |context| {
            let state = service.check(context)?;
            if matches!(state, crate::step::Check::Done) {
                api.wait(context)?;
            }
            Ok(state)
        })
        .apply(move |context| {
            service.start(context)?;
            api.wait(context)
        })
}

/// Where an HTTP service of this node answers anybody.
#[derive(Debug, Clone, Copy)]
pub(super) struct Api {
    /// Its port on the management address.
    pub(super) port: u16,
    /// A path that needs no token.
    pub(super) path: &'static str,
    /// The status it answers with.
    pub(super) status: u16,
}

impl Api {
    pub(super) fn url(self, address: Ipv4Addr) -> String {
        format!("http://{address}:{}{}", self.port, self.path)
    }

    /// Waits until the service answers. The first request of a uwsgi service blocks until its
    /// application is loaded, so this costs the processor nothing.
    pub(super) fn wait(self, context: &Context) -> anyhow::Result<()> {
        let url = self.url(context.config.management.address.addr());
        context.wait(&url, FIRST_ANSWER, || http::answers(&url, self.status))?;
        Ok(())
    }
}
