//! How long each step of a boot took, from what the node said on its console.

use anyhow::Result;

use super::Lab;
use super::serial::Event;
use super::state::Node;

/// One step of a boot.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// Its name.
    pub step: String,
    /// What came of it: `applied`, `done` when it was true already.
    pub outcome: String,
    /// How long that took.
    pub seconds: f64,
}

/// The steps of a node's present boot, in the order in which they ended.
pub fn of(lab: &Lab, node: &Node) -> Result<Vec<Timing>> {
    let events = lab.follow(node).events()?;
    Ok(events.iter().filter_map(parse).collect())
}

/// Reads `[12/48] mariadb/running applied in 3.1 s`.
fn parse(event: &Event) -> Option<Timing> {
    let Event::Said(text) = event else {
        return None;
    };
    let (_, rest) = text.strip_prefix('[')?.split_once("] ")?;
    let (step, rest) = rest.split_once(' ')?;
    let (outcome, rest) = rest.split_once(" in ")?;
    let seconds = rest.split(' ').next()?.parse().ok()?;
    Some(Timing {
        step: step.to_owned(),
        outcome: outcome.to_owned(),
        seconds,
    })
}

/// The steps of a node's present boot, longest first, for people.
pub fn table(lab: &Lab, node: &Node) -> Result<Option<String>> {
    let mut timings = of(lab, node)?;
    timings.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    if timings.is_empty() {
        return Ok(None);
    }
    let width = timings
        .iter()
        .map(|timing| timing.step.len())
        .max()
        .unwrap_or(0);
    let rows = timings.iter().map(|timing| {
        format!(
            "{:<width$}  {:>7.1} s  {}",
            timing.step, timing.seconds, timing.outcome
        )
    });
    Ok(Some(rows.collect::<Vec<_>>().join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_steps_are_read() {
        let said = |text: &str| parse(&Event::Said(text.to_owned()));
        assert_eq!(
            said("[12/48] mariadb/running applied in 3.1 s"),
            Some(Timing {
                step: "mariadb/running".into(),
                outcome: "applied".into(),
                seconds: 3.1,
            })
        );
        assert_eq!(said("[1/48] base/hosts waits for something"), None);
        assert_eq!(said("starting"), None);
    }
}
