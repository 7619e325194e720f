//! `firstboot check` and `firstboot plan`: both look and change nothing. Check answers whether
//! the node is as described, plan what apply would do.

use anyhow::Result;
use serde::Serialize;

use super::Verdict;
use crate::engine::{self, Event, Mode, Outcome, Record, Watch};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    node: &'a str,
    role: &'a str,
    converged: bool,
    steps: &'a [Record],
}

/// Nobody watches a look: it says what it found at its end.
struct Nobody;

impl Watch for Nobody {
    fn event(&self, _: &Event<'_>) {}
}

pub(super) fn check(arguments: &Arguments) -> Result<Verdict> {
    let records = look(arguments)?;
    if !arguments.json {
        for record in &records {
            super::print(&line(record))?;
        }
        let holding = records
            .iter()
            .filter(|record| record.outcome.holds())
            .count();
        super::print(&format!("{holding} of {} steps hold", records.len()))?;
    }
    Ok(verdict(&records))
}

pub(super) fn plan(arguments: &Arguments) -> Result<Verdict> {
    let records = look(arguments)?;
    if !arguments.json {
        let open: Vec<_> = records
            .iter()
            .filter(|record| !record.outcome.holds())
            .collect();
        for record in &open {
            super::print(&line(record))?;
        }
        super::print(&match open.len() {
            0 => "nothing to do".to_owned(),
            count => format!(
                "{count} of {} steps to be looked at or applied",
                records.len()
            ),
        })?;
    }
    Ok(match verdict(&records) {
        Verdict::Failed => Verdict::Failed,
        _ => Verdict::Good,
    })
}

fn look(arguments: &Arguments) -> Result<Vec<Record>> {
    let (node, steps, graph) = super::read_node()?;
    let records = engine::run(&node, &steps, &graph, Mode::Check, engine::bound(), &Nobody)?;
    if arguments.json {
        super::print_json(&Report {
            node: &node.config.name,
            role: node.config.role.as_str(),
            converged: records.iter().all(|record| record.outcome.holds()),
            steps: &records,
        })?;
    }
    Ok(records)
}

fn line(record: &Record) -> String {
    let mut text = format!("{:8} {}", record.outcome.as_str(), record.step);
    for (label, value) in [("", &record.reason), ("warning: ", &record.warning)] {
        if !value.is_empty() {
            text = format!("{text}: {label}{}", value.replace('\n', "\n         "));
        }
    }
    if record.outcome == Outcome::Failed && !record.hint.is_empty() {
        text = format!("{text}\n         hint: {}", record.hint);
    }
    text
}

fn verdict(records: &[Record]) -> Verdict {
    let any = |outcome| records.iter().any(|record| record.outcome == outcome);
    if any(Outcome::Failed) {
        Verdict::Failed
    } else if any(Outcome::Todo) {
        Verdict::NotConverged
    } else {
        Verdict::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: Outcome) -> Record {
        Record {
            step: "nova/running".into(),
            outcome,
            start_ms: 0,
            start_since_boot_ms: 0,
            check_ms: 0,
            apply_ms: 0,
            reason: "one\ntwo".into(),
            hint: "look".into(),
            warning: String::new(),
        }
    }

    #[test]
    fn the_exit_code_tells_what_was_found() {
        let table: &[(&[Outcome], Verdict)] = &[
            (&[], Verdict::Good),
            (&[Outcome::Done], Verdict::Good),
            (
                &[Outcome::Done, Outcome::Todo, Outcome::Blocked],
                Verdict::NotConverged,
            ),
            (&[Outcome::Todo, Outcome::Failed], Verdict::Failed),
        ];
        for (outcomes, expected) in table {
            let records: Vec<_> = outcomes.iter().copied().map(record).collect();
            assert_eq!(verdict(&records), *expected, "{outcomes:?}");
        }
    }

    #[test]
    fn a_line_tells_reason_and_hint() {
        assert_eq!(
            line(&record(Outcome::Failed)),
            "failed   nova/running: one\n         two\n         hint: look"
        );
    }
}
