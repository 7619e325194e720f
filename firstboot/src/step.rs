//! A step: one thing that a node makes true.

use std::time::Duration;

use anyhow::Result;

use crate::node::Node;
use crate::wait::{self, Probe};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// It is true.
    Done,
    /// It is true, but somebody should know this (an unreachable time server, say).
    Warn(String),
    /// It is not true yet, and why.
    Todo(String),
}

impl Check {
    /// `Done` if the condition holds, else `Todo` with this reason.
    pub fn of(holds: bool, reason: impl Into<String>) -> Self {
        if holds {
            Self::Done
        } else {
            Self::Todo(reason.into())
        }
    }
}

type CheckFn = Box<dyn Fn(&Context) -> Result<Check> + Send + Sync>;
type ApplyFn = Box<dyn Fn(&Context) -> Result<()> + Send + Sync>;

/// One thing that a node makes true: `check` reads only and answers from the machine; `apply` is
/// idempotent, is called only after a `Todo`, and `check` runs again after it.
pub struct Step {
    /// `group/noun`, unique and stable: it is on the console, in the journal and in the docs.
    pub name: &'static str,
    /// What becomes true, in a few words.
    pub summary: &'static str,
    /// Names of the steps that must be done before this one.
    pub needs: Vec<&'static str>,
    /// Names of steps that must be done before this one on nodes that have them at all.
    pub(crate) needs_where_there: Vec<&'static str>,
    /// What to do when it fails, for the console.
    pub hint: &'static str,
    /// How long the step usually takes compared with others; the scheduler starts the step with
    /// the longest chain behind it first. Roughly seconds on a slow machine.
    pub weight: u32,
    /// The service of the platform's table that it keeps running, if it does that.
    pub service: Option<&'static str>,
    pub(crate) check: CheckFn,
    pub(crate) apply: ApplyFn,
}

impl Step {
    /// A step that needs nothing, checks nothing and does nothing; the other methods complete it.
    pub fn new(name: &'static str, summary: &'static str) -> Self {
        Self {
            name,
            summary,
            needs: Vec::new(),
            needs_where_there: Vec::new(),
            hint: "",
            weight: 1,
            service: None,
            check: Box::new(|_| Ok(Check::Done)),
            apply: Box::new(|_| anyhow::bail!("there is nothing that this step could do")),
        }
    }

    /// Names what must be done before.
    #[must_use]
    pub fn needs(mut self, needs: impl IntoIterator<Item = &'static str>) -> Self {
        self.needs.extend(needs);
        self
    }

    /// Names what must be done before, where the node has such steps: not every platform does.
    #[must_use]
    pub fn needs_where_there(mut self, needs: impl IntoIterator<Item = &'static str>) -> Self {
        self.needs_where_there.extend(needs);
        self
    }

    /// What somebody in front of the console should do when the step fails.
    #[must_use]
    pub fn hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }

    /// Sets [`Step::weight`].
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets [`Step::service`].
    #[must_use]
    pub fn service(mut self, service: &'static str) -> Self {
        self.service = Some(service);
        self
    }

    /// How to find out whether it is true.
    #[must_use]
    pub fn check(
        mut self,
        check: impl Fn(&Context) -> Result<Check> + Send + Sync + 'static,
    ) -> Self {
        self.check = Box::new(check);
        self
    }

    /// How to make it true.
    #[must_use]
    pub fn apply(mut self, apply: impl Fn(&Context) -> Result<()> + Send + Sync + 'static) -> Self {
        self.apply = Box::new(apply);
        self
    }
}

/// What a step works with: the node, and a way to say what it waits for.
pub struct Context<'a> {
    /// The node that the step changes.
    pub node: &'a Node,
    /// Shows one line beside the step's name while it runs.
    pub(crate) say: &'a (dyn Fn(&str) + Sync),
}

impl Context<'_> {
    /// Waits for a condition (see [`wait::until`]) and says so on the console.
    pub fn wait<T>(
        &self,
        what: &str,
        deadline: Duration,
        probe: impl FnMut() -> Result<Probe<T>>,
    ) -> Result<T> {
        (self.say)(what);
        let value = wait::until(what, deadline, probe);
        (self.say)("");
        value
    }
}

impl std::ops::Deref for Context<'_> {
    type Target = Node;

    fn deref(&self) -> &Node {
        self.node
    }
}
