//! Plain HTTP as a stranger would use it: what a URL answers, and a form login with cookies.
//!
//! The services' own APIs are in [`super::openstack`]. There is no TLS here: what is asked is on
//! this node or on its management network.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ureq::Agent;
use ureq::http::{Response, header};

use crate::wait::Probe;

/// The first request to a service waits until it has loaded, and the first page of the dashboard
/// until all that it asks have too: that was seen to take four minutes on an emulated processor.
pub const DEADLINE: Duration = Duration::from_secs(600);
/// Larger than any page or list that is read here.
const LARGEST_BODY: u64 = 16 * 1024 * 1024;
const MOST_REDIRECTS: usize = 5;

/// A client that gives every status as an answer, and does not follow redirects by itself.
pub fn agent() -> Agent {
    Agent::config_builder()
        .timeout_global(Some(DEADLINE))
        .http_status_as_error(false)
        .max_redirects(0)
        // uwsgi closes a connection after each answer without saying so before; a client that
        // keeps it sends the next request into a reset now and then.
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .user_agent("cellboot")
        // The environment of whoever runs the agent by hand must not lead us elsewhere.
        .proxy(None)
        .build()
        .into()
}

/// The status and the body that a URL answers with. A redirect is an answer.
pub fn get(url: &str) -> Result<(u16, String)> {
    let context = || format!("calling GET {url}");
    let response = agent().get(url).call().with_context(context)?;
    let status = response.status().as_u16();
    Ok((status, text(response).with_context(context)?))
}

/// For [`crate::wait::until`]: ready once the URL answers with this status.
pub fn answers(url: &str, status: u16) -> Result<Probe<String>> {
    Ok(match get(url) {
        Ok((seen, body)) if seen == status => Probe::Ready(body),
        Ok((seen, _)) => Probe::NotYet(format!("GET {url} answered {seen}")),
        Err(error) => Probe::NotYet(format!("{error:#}")),
    })
}

/// Reads a response to its end.
pub(super) fn text(mut response: Response<ureq::Body>) -> Result<String> {
    let body = response.body_mut().with_config().limit(LARGEST_BODY);
    Ok(body.lossy_utf8(true).read_to_string()?)
}

/// A visitor with cookies, of one site.
pub struct Visitor {
    agent: Agent,
    cookies: BTreeMap<String, String>,
}

/// A page that a visitor arrived at.
#[derive(Debug)]
pub struct Page {
    /// Where it is, after redirects.
    pub url: String,
    /// Its status.
    pub status: u16,
    /// Its text.
    pub body: String,
}

impl Default for Visitor {
    fn default() -> Self {
        Self {
            agent: agent(),
            cookies: BTreeMap::new(),
        }
    }
}

impl Visitor {
    /// Opens a page, following redirects.
    pub fn open(&mut self, url: &str) -> Result<Page> {
        let request = self.agent.get(url).header(header::COOKIE, self.cookie());
        let response = request
            .call()
            .with_context(|| format!("calling GET {url}"))?;
        self.follow(url, response)
    }

    /// Sends a form, with the hidden fields that the page came with, and follows redirects.
    pub fn send_form(&mut self, page: &Page, fields: &[(&str, &str)]) -> Result<Page> {
        let url = &page.url;
        let context = || format!("calling POST {url}");
        let mut all = hidden_fields(&page.body);
        for (name, value) in fields {
            all.insert((*name).to_owned(), (*value).to_owned());
        }
        let request = self
            .agent
            .post(url)
            .header(header::COOKIE, self.cookie())
            .header(header::REFERER, url);
        let response = request.send_form(all).with_context(context)?;
        self.follow(url, response)
    }

    fn follow(&mut self, url: &str, first: Response<ureq::Body>) -> Result<Page> {
        let (mut url, mut response) = (url.to_owned(), first);
        for _ in 0..=MOST_REDIRECTS {
            self.keep_cookies(&response);
            let status = response.status();
            let target = response.headers().get(header::LOCATION).cloned();
            let Some(target) = target.filter(|_| status.is_redirection()) else {
                let body = text(response).with_context(|| format!("reading {url}"))?;
                let status = status.as_u16();
                return Ok(Page { url, status, body });
            };
            let target = target.to_str().context("reading a redirect")?;
            url = same_site(&url, target)?;
            let request = self.agent.get(&url).header(header::COOKIE, self.cookie());
            response = request
                .call()
                .with_context(|| format!("calling GET {url}"))?;
        }
        bail!("{url} redirects more than {MOST_REDIRECTS} times")
    }

    fn cookie(&self) -> String {
        let pairs: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    fn keep_cookies(&mut self, response: &Response<ureq::Body>) {
        for line in response.headers().get_all(header::SET_COOKIE) {
            let pair = line.to_str().unwrap_or_default().split(';').next();
            if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
                self.cookies
                    .insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
    }
}

/// Where a redirect leads: an absolute path, or a URL of the same host. Cookies go nowhere else.
fn same_site(url: &str, target: &str) -> Result<String> {
    let origin = match url
        .split_once("://")
        .map(|(scheme, rest)| (scheme, rest.split('/').next().unwrap_or_default()))
    {
        Some((scheme, host)) => format!("{scheme}://{host}"),
        None => bail!("{url:?} is no URL"),
    };
    if target.starts_with('/') && !target.starts_with("//") {
        return Ok(format!("{origin}{target}"));
    }
    if target == origin || target.starts_with(&format!("{origin}/")) {
        return Ok(target.to_owned());
    }
    bail!("{url} redirects to another site: {target}")
}

/// Names and values of the `<input type="hidden">` of a page.
fn hidden_fields(page: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for tag in page.split("<input").skip(1) {
        let tag = tag.split('>').next().unwrap_or_default();
        if attribute(tag, "type") != Some("hidden") {
            continue;
        }
        if let (Some(name), Some(value)) = (attribute(tag, "name"), attribute(tag, "value")) {
            fields.insert(name.to_owned(), value.to_owned());
        }
    }
    fields
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::peer;

    const LOGIN_PAGE: &str = r#"<form method="POST">
        <input type="hidden" name="csrfmiddlewaretoken" value="T0ken">
        <input type="text" name="fake_email" value="" />
        <input type="hidden" name="region" value="default" id="id_region">
        <input type="password" name="password" id="id_password">"#;

    #[test]
    fn every_status_is_an_answer() {
        let peer = peer::http(vec![("503 Service Unavailable", vec![], "later".into())]);
        let answer = get(&format!("http://{}/v3", peer.address())).unwrap();
        assert_eq!(answer, (503, "later".to_owned()));
        assert_eq!(peer.join()[0].line, "GET /v3");
    }

    #[test]
    fn a_probe_says_what_it_saw_instead() {
        let peer = peer::http(vec![("500 Broken", vec![], String::new())]);
        let url = format!("http://{}/v3", peer.address());
        match answers(&url, 200).unwrap() {
            Probe::NotYet(seen) => assert_eq!(seen, format!("GET {url} answered 500")),
            Probe::Ready(body) => panic!("ready with {body:?}"),
        }
        peer.join();
        let url = format!("http://{}/", peer::closed_port());
        match answers(&url, 200).unwrap() {
            Probe::NotYet(seen) => {
                assert!(seen.starts_with(&format!("calling GET {url}: ")), "{seen}")
            }
            Probe::Ready(body) => panic!("ready with {body:?}"),
        }
    }

    #[test]
    fn a_login_carries_cookies_and_hidden_fields() {
        let peer = peer::http(vec![
            (
                "200 OK",
                vec!["Set-Cookie: csrftoken=abc; Path=/".into()],
                LOGIN_PAGE.into(),
            ),
            (
                "302 Found",
                vec![
                    "Set-Cookie: sessionid=xyz; HttpOnly".into(),
                    "Location: /dashboard/".into(),
                ],
                String::new(),
            ),
            ("200 OK", vec![], "Overview".into()),
        ]);
        let site = format!("http://{}", peer.address());
        let mut visitor = Visitor::default();
        let page = visitor
            .open(&format!("{site}/dashboard/auth/login/"))
            .unwrap();
        let fields = [("username", "admin"), ("password", "p&w =")];
        let page = visitor.send_form(&page, &fields).unwrap();
        assert_eq!(page.url, format!("{site}/dashboard/"));
        assert_eq!((page.status, page.body.as_str()), (200, "Overview"));

        let requests = peer.join();
        assert_eq!(requests[1].line, "POST /dashboard/auth/login/");
        assert_eq!(requests[1].header("cookie"), Some("csrftoken=abc"));
        assert_eq!(
            requests[1].body,
            "csrfmiddlewaretoken=T0ken&password=p%26w+%3D&region=default&username=admin"
        );
        assert_eq!(requests[2].line, "GET /dashboard/");
        assert_eq!(
            requests[2].header("cookie"),
            Some("csrftoken=abc; sessionid=xyz")
        );
    }

    #[test]
    fn a_redirect_to_another_site_is_refused() {
        assert_eq!(same_site("http://a:80/x", "/y").unwrap(), "http://a:80/y");
        assert_eq!(
            same_site("http://a:80/x", "http://a:80/y").unwrap(),
            "http://a:80/y"
        );
        for target in ["//b/y", "http://a:8080/y", "http://a:80.b/y"] {
            assert_eq!(
                same_site("http://a:80/x", target).unwrap_err().to_string(),
                format!("http://a:80/x redirects to another site: {target}")
            );
        }
    }
}
