//! Join tokens: `ID.SECRET`, a public identifier and 128 random bits.
//!
//! The identifier may be printed and logged; the secret is shown once, when the token is made, and
//! only its hash is kept. 128 random bits need no slow hash: there is nothing to guess from.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::hash::sha256;

/// RFC 4648's base 32 in lower case: no two characters that a person mixes up by their case, and
/// every one on every keyboard.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const ID_LENGTH: usize = 8;
/// 26 characters of 5 bits hold the 128.
const SECRET_LENGTH: usize = 26;

/// A token with its secret. Shows its identifier alone, except through [`Token::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
}

impl Token {
    /// A new token.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn generate() -> Result<Self> {
        Ok(Self {
            id: random(ID_LENGTH)?,
            secret: random(SECRET_LENGTH)?,
        })
    }

    /// The public half.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The whole token, for the seed or the line that carries it. A secret.
    pub fn reveal(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// What is kept of it: SHA-256 of the whole token, in lower case hexadecimal.
    pub fn hash(&self) -> String {
        sha256(self.reveal())
    }

    /// True if `hash` is what [`Token::hash`] gives. Takes as long for a wrong hash as for the
    /// right one.
    pub fn matches(&self, hash: &str) -> bool {
        let own = self.hash();
        let differences = own
            .bytes()
            .zip(hash.bytes())
            .fold(0, |found, (one, other)| found | (one ^ other));
        own.len() == hash.len() && std::hint::black_box(differences) == 0
    }
}

/// Bytes of which each gives 5 bits: 256 is a multiple of 32, so no letter is favoured.
fn random(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).context("reading random bytes from the kernel")?;
    let letters = bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
    Ok(letters.collect())
}

impl FromStr for Token {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let good = |part: &str, length| {
            part.len() == length && part.bytes().all(|byte| ALPHABET.contains(&byte))
        };
        match text.split_once('.') {
            Some((id, secret)) if good(id, ID_LENGTH) && good(secret, SECRET_LENGTH) => Ok(Self {
                id: id.to_owned(),
                secret: secret.to_owned(),
            }),
            // The text may be a secret with one wrong letter: it is not repeated.
            _ => bail!(
                "this is no join token: one is {ID_LENGTH} characters, a dot and \
                 {SECRET_LENGTH} characters, each a to z or 2 to 7"
            ),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, redacted)", self.id)
    }
}

impl Serialize for Token {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_being_written_down() {
        let token = Token::generate().unwrap();
        let again: Token = token.reveal().parse().unwrap();
        assert_eq!(again, token);
        assert!(again.matches(&token.hash()));
        let other = Token::generate().unwrap();
        assert!(!other.matches(&token.hash()));
        assert!(!other.matches(""));
    }

    #[test]
    fn nothing_shows_the_secret() {
        let token = Token::generate().unwrap();
        let shown = format!("{token:?}");
        assert_eq!(shown, format!("Token({}, redacted)", token.id()));
    }

    #[test]
    fn a_misspelt_token_is_refused_and_not_repeated() {
        let good = Token::generate().unwrap().reveal();
        let wrong = [
            "",
            "abcdefgh",
            &good[1..],
            &good.replace('.', ":"),
            &good.to_uppercase(),
        ];
        for text in wrong {
            let error = text.parse::<Token>().unwrap_err().to_string();
            assert_eq!(
                error,
                "this is no join token: one is 8 characters, a dot and 26 characters, \
                 each a to z or 2 to 7"
            );
        }
    }
}
