//! The agent's words: lines for a serial console, a screen for a display. Pure.
//!
//! `READY`, `JOINED`, `FAILED` and `WAITING` are read by other programs: their form is fixed.

use std::fmt::Write;

use crate::engine::{Event, Outcome};
use crate::status::{State, Status};

/// Columns and lines of a text console of any size.
const COLUMNS: usize = 79;
const RUNNING_LINES: usize = 14;
/// A line on the console tells what, not everything: the rest is in the journal.
const REASON_LENGTH: usize = 300;

/// What a node without a seed says.
pub const WAITING: &str = "cellboot: WAITING for a seed: no volume labelled CIDATA gave this node its \
     /etc/cellboot/node.toml; attach the node's seed and power on again, or type here the line \
     of `firstboot token create`";

/// Something that is neither a step nor an end.
pub fn said(text: &str) -> String {
    format!("cellboot: {}", flat(text))
}

/// What a node without a seed says to a line that brought none.
pub fn refused_line(reason: &str, hint: &str) -> String {
    let (reason, hint) = (flat(reason), flat(hint));
    format!("cellboot: the line was not taken: {reason}; {hint}")
}

/// What an agent says that was told to stop.
pub const INTERRUPTED: &str = "cellboot: stopped before the end; the next start goes on from here";

/// What a finished node says.
pub fn ready(role: &str, node: &str, seconds: u64) -> String {
    format!("cellboot: READY role={role} node={node} seconds={seconds}")
}

/// What a finished compute says.
pub fn joined(node: &str, cell: &str, seconds: u64) -> String {
    format!("cellboot: JOINED node={node} cell={cell} seconds={seconds}")
}

/// What a node says that could not be finished.
pub fn failed(step: &str, reason: &str, hint: &str) -> String {
    format!(
        "cellboot: FAILED step={step} reason=\"{}\" hint=\"{}\"",
        quoted(reason),
        quoted(hint)
    )
}

/// The line about an event, or `None` where it is not worth one.
pub fn line(status: &Status, event: &Event<'_>) -> Option<String> {
    let place = format!("cellboot: [{}/{}]", status.finished, status.total);
    Some(match event {
        Event::Started { .. } | Event::Says { text: "", .. } => return None,
        Event::Applying { step, reason } => {
            format!("{place} {step} applying: {}", short(reason))
        }
        Event::Says { step, text } => format!("{place} {step} waits for {}", short(text)),
        Event::Finished(record) => {
            let step = &record.step;
            let seconds = status.step(step).map_or(0.0, |step| step.seconds);
            let mut text = match record.outcome {
                Outcome::Done => format!("{place} {step} done"),
                Outcome::Applied => format!("{place} {step} applied in {seconds:.1} s"),
                Outcome::Todo => format!("{place} {step} todo: {}", short(&record.reason)),
                Outcome::Failed => format!(
                    "{place} {step} failed after {seconds:.1} s: {}",
                    short(&record.reason)
                ),
                // One failure can block sixty steps; whoever wants their names asks for the status.
                Outcome::Blocked => return None,
            };
            if !record.warning.is_empty() {
                let _ = write!(text, ", warning: {}", short(&record.warning));
            }
            text
        }
    })
}

/// The screen at this many seconds after power-on: how far it is, what runs, what is wrong.
pub fn screen(status: &Status, seconds: f64) -> String {
    let mut lines = Vec::new();
    let what = match status.state {
        State::Waiting => "waiting",
        State::Applying => "setting up",
        State::Ready => "ready",
        State::Failed => "failed",
    };
    let time = elapsed(seconds);
    lines.push(match status.node.as_str() {
        "" => format!("cellboot  {what}  {time}"),
        node => format!(
            "cellboot  {node} ({})  {what}  {}/{}  {time}",
            status.role, status.finished, status.total
        ),
    });
    lines.push(String::new());
    let running: Vec<_> = status
        .steps
        .iter()
        .filter(|step| step.phase.runs())
        .collect();
    for step in running.iter().take(RUNNING_LINES) {
        let waits = match step.waits_for.as_str() {
            "" => String::new(),
            text => format!("  waits for {text}"),
        };
        lines.push(format!(
            "  {:8} {:>6}  {}{waits}",
            step.phase.as_str(),
            elapsed(seconds - step.began),
            step.name
        ));
    }
    for step in &status.steps {
        if step.phase == crate::status::Phase::Failed {
            lines.push(format!("  FAILED   {}: {}", step.name, short(&step.reason)));
        }
    }
    for warning in &status.warnings {
        lines.push(format!("  warning  {}", short(warning)));
    }
    let fitted = lines.iter().map(|line| truncated(line, COLUMNS));
    fitted.collect::<Vec<_>>().join("\n") + "\n"
}

/// `0:07`, `12:31`, `1:02:03`.
fn elapsed(seconds: f64) -> String {
    // A negative or absurd time saturates, which is good enough for a display.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = seconds as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// One line, for between quotation marks.
fn quoted(text: &str) -> String {
    flat(text).replace('\\', "\\\\").replace('"', "\\\"")
}

fn short(text: &str) -> String {
    truncated(&flat(text), REASON_LENGTH)
}

/// The text on one line; nothing in it can move a cursor or change a colour.
fn flat(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    lines.join(" | ").chars().map(plain).collect()
}

fn truncated(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Record;
    use crate::step::Step;

    #[test]
    fn final_lines_are_exact() {
        assert_eq!(
            ready("controller", "control", 412),
            "cellboot: READY role=controller node=control seconds=412"
        );
        assert_eq!(
            joined("compute1", "cell1", 9),
            "cellboot: JOINED node=compute1 cell=cell1 seconds=9"
        );
        assert_eq!(
            failed(
                "mariadb/running",
                "it said \"no\"\nC:\\tmp\n\nend",
                "look \"there\""
            ),
            "cellboot: FAILED step=mariadb/running reason=\"it said \\\"no\\\" | C:\\\\tmp | end\" \
             hint=\"look \\\"there\\\"\""
        );
        assert_eq!(
            failed("a/b", "red \u{1b}[31mtext\r\n", ""),
            "cellboot: FAILED step=a/b reason=\"red  [31mtext\" hint=\"\""
        );
        assert_eq!(
            WAITING,
            "cellboot: WAITING for a seed: no volume labelled CIDATA gave this node its \
             /etc/cellboot/node.toml; attach the node's seed and power on again, or type \
             here the line of `firstboot token create`"
        );
    }

    fn record(outcome: Outcome, reason: &str, warning: &str) -> Record {
        Record {
            step: "mariadb/running".into(),
            outcome,
            start_ms: 0,
            start_since_boot_ms: 0,
            check_ms: 0,
            apply_ms: 0,
            reason: reason.into(),
            hint: String::new(),
            warning: warning.into(),
        }
    }

    #[test]
    fn each_event_has_its_line() {
        let steps = [Step::new("mariadb/running", "")];
        let step = "mariadb/running";
        let lines = |event: &Event<'_>| {
            let mut status = Status::applying("control", "controller", &steps, 0.0);
            status.apply(&Event::Started { step }, 10.0);
            status.apply(event, 13.14);
            line(&status, event)
        };
        let table = [
            (record(Outcome::Done, "", ""), "[1/1] mariadb/running done"),
            (
                record(Outcome::Done, "", "slow\ndisk"),
                "[1/1] mariadb/running done, warning: slow | disk",
            ),
            (
                record(Outcome::Applied, "was off", ""),
                "[1/1] mariadb/running applied in 3.1 s",
            ),
            (
                record(Outcome::Failed, "no\nluck", ""),
                "[1/1] mariadb/running failed after 3.1 s: no | luck",
            ),
            (
                record(Outcome::Todo, "is off", ""),
                "[1/1] mariadb/running todo: is off",
            ),
        ];
        for (record, expected) in table {
            let found = lines(&Event::Finished(&record)).unwrap();
            assert_eq!(found, format!("cellboot: {expected}"));
        }
        let blocked = record(Outcome::Blocked, "needs a/b", "");
        assert_eq!(lines(&Event::Finished(&blocked)), None);
        assert_eq!(lines(&Event::Started { step }), None);
        assert_eq!(lines(&Event::Says { step, text: "" }), None);
        let text = "its socket";
        assert_eq!(
            lines(&Event::Says { step, text }).unwrap(),
            "cellboot: [0/1] mariadb/running waits for its socket"
        );
        let reason = "it is off";
        assert_eq!(
            lines(&Event::Applying { step, reason }).unwrap(),
            "cellboot: [0/1] mariadb/running applying: it is off"
        );
    }

    #[test]
    fn the_screen_shows_what_runs_and_fits() {
        let steps = [Step::new("a/b", ""), Step::new("c/d", "")];
        let mut status = Status::applying("control", "controller", &steps, 0.0);
        status.apply(&Event::Started { step: "a/b" }, 60.0);
        let text = &"x".repeat(100);
        status.apply(&Event::Says { step: "a/b", text }, 61.0);
        let screen = screen(&status, 3725.0);
        let lines: Vec<&str> = screen.lines().collect();
        assert_eq!(
            lines[0],
            "cellboot  control (controller)  setting up  0/2  1:02:05"
        );
        assert!(lines[2].starts_with("  checking 1:01:05  a/b  waits for xxx"));
        assert!(lines.iter().all(|line| line.chars().count() <= 79));
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_screen_without_a_node_names_none() {
        let status = Status::waiting("no seed", "attach one", 7.0);
        assert_eq!(super::screen(&status, 7.0), "cellboot  waiting  0:07\n\n");
    }
}
