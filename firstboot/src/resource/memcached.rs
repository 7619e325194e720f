//! Whether memcached answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// A cache that needs longer than this for one line is as good as none.
const DEADLINE: Duration = Duration::from_secs(30);
/// More than any version line has.
const LONGEST_LINE: u64 = 128;

/// The version that the memcached at this address says it has.
pub fn version(address: impl Into<SocketAddr>) -> Result<String> {
    let address = address.into();
    let line = ask(address).with_context(|| format!("asking memcached at {address}"))?;
    match line.trim_end().strip_prefix("VERSION ") {
        Some(version) => Ok(version.to_owned()),
        None if line.is_empty() => bail!("{address} hung up without an answer"),
        None => bail!(
            "{address} answered {:?}, which memcached never does",
            line.trim_end()
        ),
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(b"version\r\n")?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_LINE)).read_line(&mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::peer;

    #[test]
    fn asks_for_the_version() {
        let peer = peer::script(vec![peer::exchange("version\r\n", b"VERSION 1.6.18\r\n")]);
        assert_eq!(version(peer.address()).unwrap(), "1.6.18");
        peer.join();
    }

    #[test]
    fn something_else_on_the_port_is_told() {
        let peer = peer::script(vec![peer::exchange("version\r\n", b"ERROR\r\n")]);
        let address = peer.address();
        assert_eq!(
            version(address).unwrap_err().to_string(),
            format!("{address} answered \"ERROR\", which memcached never does")
        );
        peer.join();
    }

    #[test]
    fn an_end_without_an_answer_is_told() {
        let peer = peer::script(vec![peer::exchange("version\r\n", b"")]);
        let address = peer.address();
        assert_eq!(
            version(address).unwrap_err().to_string(),
            format!("{address} hung up without an answer")
        );
        peer.join();
    }

    #[test]
    fn a_closed_port_is_named() {
        let address = peer::closed_port();
        assert_eq!(
            format!("{:#}", version(address).unwrap_err()),
            format!("asking memcached at {address}: Connection refused (os error 111)")
        );
    }
}
