//! The only place that starts processes, for the agent and for the builder.
//!
//! A [`Cmd`] is an argument vector, never a shell string. Its standard input is empty unless
//! given, its locale is fixed, it runs in a process group of its own and is killed with its
//! children when it outlives its deadline. Secrets go in by [`Cmd::stdin`], never by argument or
//! environment, and so can appear in no error message.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long a command may take when nobody said otherwise.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);
/// How many lines of standard error are worth repeating in an error message.
const TAIL_LINES: usize = 20;

/// A program with its arguments, ready to be run once or more.
#[derive(Clone)]
pub struct Cmd {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    directory: Option<PathBuf>,
    stdin: Vec<u8>,
    deadline: Duration,
    finishes: bool,
}

/// Why a command did not succeed; callers that tell failures apart downcast to this.
#[derive(Debug)]
pub struct Failed {
    /// The command as it could be typed.
    pub line: String,
    /// How it ended; `None` when its deadline passed and it was killed.
    pub status: Option<ExitStatus>,
    /// The last lines of its standard error (or of its output, when that was empty).
    pub tail: String,
    deadline: Duration,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ", self.line)?;
        match self.status {
            None => write!(
                f,
                "was stopped after {} s without an end",
                self.deadline.as_secs()
            )?,
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exited with {code}")?,
                (None, Some(signal)) => write!(f, "was killed by signal {signal}")?,
                (None, None) => write!(f, "ended in an unknown way")?,
            },
        }
        if self.tail.is_empty() {
            Ok(())
        } else {
            write!(f, ":\n{}", self.tail)
        }
    }
}

impl std::error::Error for Failed {}

/// What a command left behind.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it wrote to standard output.
    pub stdout: Vec<u8>,
    /// Everything it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Cmd {
    /// A command that runs `program`, looked up in `PATH` unless it is a path.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            stdin: Vec::new(),
            deadline: DEFAULT_DEADLINE,
            finishes: false,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds one argument that is a path.
    #[must_use]
    pub fn path(self, path: impl AsRef<Path>) -> Self {
        let text = path.as_ref().to_string_lossy().into_owned();
        self.arg(text)
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable. Never a secret: other processes can read it.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs in this directory.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// What the command reads on standard input; the way for secrets.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = input.into();
        self
    }

    /// How long it may run before it and its children are killed.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Lets it end by itself even when an interrupt was requested: for cleaning up.
    #[must_use]
    pub fn even_when_interrupted(mut self) -> Self {
        self.finishes = true;
        self
    }

    /// Runs as a service user with its groups, the way `*-manage` programs want it.
    #[must_use]
    pub fn as_user(self, user: &str) -> Self {
        let reuid = format!("--reuid={user}");
        let regid = format!("--regid={user}");
        self.through("setpriv", [&reuid, &regid, "--init-groups", "--"])
    }

    /// The same command, started by another program: `launcher arguments program ...`.
    #[must_use]
    pub fn through<S: Into<String>>(
        self,
        launcher: impl AsRef<Path>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut args: Vec<String> = arguments.into_iter().map(Into::into).collect();
        args.push(self.program.to_string_lossy().into_owned());
        args.extend(self.args);
        Self {
            program: launcher.as_ref().to_owned(),
            args,
            ..self
        }
    }

    /// Runs it with everything it says added to a log file; an error, with the last lines of the
    /// log, unless it exits with 0.
    pub fn run_logged(&self, log: &Path) -> Result<()> {
        let context = || format!("writing {}", log.display());
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(context)?;
        let errors = file.try_clone().with_context(context)?;
        let mut child = self.start(file.into(), errors.into())?;
        let status = self.wait(&mut child, Instant::now())?;
        if status.is_some_and(|status| status.success()) {
            return Ok(());
        }
        let said = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
        Err(self.failed(status, &said).into())
    }

    /// Runs it; an error unless it exits with 0.
    pub fn run(&self) -> Result<()> {
        self.output().map(drop)
    }

    /// Runs it and gives its standard output as text; an error unless it exits with 0.
    pub fn read(&self) -> Result<String> {
        let output = self.output()?;
        String::from_utf8(output.stdout).with_context(|| format!("reading the output of `{self}`"))
    }

    /// Runs it and tells whether it exited with 0; an error only if it could not be run or
    /// did not end in time.
    pub fn succeeds(&self) -> Result<bool> {
        Ok(self.any_status()?.status.success())
    }

    /// Runs it; an error unless it exits with 0.
    pub fn output(&self) -> Result<Output> {
        let output = self.any_status()?;
        if output.status.success() {
            return Ok(output);
        }
        let noise = if output.stderr.is_empty() {
            &output.stdout
        } else {
            &output.stderr
        };
        Err(self.failed(Some(output.status), noise).into())
    }

    /// Runs it and gives what it left, whatever its exit status.
    pub fn any_status(&self) -> Result<Output> {
        let mut child = self.start(Stdio::piped(), Stdio::piped())?;
        let started = Instant::now();
        let mut input = child.stdin.take();
        let stdin = self.stdin.clone();
        // A program may end before it has read all its input: that is its business, not an error.
        let writer =
            std::thread::spawn(move || input.take().map(|mut pipe| pipe.write_all(&stdin)));
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let status = self.wait(&mut child, started)?;
        drop(writer);
        // A daemon that the command left behind may hold the pipes: take what is there by then.
        let grace = Duration::from_secs(2);
        let stdout = stdout.recv_timeout(grace).unwrap_or_default();
        let stderr = stderr.recv_timeout(grace).unwrap_or_default();
        match status {
            Some(status) => Ok(Output {
                status,
                stdout,
                stderr,
            }),
            None => Err(self.failed(None, &stderr).into()),
        }
    }

    /// Starts it with the given standard output and error, and leaves it running. The caller
    /// owns the child and must end it.
    pub fn start(&self, stdout: Stdio, stderr: Stdio) -> Result<Child> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", search_path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(if self.stdin.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
            .spawn()
            .with_context(|| format!("starting `{self}`"))
    }

    /// Becomes this command, on the same terminal. Comes back only to say why it could not.
    pub fn replace_process(&self) -> anyhow::Error {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let error = Command::new(&self.program).args(&self.args).exec();
        anyhow::Error::new(error).context(format!("starting `{self}`"))
    }

    /// Waits for the child, or kills its whole group at the deadline and gives `None`.
    fn wait(&self, child: &mut Child, started: Instant) -> Result<Option<ExitStatus>> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child
                .try_wait()
                .with_context(|| format!("waiting for `{self}`"))?
            {
                return Ok(Some(status));
            }
            let interrupted = !self.finishes && crate::interrupt::requested();
            if started.elapsed() > self.deadline || interrupted {
                kill_group(child);
                let _ = child.wait();
                if interrupted {
                    anyhow::bail!("interrupted while running `{self}`");
                }
                return Ok(None);
            }
            crate::wait::pause(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn failed(&self, status: Option<ExitStatus>, noise: &[u8]) -> Failed {
        let text = String::from_utf8_lossy(noise);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        Failed {
            line: self.to_string(),
            status,
            tail,
            deadline: self.deadline,
        }
    }
}

/// Ends a child that [`Cmd::start`] began, and every process it started.
pub fn kill_group(child: &Child) {
    if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// `PATH` with the directories of system programs, which users of Debian do not have in theirs.
fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

impl fmt::Display for Cmd {
    /// The command as it could be pasted into a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", quote(&self.program.to_string_lossy()))?;
        for arg in &self.args {
            write!(f, " {}", quote(arg))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cmd({self})")
    }
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_input_pass_through() {
        let text = Cmd::new("cat").stdin("a secret\n").read().unwrap();
        assert_eq!(text, "a secret\n");
    }

    #[test]
    fn a_failure_names_the_command_and_its_last_words() {
        let cmd = Cmd::new("sh").args(["-c", "echo gone wrong >&2; exit 3"]);
        let error = cmd.run().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'echo gone wrong >&2; exit 3'` exited with 3:\ngone wrong"
        );
        assert_eq!(
            error
                .downcast_ref::<Failed>()
                .unwrap()
                .status
                .unwrap()
                .code(),
            Some(3)
        );
    }

    #[test]
    fn a_command_that_outlives_its_deadline_is_killed_with_its_children() {
        let started = Instant::now();
        let cmd = Cmd::new("sh").args(["-c", "sleep 60 & sleep 60"]);
        let error = cmd.deadline(Duration::from_millis(200)).run().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("was stopped after 0 s without an end"),
            "{error}"
        );
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_logged_command_repeats_the_end_of_its_log_when_it_fails() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let said = |text: &str| Cmd::new("sh").args(["-c", text]);
        said("echo one; echo two >&2").run_logged(&log).unwrap();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\n");
        let error = said("exit 4").run_logged(&log).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'exit 4'` exited with 4:\none\ntwo"
        );
    }

    #[test]
    fn a_launcher_comes_before_the_program() {
        let cmd = Cmd::new("id").arg("-u").through("env", ["-i", "A=b"]);
        assert_eq!(cmd.to_string(), "env -i A=b id -u");
    }

    #[test]
    fn input_never_shows_in_an_error() {
        let error = Cmd::new("false").stdin("hunter2").run().unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
