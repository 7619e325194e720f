//! Waiting for a condition, with a description and a deadline, never for a length of time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `probe` again and again until it gives a value. `what` completes the sentence
/// "waited for ..."; the last thing the probe said is part of the error when time runs out.
///
/// # Errors
/// When the deadline passes, when an interrupt was requested, or when the probe itself fails in
/// a way that asking again cannot mend (it returns `Err`).
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<Probe<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut interval = Duration::from_millis(50);
    loop {
        let last = match probe()? {
            Probe::Ready(value) => return Ok(value),
            Probe::NotYet(last) => last,
        };
        if crate::interrupt::requested() {
            bail!("interrupted while waiting for {what}");
        }
        if started.elapsed() >= deadline {
            bail!("waited {} s for {what}: {last}", deadline.as_secs());
        }
        pause(interval);
        interval = (interval * 3 / 2).min(Duration::from_secs(1));
    }
}

/// The answer of one look at a condition.
#[derive(Debug)]
pub enum Probe<T> {
    /// It holds, and this is what came of it.
    Ready(T),
    /// It does not hold yet; what was seen instead.
    NotYet(String),
}

/// The pause between two looks. Private to the loops that look again afterwards.
pub(crate) fn pause(interval: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the pause between two looks at a condition"
    )]
    std::thread::sleep(interval);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_the_probe_gave() {
        let mut looks = 0;
        let value = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok(if looks == 3 {
                Probe::Ready(looks)
            } else {
                Probe::NotYet("no".into())
            })
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn a_deadline_says_what_was_waited_for_and_what_was_seen() {
        let never = || Ok(Probe::<()>::NotYet("connection refused".into()));
        let error = until("keystone", Duration::ZERO, never).unwrap_err();
        assert_eq!(
            error.to_string(),
            "waited 0 s for keystone: connection refused"
        );
    }
}
