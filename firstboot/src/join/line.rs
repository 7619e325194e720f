//! The line that somebody types at the console of a compute that has no seed.
//!
//! ```text
//! firstboot join 10.20.0.11:8999 TOKEN PIN NAME ADDRESS/PREFIX INTERFACE [PROVIDER_INTERFACE]
//! ```
//!
//! With it the node asks the registrar for its seed.

use std::fmt;
use std::net::SocketAddrV4;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use ipnet::Ipv4Net;

use super::protocol::{DescribeRequest, VERSION};
use super::tls;
use super::token::Token;

/// What a line begins with.
const COMMAND: [&str; 2] = ["firstboot", "join"];
/// Stands where a person has to say something.
const BLANKS: [&str; 3] = ["NAME", "ADDRESS/PREFIX", "INTERFACE"];

/// A line with everything that it takes.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Where the registrar listens.
    pub registrar: SocketAddrV4,
    /// What it lets the node in for.
    pub token: Token,
    /// How the node knows it.
    pub pin: String,
    /// Host name of the node, without domain.
    pub name: String,
    /// Management address, with the prefix length of the network.
    pub address: Ipv4Net,
    /// Management interface: a kernel name or a MAC address.
    pub interface: String,
    /// Interface on the provider network, where the node has one.
    pub provider_interface: Option<String>,
}

impl Line {
    /// What the registrar is asked with it.
    pub fn request(&self) -> DescribeRequest {
        DescribeRequest {
            version: VERSION,
            token: self.token.clone(),
            name: self.name.clone(),
            address: self.address.addr(),
            interface: self.interface.clone(),
            provider_interface: self.provider_interface.clone(),
        }
    }
}

/// The words of a line in which a person still has to put those in capitals.
pub fn to_complete(registrar: SocketAddrV4, token: &Token, pin: &str) -> String {
    let [name, address, interface] = BLANKS;
    let (firstboot, token) = (COMMAND.join(" "), token.reveal());
    format!("{firstboot} {registrar} {token} {pin} {name} {address} {interface}")
}

/// The line to be typed; it holds a secret.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (firstboot, token) = (COMMAND.join(" "), self.token.reveal());
        let (registrar, pin) = (self.registrar, &self.pin);
        let (name, address, interface) = (&self.name, self.address, &self.interface);
        write!(
            f,
            "{firstboot} {registrar} {token} {pin} {name} {address} {interface}"
        )?;
        match &self.provider_interface {
            Some(provider) => write!(f, " {provider}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({} at {}, redacted)", self.name, self.registrar)
    }
}

impl FromStr for Line {
    type Err = anyhow::Error;

    /// Errors name the word that is wrong, and never repeat the token.
    fn from_str(text: &str) -> Result<Self> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if words.starts_with(&COMMAND) {
            words.drain(..COMMAND.len());
        }
        let (&[registrar, token, pin, name, address, interface], rest) =
            words.split_first_chunk().context(
                "it takes at least six words: REGISTRAR TOKEN PIN NAME ADDRESS/PREFIX INTERFACE",
            )?;
        ensure!(
            rest.len() <= 1,
            "it takes at most seven words, the last one the interface on the provider network"
        );
        for (word, blank) in [name, address, interface].iter().zip(BLANKS) {
            ensure!(
                *word != blank,
                "put the node's own {blank} in the place of that word"
            );
        }
        let Ok(registrar) = registrar.parse() else {
            bail!("{registrar:?} is no address and port, as in 10.20.0.11:8999");
        };
        tls::parse_pin(pin)?;
        let Ok(address) = address.parse() else {
            bail!("{address:?} is no address with a prefix length, as in 10.20.0.99/24");
        };
        Ok(Self {
            registrar,
            token: token.parse()?,
            pin: pin.to_owned(),
            name: name.to_owned(),
            address,
            interface: interface.to_owned(),
            provider_interface: rest.first().map(|word| (*word).to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            registrar: "10.20.0.11:8999".parse().unwrap(),
            token: Token::generate().unwrap(),
            pin: format!("sha256:{}", "0".repeat(64)),
            name: "late".into(),
            address: "10.20.0.99/24".parse().unwrap(),
            interface: "ens3".into(),
            provider_interface: Some("ens4".into()),
        }
    }

    #[test]
    fn a_line_survives_being_typed() {
        let line = line();
        let text = line.to_string();
        assert!(
            text.starts_with("firstboot join 10.20.0.11:8999 "),
            "{text}"
        );
        assert_eq!(text.parse::<Line>().unwrap(), line);
        let loose = text.replace("firstboot join", "  ").replace(' ', "   ");
        assert_eq!(loose.parse::<Line>().unwrap(), line);
        let without = Line {
            provider_interface: None,
            ..line
        };
        assert_eq!(without.to_string().parse::<Line>().unwrap(), without);
    }

    #[test]
    fn the_word_that_is_wrong_is_named_and_the_token_is_not() {
        let good = line();
        let secret = good.token.reveal();
        let text = good.to_string();
        let table = [
            (
                "firstboot join".to_owned(),
                "it takes at least six words: REGISTRAR TOKEN PIN NAME ADDRESS/PREFIX INTERFACE",
            ),
            (
                format!("{text} more"),
                "it takes at most seven words, the last one the interface on the provider network",
            ),
            (
                text.replace("10.20.0.11:8999", "controller"),
                "\"controller\" is no address and port, as in 10.20.0.11:8999",
            ),
            (
                text.replace("10.20.0.99/24", "10.20.0.99"),
                "\"10.20.0.99\" is no address with a prefix length, as in 10.20.0.99/24",
            ),
            (
                text.replace(&secret, &secret[1..]),
                "this is no join token: one is 8 characters, a dot and 26 characters, \
                 each a to z or 2 to 7",
            ),
            (
                to_complete(good.registrar, &good.token, &good.pin),
                "put the node's own NAME in the place of that word",
            ),
        ];
        for (text, expected) in table {
            let error = text.parse::<Line>().unwrap_err().to_string();
            assert_eq!(error, expected);
            assert!(!error.contains(&secret[1..]));
        }
        assert!(!format!("{good:?}").contains(&secret));
    }
}
