//! The shapes that most steps have: a rendered file, a running service, a URL that answers.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::resource::{config, http, unit};
use crate::step::{Context, Step};

/// How long a service may take to answer its first request: every one of them is a Python program
/// that loads for a minute and more where the processor is emulated.
pub(super) const FIRST_ANSWER: Duration = Duration::from_secs(900);

const MISFIT: &str =
    "a value in site.toml does not fit; correct it, make the seed again and power on again";
const READ_LOG: &str = "read the service's own log below /var/log, and `journalctl -u` of its unit";

/// A step that renders these files.
pub(super) fn rendered(
    name: &'static str,
    summary: &'static str,
    paths: &'static [&'static str],
) -> Step {
    Step::new(name, summary)
        .needs(["base/preflight"])
        .hint(MISFIT)
        .check(|context| config::check(context, paths))
        .apply(|context| config::write(context, paths))
}

/// A step that renders what of these services' files comes from templates.
pub(super) fn configured(
    name: &'static str,
    summary: &'static str,
    services: &'static [&'static str],
) -> Step {
    Step::new(name, summary)
        .needs(["base/preflight"])
        .hint(MISFIT)
        .check(|context| config::check(context, &config::of_services(context, services)?))
        .apply(|context| config::write(context, &config::of_services(context, services)?))
}

/// A step that keeps a service of the platform's table running with the files it reads.
pub(super) fn running(name: &'static str, summary: &'static str, service: &'static str) -> Step {
    Step::new(name, summary)
        .service(service)
        .hint(READ_LOG)
        .check(move |context| unit::check(service, context))
        .apply(move |context| unit::start(service, context))
}

/// Like [`running`], for a service that is ready only when its API answers.
pub(super) fn serving(
    name: &'static str,
    summary: &'static str,
    service: &'static str,
    api: Api,
) -> Step {
    Step::new(name, summary)
        .service(service)
        .hint(READ_LOG)
        .check(move |context| {
            let state = unit::check(service, context)?;
            if matches!(state, crate::step::Check::Done) {
                api.wait(context)?;
            }
            Ok(state)
        })
        .apply(move |context| {
            unit::start(service, context)?;
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
