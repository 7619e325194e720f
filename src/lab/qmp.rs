//! The few words of QEMU's control protocol that the lab speaks.

use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::machine::Socket;

/// Runs one command without arguments and gives what it returned.
pub(crate) fn command(socket: &Socket, name: &str) -> Result<Value> {
    let stream = socket.connect()?;
    let deadline = Some(Duration::from_secs(10));
    stream
        .set_read_timeout(deadline)
        .context("talking to QEMU")?;
    let mut reader = BufReader::new(stream.try_clone().context("talking to QEMU")?);
    converse(&mut reader, &mut &stream, name)
}

fn converse(reader: &mut impl BufRead, writer: &mut impl Write, name: &str) -> Result<Value> {
    receive(reader, "QMP")?;
    let mut answer = Value::Null;
    for name in ["qmp_capabilities", name] {
        writeln!(writer, "{}", json!({ "execute": name })).context("talking to QEMU")?;
        answer = receive(reader, "return")?;
    }
    Ok(answer)
}

/// The value of `key` in the next message that is not an event.
fn receive(reader: &mut impl BufRead, key: &str) -> Result<Value> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).context("listening to QEMU")?;
        if line.is_empty() {
            bail!("QEMU hung up");
        }
        let mut message: Value =
            serde_json::from_str(&line).with_context(|| format!("reading QEMU's {line:?}"))?;
        if let Some(error) = message.get("error") {
            bail!(
                "QEMU refused: {}",
                error["desc"].as_str().unwrap_or("no reason given")
            );
        }
        if message.get("event").is_none() {
            return Ok(message[key].take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_between_answers_are_passed_over() {
        let script = concat!(
            "{\"QMP\": {\"version\": {}}}\n",
            "{\"return\": {}}\n",
            "{\"event\": \"RTC_CHANGE\"}\n",
            "{\"return\": {\"status\": \"running\"}}\n",
        );
        let mut said = Vec::new();
        let answer = converse(&mut script.as_bytes(), &mut said, "query-status").unwrap();
        assert_eq!(answer["status"], "running");
        assert_eq!(
            String::from_utf8(said).unwrap(),
            "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-status\"}\n"
        );
    }

    #[test]
    fn a_refusal_is_an_error() {
        let script = "{\"QMP\": {}}\n{\"return\": {}}\n{\"error\": {\"desc\": \"no such\"}}\n";
        let error = converse(&mut script.as_bytes(), &mut Vec::new(), "x").unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused: no such");
    }
}
