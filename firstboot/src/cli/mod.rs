//! The agent's command line: parse, dispatch, print an error once, end with its exit code.
//!
//! What a program would read goes to standard output, talk to standard error.

mod apply;
mod graph;
mod join;
mod logs;
mod look;
mod node;
mod registrar;
mod status;
mod token;
mod verify;
mod wait;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::failure::Failure;
use crate::graph::Graph;
use crate::node::Node;
use crate::step::Step;
use crate::{log, roles};

/// Turns this machine into the OpenStack node that its seed describes
#[derive(Debug, Parser)]
#[command(
    name = "firstboot",
    version = crate::version(),
    max_term_width = 80,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, \
                  3 the node is not (yet) as described."
)]
pub struct Cli {
    /// Tell on standard error what happens inside
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the node what its seed describes
    Apply(apply::Arguments),
    /// Look whether it is; changes nothing
    Check(look::Arguments),
    /// Show what apply would do now, and why; changes nothing
    Plan(look::Arguments),
    /// Show all steps and what each needs
    Graph(graph::Arguments),
    /// Show what the agent is doing
    Status(status::Arguments),
    /// Show the agent's log, of one step or all
    Logs(logs::Arguments),
    /// Prove that instances run (on a controller)
    Verify(verify::Arguments),
    /// Become the compute of a line of `token create`, read from standard input
    Join,
    /// Make, list and revoke the tokens that computes join with (on a controller)
    #[command(subcommand)]
    Token(token::Verb),
    /// List and remove the computes of the cell (on a controller)
    #[command(subcommand)]
    Node(node::Verb),
    /// Let computes in (what cellboot-registrar.service runs)
    #[command(hide = true)]
    Registrar,
    /// Wait until another service can be used (for units to start after it)
    #[command(hide = true)]
    Wait(wait::Arguments),
}

/// How a verb ended, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// As wanted: 0.
    Good,
    /// Something failed: 1.
    Failed,
    /// What somebody wrote is wrong: 2.
    BadConfiguration,
    /// The node is not as described: 3.
    NotConverged,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        ExitCode::from(match verdict {
            Verdict::Good => 0,
            Verdict::Failed => 1,
            Verdict::BadConfiguration => 2,
            Verdict::NotConverged => 3,
        })
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log::begin(cli.verbose);
    let result = match &cli.verb {
        Verb::Apply(arguments) => apply::run(arguments),
        Verb::Check(arguments) => look::check(arguments),
        Verb::Plan(arguments) => look::plan(arguments),
        Verb::Graph(arguments) => graph::run(arguments),
        Verb::Status(arguments) => status::run(arguments),
        Verb::Logs(arguments) => logs::run(arguments),
        Verb::Verify(arguments) => verify::run(arguments),
        Verb::Join => join::run(),
        Verb::Token(verb) => token::run(verb),
        Verb::Node(verb) => node::run(verb),
        Verb::Registrar => registrar::serve(),
        Verb::Wait(arguments) => wait::run(arguments),
    };
    let verdict = result.unwrap_or_else(|error| {
        if is_closed_pipe(&error) {
            return Verdict::Good;
        }
        eprint!("{}", Failure::of(&error).to_text());
        match error.is::<BadConfiguration>() {
            true => Verdict::BadConfiguration,
            false => Verdict::Failed,
        }
    });
    verdict.into()
}

/// Marks an error as one of configuration; says what the verb was about to do.
#[derive(Debug)]
struct BadConfiguration(&'static str);

impl std::fmt::Display for BadConfiguration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// The node, its steps and their order, without changing anything.
fn read_node() -> Result<(Node, Vec<Step>, Graph)> {
    let node = Node::read().context(BadConfiguration("reading the node"))?;
    let (steps, graph) = order(&node)?;
    Ok((node, steps, graph))
}

/// The node's steps in the order of the graph, and the graph of that list.
fn order(node: &Node) -> Result<(Vec<Step>, Graph)> {
    let steps = roles::steps(node);
    let order = Graph::new(&steps)
        .context("ordering the steps")?
        .order()
        .to_vec();
    let mut slots: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let steps: Vec<Step> = order
        .iter()
        .filter_map(|&index| slots[index].take())
        .collect();
    let graph = Graph::new(&steps).context("ordering the steps")?;
    Ok((steps, graph))
}

/// Writes data for a program.
fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("writing JSON")?;
    print(&text)
}

/// Writes lines of data.
fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("writing to standard output")
}

/// Somebody piped us into `head` and has seen enough: that is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.root_cause().downcast_ref::<std::io::Error>();
    error.to_string() == "writing to standard output"
        && io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn every_role_has_an_order() {
        for role in Role::ALL {
            let (steps, graph) = order(&Node::example(role)).unwrap();
            let sorted: Vec<usize> = (0..steps.len()).collect();
            assert_eq!(graph.order(), sorted, "{role}");
        }
    }
}
