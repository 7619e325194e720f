//! SQL on the node's own MariaDB, through its client program, as root on the local socket.
//!
//! Statements go in on standard input, so that none is ever in an argument list. What the server
//! says about an error is passed on without the piece of SQL it likes to quote: that may hold a
//! password's hash.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use sha1::{Digest, Sha1};

use crate::cmd::{Cmd, Failed};
use crate::node::Node;

/// Runs one `SELECT` or `SHOW` and gives its rows as text; `NULL` is the text `NULL`.
pub fn query(node: &Node, sql: &str) -> Result<Vec<Vec<String>>> {
    let output = run(node, sql)?;
    Ok(rows(&output))
}

/// Runs statements, separated by semicolons, in one connection. Stops at the first that fails;
/// a transaction that was open then is rolled back.
pub fn execute(node: &Node, sql: &str) -> Result<()> {
    run(node, sql).map(drop)
}

/// What MariaDB keeps of a password, for `IDENTIFIED VIA mysql_native_password USING '...'`.
pub fn native_password_hash(password: &str) -> String {
    let twice = Sha1::digest(Sha1::digest(password.as_bytes()));
    let mut hash = String::from("*");
    for byte in twice {
        hash.push_str(&format!("{byte:02X}"));
    }
    hash
}

/// A string literal of this text.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

/// A quoted name of a database, table or column.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn run(node: &Node, sql: &str) -> Result<String> {
    let client = Cmd::new(node.platform.program("mariadb")?);
    run_with(client, node.platform.path("mariadb-socket")?, sql)
}

fn run_with(client: Cmd, socket: &Path, sql: &str) -> Result<String> {
    let client = client
        // First of all: a client section somewhere below /etc/mysql must not change the meaning.
        .arg("--no-defaults")
        .arg(format!("--socket={}", socket.display()))
        .args(["--user=root", "--default-character-set=utf8mb4"])
        .args(["--batch", "--skip-column-names", "--binary-mode"]);
    client
        .stdin(sql)
        .read()
        .map_err(without_statement)
        .with_context(|| format!("running SQL as root on {}", socket.display()))
}

/// Takes out of a client's complaint what it and the server repeat of the statement: the client
/// prints the whole of it between two rules, the server quotes its end.
fn without_statement(error: anyhow::Error) -> anyhow::Error {
    const RULE: &str = "--------------";
    const QUOTES: [&str; 2] = ["; check the manual that corresponds", " near '"];
    let Some(failed) = error.downcast_ref::<Failed>() else {
        return error;
    };
    // The last: a statement may have a line like that itself.
    let complaint = failed.tail.lines().rfind(|line| line.starts_with("ERROR "));
    match complaint {
        Some(line) => {
            let ends = QUOTES.iter().filter_map(|mark| line.find(mark));
            anyhow!("{}", &line[..ends.min().unwrap_or(line.len())])
        }
        None if failed.tail.contains(RULE) => anyhow!("the client gave no reason"),
        None => error,
    }
}

/// Splits what `--batch` prints, and undoes its escapes.
fn rows(output: &str) -> Vec<Vec<String>> {
    let fields = |line: &str| line.split('\t').map(unescape).collect();
    output.lines().map(fields).collect()
}

fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('0') => text.push('\0'),
            Some(other) => text.push(other),
            None => text.push('\\'),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for the client: `sh -c SCRIPT`, which sees our options as `$0`, `$1` ...
    fn client(script: &str) -> Cmd {
        Cmd::new("sh").args(["-c", script])
    }

    #[test]
    fn the_hash_is_mariadbs() {
        // SELECT PASSWORD('password'), as MariaDB's documentation prints it.
        let hash = native_password_hash("password");
        assert_eq!(hash, "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19");
    }

    #[test]
    fn text_is_quoted_so_that_it_stays_text() {
        assert_eq!(quote(r"it's \ here"), r"'it''s \\ here'");
        assert_eq!(identifier("nova`cell0"), "`nova``cell0`");
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let output = "one\ttwo\\ttabs\nback\\\\slash\tline\\nbreak\n\tempty\n";
        assert_eq!(
            rows(output),
            [
                vec!["one".to_owned(), "two\ttabs".into()],
                vec![r"back\slash".into(), "line\nbreak".into()],
                vec![String::new(), "empty".into()],
            ]
        );
        assert!(rows("").is_empty());
    }

    #[test]
    fn the_statement_goes_in_on_standard_input_alone() {
        let socket = Path::new("/run/test.sock");
        let seen = run_with(client("echo \"$0 $1 $2\"; cat"), socket, "SELECT 'hush'").unwrap();
        assert_eq!(
            seen,
            "--no-defaults --socket=/run/test.sock --user=root\nSELECT 'hush'"
        );
    }

    #[test]
    fn an_error_never_repeats_the_statement() {
        // As the client of MariaDB 10.11 prints it.
        let script = "cat >&2 <<'END'\n--------------\nCREATE USER x IDENTIFIED VIA \
                      mysql_native_password USIN '*ABC'\n--------------\n\n\
                      ERROR 1064 (42000) at line 2: You have an error in your SQL syntax; \
                      check the manual that corresponds to your MariaDB server version for the \
                      right syntax to use near 'USIN '*ABC'' at line 2\nEND\nexit 1";
        let error = run_with(client(script), Path::new("/s"), "CREATE USER ...").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "running SQL as root on /s: ERROR 1064 (42000) at line 2: You have an error in your \
             SQL syntax"
        );
        let script = "printf -- '--------------\\nALTER USER *ABC\\n' >&2; exit 1";
        let error = run_with(client(script), Path::new("/s"), "ALTER USER ...").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "running SQL as root on /s: the client gave no reason"
        );
    }

    #[test]
    fn an_unreachable_server_is_named() {
        let words = "ERROR 2002 (HY000): Can't connect to local server through socket '/s' (2)";
        let script = format!("echo \"{words}\" >&2; exit 1");
        let error = run_with(client(&script), Path::new("/s"), "SELECT 1").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            format!("running SQL as root on /s: {words}")
        );
    }
}
