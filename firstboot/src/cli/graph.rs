//! `firstboot graph`: all steps of this node and what each needs.

use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

use super::Verdict;
use crate::graph::Graph;
use crate::step::Step;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long, conflicts_with = "dot")]
    json: bool,
    /// Print a drawing for Graphviz
    #[arg(long)]
    dot: bool,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    summary: &'a str,
    needs: &'a [&'static str],
    weight: u32,
    /// Weight of the longest chain that begins here.
    priority: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<Verdict> {
    let (_node, steps, graph) = super::read_node()?;
    if arguments.json {
        super::print_json(&entries(&steps, &graph))?;
    } else if arguments.dot {
        super::print(&dot(&steps))?;
    } else {
        super::print(text(&steps).trim_end())?;
    }
    Ok(Verdict::Good)
}

fn entries<'a>(steps: &'a [Step], graph: &Graph) -> Vec<Entry<'a>> {
    let entry = |(index, step): (usize, &'a Step)| Entry {
        name: step.name,
        summary: step.summary,
        needs: &step.needs,
        weight: step.weight,
        priority: graph.priority(index),
    };
    steps.iter().enumerate().map(entry).collect()
}

fn text(steps: &[Step]) -> String {
    let width = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for step in steps {
        let needs = match step.needs.is_empty() {
            true => String::new(),
            false => format!("  (needs {})", step.needs.join(", ")),
        };
        let _ = writeln!(text, "{:width$}  {}{needs}", step.name, step.summary);
    }
    text
}

fn dot(steps: &[Step]) -> String {
    let mut text = "digraph steps {\n  rankdir = LR;\n  node [shape = box];\n".to_owned();
    for step in steps {
        let _ = writeln!(text, "  {:?};", step.name);
        for need in &step.needs {
            let _ = writeln!(text, "  {need:?} -> {:?};", step.name);
        }
    }
    text + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_tell_the_needs() {
        let steps = [
            Step::new("a", "first"),
            Step::new("bb", "second").needs(["a"]).weight(4),
        ];
        assert_eq!(text(&steps), "a   first\nbb  second  (needs a)\n");
        assert_eq!(
            dot(&steps),
            "digraph steps {\n  rankdir = LR;\n  node [shape = box];\n  \"a\";\n  \"bb\";\n  \
             \"a\" -> \"bb\";\n}"
        );
        let graph = Graph::new(&steps).unwrap();
        let json = serde_json::to_value(entries(&steps, &graph)).unwrap();
        assert_eq!(
            json,
            serde_json::json!([
                {"name": "a", "summary": "first", "needs": [], "weight": 1, "priority": 5},
                {"name": "bb", "summary": "second", "needs": ["a"], "weight": 4, "priority": 4},
            ])
        );
    }
}
