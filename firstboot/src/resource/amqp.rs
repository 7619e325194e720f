//! Just enough AMQP 0-9-1 to ask a broker two things: does it let this user in, and does anybody
//! listen to that queue.
//!
//! `rabbitmqctl` would answer too, after starting an Erlang machine of its own. Nothing is ever
//! published or consumed here.

use std::fmt;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::amqp_frame::{Arguments, Method, read_method, write_method};

/// RabbitMQ takes a second on purpose before it refuses, and more on a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);
const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
const CHANNEL: u16 = 1;

// Reply codes of the specification.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const REPLY_SUCCESS: u16 = 200;

// Methods, by class and number.
const CONNECTION_START: Method = Method(10, 10);
const CONNECTION_START_OK: Method = Method(10, 11);
const CONNECTION_TUNE: Method = Method(10, 30);
const CONNECTION_TUNE_OK: Method = Method(10, 31);
const CONNECTION_OPEN: Method = Method(10, 40);
const CONNECTION_OPEN_OK: Method = Method(10, 41);
const CONNECTION_CLOSE: Method = Method(10, 50);
const CONNECTION_CLOSE_OK: Method = Method(10, 51);
const CHANNEL_OPEN: Method = Method(20, 10);
const CHANNEL_OPEN_OK: Method = Method(20, 11);
const CHANNEL_CLOSE: Method = Method(20, 40);
const QUEUE_DECLARE: Method = Method(50, 10);
const QUEUE_DECLARE_OK: Method = Method(50, 11);

/// What a broker makes of a user and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// They open the virtual host `/`.
    Accepted,
    /// They do not.
    Refused,
}

/// Tries a user and a password on the broker at this address.
///
/// # Errors
/// When the broker cannot be reached, or is none.
pub fn login(address: impl Into<SocketAddr>, user: &str, password: &str) -> Result<Login> {
    let address = address.into();
    let opened = Connection::open(address, user, password)
        .with_context(|| format!("logging in at the broker {address} as {user}"))?;
    let Some(mut connection) = opened else {
        return Ok(Login::Refused);
    };
    connection.close();
    Ok(Login::Accepted)
}

/// True if the queue exists and somebody consumes from it.
pub fn queue_has_consumers(
    address: impl Into<SocketAddr>,
    user: &str,
    password: &str,
    queue: &str,
) -> Result<bool> {
    let address = address.into();
    let context = || format!("asking the broker {address} for the queue {queue}");
    let opened = Connection::open(address, user, password).with_context(context)?;
    let Some(mut connection) = opened else {
        bail!("the broker {address} refused the user {user}");
    };
    let consumers = connection.consumers(queue).with_context(context)?;
    connection.close();
    Ok(consumers > 0)
}

struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Opens the virtual host `/`, or gives `None` when the broker refuses the user.
    fn open(address: SocketAddr, user: &str, password: &str) -> Result<Option<Self>> {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let mut connection = Self { stream };
        connection.stream.write_all(PROTOCOL_HEADER)?;
        connection.expect(CONNECTION_START)?;
        let start_ok = Arguments::new()
            // Without this a broker refuses by closing the socket, as a crash would.
            .table_of_flags("capabilities", &["authentication_failure_close"])
            .short_string("PLAIN")
            .long_string(format!("\0{user}\0{password}").as_bytes())
            .short_string("en_US");
        connection.send(0, CONNECTION_START_OK, start_ok)?;
        let mut tune = match connection.answer(CONNECTION_TUNE)? {
            Ok(tune) => tune,
            Err(close) => return close.refusal(),
        };
        let (channels, frame) = (tune.read_short()?, tune.read_long()?);
        let tune_ok = Arguments::new().short(channels).long(frame).short(0);
        connection.send(0, CONNECTION_TUNE_OK, tune_ok)?;
        let open = Arguments::new().short_string("/").short_string("").octet(0);
        connection.send(0, CONNECTION_OPEN, open)?;
        match connection.answer(CONNECTION_OPEN_OK)? {
            Ok(_) => Ok(Some(connection)),
            Err(close) => close.refusal(),
        }
    }

    /// How many consume from the queue; none where there is no such queue.
    fn consumers(&mut self, queue: &str) -> Result<u32> {
        let channel_open = Arguments::new().short_string("");
        self.send(CHANNEL, CHANNEL_OPEN, channel_open)?;
        self.expect(CHANNEL_OPEN_OK)?;
        const PASSIVE: u8 = 1;
        let declare = Arguments::new()
            .short(0)
            .short_string(queue)
            .octet(PASSIVE)
            .empty_table();
        self.send(CHANNEL, QUEUE_DECLARE, declare)?;
        match self.answer(QUEUE_DECLARE_OK)? {
            Ok(mut declared) => {
                declared.read_short_string()?;
                let _messages = declared.read_long()?;
                declared.read_long()
            }
            Err(close) if close.code == NOT_FOUND => Ok(0),
            Err(close) => bail!("{close}"),
        }
    }

    /// Says goodbye. The answer was read by now: a broker that is gone already changes nothing.
    fn close(&mut self) {
        let close = Arguments::new()
            .short(REPLY_SUCCESS)
            .short_string("")
            .short(0)
            .short(0);
        if self.send(0, CONNECTION_CLOSE, close).is_ok() {
            let _ = self.expect(CONNECTION_CLOSE_OK);
        }
    }

    fn send(&mut self, channel: u16, method: Method, arguments: Arguments) -> Result<()> {
        write_method(&mut self.stream, channel, method, arguments)
    }

    fn expect(&mut self, wanted: Method) -> Result<Arguments> {
        match self.answer(wanted)? {
            Ok(arguments) => Ok(arguments),
            Err(close) => bail!("{close}"),
        }
    }

    /// Reads the wanted method, or the broker's reason to close the connection or the channel.
    fn answer(&mut self, wanted: Method) -> Result<std::result::Result<Arguments, Closed>> {
        // Where it fell silent tells a broker that is overrun from a queue that is stuck.
        let (method, mut arguments) = read_method(&mut self.stream)
            .with_context(|| format!("waiting for the broker's {wanted}"))?;
        match method {
            _ if method == wanted => Ok(Ok(arguments)),
            CONNECTION_CLOSE | CHANNEL_CLOSE => Ok(Err(Closed {
                code: arguments.read_short()?,
                reason: arguments.read_short_string()?,
            })),
            other => bail!("got the method {other} instead of {wanted}"),
        }
    }
}

/// Why a broker closed a connection or a channel.
struct Closed {
    code: u16,
    reason: String,
}

impl Closed {
    /// `None` if it means "not you", else the error that it is.
    fn refusal<T>(self) -> Result<Option<T>> {
        match self.code {
            ACCESS_REFUSED => Ok(None),
            _ => bail!("{self}"),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the broker closed it with {}: {}",
            self.code, self.reason
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::peer::{self, Exchange, exchange};

    /// A frame as the specification (section 4.2.3) lays it out, by hand: type 1, channel, size,
    /// class, method, arguments, the end mark.
    fn frame(channel: u16, class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
        let size = u32::try_from(arguments.len() + 4).unwrap();
        let mut bytes = vec![1];
        bytes.extend(channel.to_be_bytes());
        bytes.extend(size.to_be_bytes());
        bytes.extend(class.to_be_bytes());
        bytes.extend(method.to_be_bytes());
        bytes.extend(arguments);
        bytes.push(0xce);
        bytes
    }

    fn header_and_start() -> Exchange {
        // version 0-9, no properties, mechanisms, locales
        let start = b"\x00\x09\x00\x00\x00\x00\x00\x00\x00\x0ePLAIN AMQPLAIN\x00\x00\x00\x05en_US";
        exchange(b"AMQP\x00\x00\x09\x01", frame(0, 10, 10, start))
    }

    fn start_ok() -> Vec<u8> {
        let mut arguments = Vec::new();
        // {capabilities: {authentication_failure_close: true}}
        arguments.extend(b"\x00\x00\x00\x31\x0ccapabilitiesF\x00\x00\x00\x1f");
        arguments.extend(b"\x1cauthentication_failure_closet\x01");
        arguments.extend(b"\x05PLAIN\x00\x00\x00\x0c\x00nova\x00secret\x05en_US");
        frame(0, 10, 11, &arguments)
    }

    fn until_open() -> Vec<Exchange> {
        let tune = b"\x07\xff\x00\x02\x00\x00\x00\x3c"; // 2047 channels, 128 KiB frames, 60 s
        let tune_ok = b"\x07\xff\x00\x02\x00\x00\x00\x00"; // the same, and no heartbeats
        let mut tuned = frame(0, 10, 31, tune_ok);
        tuned.extend(frame(0, 10, 40, b"\x01/\x00\x00"));
        vec![
            header_and_start(),
            exchange(start_ok(), frame(0, 10, 30, tune)),
            exchange(tuned, frame(0, 10, 41, b"\x00")),
        ]
    }

    fn goodbye() -> Exchange {
        let close = frame(0, 10, 50, b"\x00\xc8\x00\x00\x00\x00\x00");
        exchange(close, frame(0, 10, 51, b""))
    }

    fn declare(answer: Vec<u8>) -> Vec<Exchange> {
        let mut exchanges = until_open();
        let opened = frame(1, 20, 11, b"\x00\x00\x00\x00");
        exchanges.push(exchange(frame(1, 20, 10, b"\x00"), opened));
        let passive = frame(1, 50, 10, b"\x00\x00\x08q-plugin\x01\x00\x00\x00\x00");
        exchanges.push(exchange(passive, answer));
        exchanges.push(goodbye());
        exchanges
    }

    #[test]
    fn a_user_is_accepted() {
        let mut exchanges = until_open();
        exchanges.push(goodbye());
        let peer = peer::script(exchanges);
        let login = login(peer.address(), "nova", "secret").unwrap();
        assert_eq!(login, Login::Accepted);
        peer.join();
    }

    #[test]
    fn a_user_is_refused() {
        let close = frame(0, 10, 50, b"\x01\x93\x0eACCESS_REFUSED\x00\x00\x00\x00");
        let peer = peer::script(vec![header_and_start(), exchange(start_ok(), close)]);
        let login = login(peer.address(), "nova", "secret").unwrap();
        assert_eq!(login, Login::Refused);
        peer.join();
    }

    #[test]
    fn another_reason_to_close_is_an_error_without_the_password() {
        let close = frame(0, 10, 50, b"\x02\x12\x0bNOT_ALLOWED\x00\x0a\x00\x28");
        let mut exchanges = until_open();
        exchanges[2] = {
            let mut sent = frame(0, 10, 31, b"\x07\xff\x00\x02\x00\x00\x00\x00");
            sent.extend(frame(0, 10, 40, b"\x01/\x00\x00"));
            exchange(sent, close)
        };
        let peer = peer::script(exchanges);
        let address = peer.address();
        let error = login(address, "nova", "secret").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            format!(
                "logging in at the broker {address} as nova: \
                 the broker closed it with 530: NOT_ALLOWED"
            )
        );
        peer.join();
    }

    #[test]
    fn consumers_are_counted() {
        for (count, expected) in [(0, false), (2, true)] {
            let declared = frame(
                1,
                50,
                11,
                &[b"\x08q-plugin\x00\x00\x00\x05\x00\x00\x00", &[count][..]].concat(),
            );
            let peer = peer::script(declare(declared));
            let has = queue_has_consumers(peer.address(), "nova", "secret", "q-plugin").unwrap();
            assert_eq!(has, expected);
            peer.join();
        }
    }

    #[test]
    fn an_absent_queue_has_no_consumers() {
        let close = frame(1, 20, 40, b"\x01\x94\x09NOT_FOUND\x00\x32\x00\x0a");
        let peer = peer::script(declare(close));
        let has = queue_has_consumers(peer.address(), "nova", "secret", "q-plugin").unwrap();
        assert!(!has);
        peer.join();
    }

    #[test]
    fn something_else_on_the_port_is_told() {
        let peer = peer::script(vec![exchange(PROTOCOL_HEADER, "SSH-2.0-OpenSSH_9.2\r\n")]);
        let address = peer.address();
        let error = login(address, "nova", "secret").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            format!(
                "logging in at the broker {address} as nova: \
                 waiting for the broker's connection.start: \
                 what came back is no AMQP method frame (it begins with 83)"
            )
        );
        peer.join();
    }
}
