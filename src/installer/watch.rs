//! How an installation ends: what the installer says and what its machine does, turned into a
//! verdict. Pure.
//!
//! Anaconda powers off after most failures as it does after a success, and waits for ever after the
//! others. So success takes two witnesses, the kickstart's last script and Anaconda's own log, and
//! everything else is a failure with a name: a pattern, an end before its time, silence, a deadline
//! or a machine that stopped.

use std::time::Duration;

use super::patterns;

/// Where a line was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Anaconda's log, which it sends to `org.fedoraproject.anaconda.log.0`.
    Anaconda,
    /// What the kickstart's scripts report to `org.cellboot.status`.
    Status,
    /// The serial console: firmware, kernel, dracut, and Anaconda's text.
    Serial,
}

/// What the machine does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Machine {
    /// It runs.
    Runs,
    /// QEMU is there and its processors stand still, for this reason of its own.
    Stopped(String),
    /// QEMU ended by itself: the guest was powered off.
    Off,
    /// QEMU ended otherwise; and how.
    Died(String),
}

/// How long an installation may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Without a line from anywhere.
    pub silence: Duration,
    /// From power-on to the end.
    pub whole: Duration,
    /// From the last word to power-off.
    pub power_off: Duration,
}

/// Why an installation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In one line.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl Failure {
    pub(super) fn new(what: impl Into<String>, hint: &str) -> Self {
        Self {
            what: what.into(),
            hint: hint.to_owned(),
        }
    }
}

/// What was seen of an installation so far.
#[derive(Debug, Default)]
pub struct Watch {
    failure: Option<Failure>,
    scripts_ended: bool,
    anaconda_ended: bool,
    progress: String,
}

/// Anaconda's own word for success, on which its own tests rely.
const ALL_DONE: &str = "All tasks in the installation queue are done.";
const REPORT: &str = "CELLBOOT ";
const LOGS: &str = "the logs that are named below say more";

impl Watch {
    /// Takes in a line.
    pub fn read(&mut self, source: Source, line: &str) {
        let line = line.trim();
        if let Some(report) = line.strip_prefix(REPORT) {
            // Where there is no port, scripts report on the serial console.
            return self.report(report);
        }
        if source == Source::Anaconda && line.contains(ALL_DONE) {
            self.anaconda_ended = true;
        }
        if self.failure.is_none() {
            self.failure = patterns::failure(source, line);
        }
        if let Some(progress) = patterns::progress(source, line) {
            self.progress = progress;
        }
    }

    fn report(&mut self, report: &str) {
        let (word, rest) = report.split_once(' ').unwrap_or((report, ""));
        match word {
            "BEGINS" => self.progress = format!("script {rest}"),
            "OK" => self.scripts_ended = true,
            "FAILED" if self.failure.is_none() => {
                let what = format!("a script of the kickstart failed: {rest}");
                self.failure = Some(Failure::new(what, LOGS));
            }
            _ => {}
        }
    }

    /// What it is doing, in Anaconda's words.
    pub fn progress(&self) -> &str {
        &self.progress
    }

    /// True once both witnesses have said that all is done.
    pub fn is_done(&self) -> bool {
        self.scripts_ended && self.anaconda_ended
    }

    /// The end, if this is one: how long nobody has said a word, and how long it has taken.
    pub fn verdict(
        &self,
        machine: &Machine,
        silent: Duration,
        taken: Duration,
        limits: Limits,
    ) -> Option<Result<(), Failure>> {
        if let Some(failure) = &self.failure {
            return Some(Err(failure.clone()));
        }
        let failed = |what: String, hint: &str| Some(Err(Failure::new(what, hint)));
        match machine {
            Machine::Off if self.is_done() => Some(Ok(())),
            Machine::Off => failed(format!("the machine powered off {}", self.lacking()), LOGS),
            Machine::Died(how) => failed(
                format!("QEMU ended: {how}"),
                "`cellboot doctor` says whether KVM works here",
            ),
            Machine::Stopped(why) => {
                let (what, hint) = patterns::stopped(why);
                failed(what, hint)
            }
            Machine::Runs if self.is_done() && silent > limits.power_off => failed(
                format!(
                    "all is done and the machine did not power off within {} s",
                    limits.power_off.as_secs()
                ),
                LOGS,
            ),
            Machine::Runs if silent > limits.silence => failed(
                format!(
                    "nothing was heard for {} s; the last was: {}",
                    limits.silence.as_secs(),
                    self.progress
                ),
                LOGS,
            ),
            Machine::Runs if taken > limits.whole => failed(
                format!("it is not done after {} s", limits.whole.as_secs()),
                "where the processor is emulated an installation takes hours: use a host with KVM",
            ),
            Machine::Runs => None,
        }
    }

    /// What is missing of a success.
    fn lacking(&self) -> &'static str {
        match (self.scripts_ended, self.anaconda_ended) {
            (false, false) => "before anything was done",
            (false, true) => {
                "after Anaconda had finished, and the last script of the kickstart never reported"
            }
            (true, _) => "before Anaconda had finished, although the kickstart's scripts had",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        silence: Duration::from_secs(900),
        whole: Duration::from_secs(7200),
        power_off: Duration::from_secs(300),
    };
    const SECOND: Duration = Duration::from_secs(1);

    fn seen(lines: &[(Source, &str)]) -> Watch {
        let mut watch = Watch::default();
        for (source, line) in lines {
            watch.read(*source, line);
        }
        watch
    }

    fn end(watch: &Watch, machine: Machine) -> Option<Result<(), Failure>> {
        watch.verdict(&machine, SECOND, SECOND, LIMITS)
    }

    fn what(verdict: Option<Result<(), Failure>>) -> String {
        verdict.expect("it is an end").unwrap_err().what
    }

    const DONE: [(Source, &str); 2] = [
        (Source::Status, "CELLBOOT OK compute"),
        (
            Source::Anaconda,
            "12:00:01,123 INFO anaconda:All tasks in the installation queue are done. \
             Installation successfully finished.",
        ),
    ];

    #[test]
    fn success_takes_both_witnesses_and_the_power_off() {
        assert_eq!(end(&seen(&DONE), Machine::Off), Some(Ok(())));
        assert_eq!(end(&seen(&DONE), Machine::Runs), None);
        assert_eq!(
            what(end(&seen(&DONE[..1]), Machine::Off)),
            "the machine powered off before Anaconda had finished, although the kickstart's \
             scripts had"
        );
        assert_eq!(
            what(end(&seen(&DONE[1..]), Machine::Off)),
            "the machine powered off after Anaconda had finished, and the last script of the \
             kickstart never reported"
        );
        assert_eq!(
            what(end(&seen(&[]), Machine::Off)),
            "the machine powered off before anything was done"
        );
    }

    #[test]
    fn a_script_that_fails_is_the_end_although_anaconda_goes_on() {
        let failed = "CELLBOOT FAILED finish line 41: dracut --force --regenerate-all";
        let mut watch = seen(&DONE);
        watch.read(Source::Status, failed);
        assert_eq!(
            what(end(&watch, Machine::Off)),
            "a script of the kickstart failed: finish line 41: dracut --force --regenerate-all"
        );
        // On the serial console, where there is no port.
        let watch = seen(&[(Source::Serial, failed)]);
        assert!(end(&watch, Machine::Runs).is_some());
    }

    #[test]
    fn silence_and_the_deadline_are_ends() {
        let mut watch = Watch::default();
        watch.read(Source::Serial, "Installing libgcc.x86_64 (3/812)");
        let at = |silent, taken| watch.verdict(&Machine::Runs, silent, taken, LIMITS);
        assert_eq!(at(LIMITS.silence, LIMITS.whole), None);
        assert_eq!(
            what(at(LIMITS.silence + SECOND, LIMITS.whole)),
            "nothing was heard for 900 s; the last was: package 3 of 812"
        );
        assert_eq!(
            what(at(SECOND, LIMITS.whole + SECOND)),
            "it is not done after 7200 s"
        );
        let done = seen(&DONE);
        let late = done.verdict(&Machine::Runs, LIMITS.power_off + SECOND, SECOND, LIMITS);
        assert_eq!(
            what(late),
            "all is done and the machine did not power off within 300 s"
        );
    }

    #[test]
    fn a_machine_that_stops_or_dies_is_an_end() {
        let stopped = |why: &str| what(end(&seen(&[]), Machine::Stopped(why.into())));
        assert_eq!(
            stopped("internal-error"),
            "QEMU stopped the machine: internal-error"
        );
        assert_eq!(
            stopped("io-error"),
            "this host could not write to the machine's disk"
        );
        assert_eq!(
            what(end(
                &seen(&DONE),
                Machine::Died("signal: 6 (SIGABRT)".into())
            )),
            "QEMU ended: signal: 6 (SIGABRT)"
        );
    }
}
