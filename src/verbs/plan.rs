//! `cellboot plan`: what a build would do and why. It changes nothing.

use anyhow::{Context, Result};
use clap::Args;

use super::build::Wanted;
use crate::plan::{Layer, Plan};
use crate::report::Report;

/// What is planned, and how the plan is shown.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    wanted: Wanted,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the plan.
pub fn run(arguments: &Arguments) -> Result<()> {
    let job = arguments.wanted.job(&Report::new(0))?;
    let plan = job.recipe.plan(&job.cache, &job.results)?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&plan).context("writing the plan")?;
        println!("{text}");
    } else {
        print!("{}", table(&plan));
    }
    Ok(())
}

fn table(plan: &Plan) -> String {
    let mut lines = vec![format!("{} with OpenStack {}", plan.platform, plan.release)];
    for layer in &plan.layers {
        let role = layer.role.map_or("", |role| role.as_str());
        let name = format!("{} {role}", layer.layer);
        let state = if layer.cached {
            "is there".to_owned()
        } else if plan.makes(layer) {
            format!("is made: {}", because(layer))
        } else {
            "is not needed".to_owned()
        };
        lines.push(format!("  {name:<18} {} {state}", &layer.key[..12]));
    }
    lines.join("\n") + "\n"
}

/// The first reasons, and how many more there are.
fn because(layer: &Layer) -> String {
    const SHOWN: usize = 3;
    let changed = |why: &[String]| why.join(", ");
    let text = match layer.why.get(..SHOWN) {
        Some(first) if layer.why.len() > SHOWN => {
            format!("{} and {} more", changed(first), layer.why.len() - SHOWN)
        }
        _ => changed(&layer.why),
    };
    let reason = layer
        .why
        .first()
        .is_some_and(|why| why.contains(" was ") || why.contains(" is "));
    if reason {
        text
    } else {
        format!("changed: {text}")
    }
}
