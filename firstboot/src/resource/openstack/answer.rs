//! What a service answered to a call, and how it is told when it is not what was wanted.

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// As much of an answer as helps when it carries no message.
const LONGEST_EXCERPT: usize = 200;

/// The answer to one call.
pub(super) struct Answer {
    /// The call, as in `GET http://10.0.0.11:5000/v3/users`.
    pub(super) call: String,
    pub(super) status: u16,
    /// The header `X-Subject-Token`, in which keystone gives a token.
    pub(super) token: Option<String>,
    pub(super) body: Vec<u8>,
    /// What must never be shown, whatever the service repeats of what it was sent.
    pub(super) secrets: Vec<String>,
}

impl Answer {
    /// The answer itself if it is a success, else the error that it is.
    pub(super) fn success(self) -> Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        bail!("{} answered {}: {}", self.call, self.status, self.message())
    }

    /// True for a success, false for "there is no such thing", else the error that it is.
    pub(super) fn exists(self) -> Result<bool> {
        if self.status == 404 {
            return Ok(false);
        }
        self.success().map(|_| true)
    }

    /// The body of a success.
    pub(super) fn json<T: DeserializeOwned>(self) -> Result<T> {
        let answer = self.success()?;
        // The parser's complaint names a place and at most one word of the body.
        serde_json::from_slice(&answer.body)
            .with_context(|| format!("reading the answer to {}", answer.call))
    }

    /// What the service says about it, on one line, without any secret.
    fn message(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let message = serde_json::from_str(&text)
            .ok()
            .and_then(|json: Value| message_in(&json).map(str::to_owned));
        let told = message.unwrap_or_else(|| text.chars().take(LONGEST_EXCERPT).collect());
        let mut line = told.split_whitespace().collect::<Vec<_>>().join(" ");
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            line = line.replace(secret, "[redacted]");
        }
        if line.is_empty() {
            line.push_str("(nothing)");
        }
        line
    }
}

/// The first text under `message` or `detail`, however deep: each service wraps it in another way.
fn message_in(json: &Value) -> Option<&str> {
    match json {
        Value::Object(fields) => {
            let direct = ["message", "detail"]
                .iter()
                .find_map(|name| fields.get(*name)?.as_str());
            direct.or_else(|| fields.values().find_map(message_in))
        }
        Value::Array(items) => items.iter().find_map(message_in),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            call: "POST http://a/v3/users".into(),
            status,
            token: None,
            body: body.as_bytes().to_vec(),
            secrets: vec!["hunter2".into()],
        }
    }

    #[test]
    fn every_service_wraps_its_message_differently() {
        let cases = [
            // keystone, nova, neutron, placement, glance, uwsgi
            (
                r#"{"error":{"code":409,"message":"Conflict: Duplicate entry.","title":"Conflict"}}"#,
                "Conflict: Duplicate entry.",
            ),
            (
                r#"{"badRequest":{"code":400,"message":"Invalid input."}}"#,
                "Invalid input.",
            ),
            (
                r#"{"NeutronError":{"type":"X","message":"Not here.","detail":""}}"#,
                "Not here.",
            ),
            (
                r#"{"errors":[{"status":404,"title":"Not Found","detail":"No such class."}]}"#,
                "No such class.",
            ),
            (
                "<html>\n <h1>409</h1>\n</html>",
                "<html> <h1>409</h1> </html>",
            ),
            ("", "(nothing)"),
        ];
        for (body, expected) in cases {
            let error = answer(409, body).success().err().unwrap();
            assert_eq!(
                error.to_string(),
                format!("POST http://a/v3/users answered 409: {expected}")
            );
        }
    }

    #[test]
    fn a_password_that_comes_back_is_not_shown() {
        let body = r#"{"error":{"message":"'hunter2' does not match the pattern"}}"#;
        assert_eq!(
            answer(400, body).success().err().unwrap().to_string(),
            "POST http://a/v3/users answered 400: '[redacted]' does not match the pattern"
        );
    }

    #[test]
    fn not_found_is_not_an_error_where_that_is_the_question() {
        assert!(answer(204, "").exists().unwrap());
        assert!(!answer(404, "").exists().unwrap());
        assert!(answer(500, "").exists().is_err());
    }
}
