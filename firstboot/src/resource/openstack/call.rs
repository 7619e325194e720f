//! One call of an API, from its parts to its answer.

use anyhow::{Context as _, Result};
use serde::Serialize;
use ureq::http::{Method, Request};

use super::answer::Answer;
use super::session::Session;

/// Larger than any image or list that is read here.
const LARGEST_BODY: u64 = 64 * 1024 * 1024;

/// A call that is being put together.
pub(super) struct Call<'a> {
    session: &'a Session,
    method: Method,
    url: String,
    query: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Option<(&'static str, Vec<u8>)>,
    secret: Option<String>,
}

impl<'a> Call<'a> {
    /// A call of this URL.
    pub(super) fn new(session: &'a Session, method: Method, url: String) -> Self {
        Self {
            session,
            method,
            url,
            query: String::new(),
            headers: Vec::new(),
            body: None,
            secret: None,
        }
    }

    /// Adds a query.
    pub(super) fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        for (name, value) in pairs {
            self.query
                .push(if self.query.is_empty() { '?' } else { '&' });
            self.query
                .push_str(&format!("{name}={}", percent_encoded(value)));
        }
        self
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets a JSON body.
    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(body)
            .with_context(|| format!("writing the body of {} {}", self.method, self.url))?;
        self.body = Some(("application/json", bytes));
        Ok(self)
    }

    /// Sets a body of bytes.
    pub(super) fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = Some(("application/octet-stream", body));
        self
    }

    /// Names what the body holds that no error may show.
    pub(super) fn hide(mut self, secret: &str) -> Self {
        self.secret = Some(secret.to_owned());
        self
    }

    /// Sends it with the session's token, and once more with a new one if that is refused.
    pub(super) fn send(self) -> Result<Answer> {
        let token = self.session.token()?;
        let answer = self.send_with(Some(&token))?;
        if answer.status != 401 {
            return Ok(answer);
        }
        self.session.forget_token(&token);
        let token = self.session.token()?;
        self.send_with(Some(&token))
    }

    /// Sends it with this token, or without any.
    pub(super) fn send_with(&self, token: Option<&str>) -> Result<Answer> {
        let call = format!("{} {}", self.method, self.url);
        let mut request = Request::builder()
            .method(&self.method)
            .uri(format!("{}{}", self.url, self.query))
            .header("Accept", "*/*");
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = token {
            request = request.header("X-Auth-Token", token);
        }
        let context = || format!("calling {call}");
        let agent = self.session.agent();
        let response = match &self.body {
            Some((kind, bytes)) => {
                let request = request.header("Content-Type", *kind);
                agent.run(request.body(bytes.as_slice()).with_context(context)?)
            }
            // A body of no bytes is not the same as none, of which the client would not say the
            // length, without which mod_wsgi takes no such call.
            None if matches!(self.method, Method::PUT | Method::POST | Method::PATCH) => {
                agent.run(request.body(&[][..]).with_context(context)?)
            }
            None => agent.run(request.body(()).with_context(context)?),
        };
        let mut response = response.with_context(context)?;
        let token = response.headers().get("X-Subject-Token");
        let token = token
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = response.body_mut().with_config().limit(LARGEST_BODY);
        let body = body.read_to_vec().with_context(context)?;
        let hidden = [
            Some(self.session.password().to_owned()),
            self.secret.clone(),
        ];
        Ok(Answer {
            status: response.status().as_u16(),
            token,
            body,
            secrets: hidden.into_iter().flatten().collect(),
            call,
        })
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_letter_is_encoded() {
        assert_eq!(percent_encoded("a-b_c.d~e"), "a-b_c.d~e");
        assert_eq!(percent_encoded("a b&c=\u{e9}"), "a%20b%26c%3D%C3%A9");
    }
}
