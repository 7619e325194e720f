//! MariaDB: the server, the databases, and one account for each service.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::shape;
use crate::node::Node;
use crate::resource::sql::{self, identifier, native_password_hash, quote};
use crate::schema::{self, Schema};
use crate::step::{Check, Step};

const USERS: &str = "SELECT User, Host, plugin, authentication_string FROM mysql.user;";
/// Lets the root of this machine in, by the socket alone.
const ROOT_PLUGIN: &str = "unix_socket";

pub(super) fn steps() -> Vec<Step> {
    vec![
        shape::configured(
            "mariadb/config",
            "the database listens on the management address",
            &["mariadb"],
        ),
        shape::running("mariadb/running", "the database runs", "mariadb")
            .needs(["mariadb/config", "base/hostname"])
            .weight(15),
        Step::new(
            "mariadb/access",
            "each service has its databases, and only those",
        )
        .needs(["mariadb/running"])
        .hint("look at the accounts: `mariadb -e 'SELECT User, Host FROM mysql.user'`")
        .check(|context| check(context))
        .apply(|context| sql::execute(context, &statements(context)?)),
    ]
}

/// The URL with which a service finds its database.
pub(super) fn url(node: &Node, schema: &Schema) -> Result<String> {
    let account = schema.account;
    let password = node.secrets.get(&secret(account))?;
    let address = address(node);
    let database = schema.database;
    Ok(format!(
        "mysql+pymysql://{account}:{password}@{address}:3306/{database}?charset=utf8"
    ))
}

/// Services reach the server on this address, and are allowed in from nowhere else.
fn address(node: &Node) -> Ipv4Addr {
    node.config.management.address.addr()
}

fn secret(account: &str) -> String {
    format!("database-{account}")
}

/// Each account once, in the order of the schemas.
fn accounts() -> Vec<&'static str> {
    let mut accounts: Vec<_> = schema::all().iter().map(|schema| schema.account).collect();
    accounts.dedup();
    accounts
}

fn check(node: &Node) -> Result<Check> {
    let host = address(node).to_string();
    let users = sql::query(node, USERS)?;
    if users.iter().any(|row| is_open_root(row)) {
        return Ok(Check::Todo(
            "root may log in without a password, or from elsewhere".to_owned(),
        ));
    }
    for account in accounts() {
        let hash = native_password_hash(node.secrets.get(&secret(account))?);
        let expected = [account, &host, "mysql_native_password", &hash];
        let own: Vec<_> = users.iter().filter(|row| row[0] == account).collect();
        if own.len() != 1 || own[0].iter().ne(expected) {
            return Ok(Check::Todo(format!(
                "the account {account} is not as it should be"
            )));
        }
    }
    if users.iter().any(|row| row[0].is_empty()) {
        return Ok(Check::Todo("there is an account without a name".to_owned()));
    }
    let present = sql::query(node, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA;")?;
    let grants = sql::query(
        node,
        "SELECT Db, User FROM mysql.db WHERE Grant_priv = 'N' AND Drop_priv = 'Y';",
    )?;
    for schema in schema::all() {
        let Schema {
            database, account, ..
        } = schema;
        if !present.iter().any(|row| row[0] == *database) {
            return Ok(Check::Todo(format!("there is no database {database}")));
        }
        let pattern = pattern(database);
        // The client doubles the backslash of an escaped underscore.
        let granted =
            |row: &&Vec<String>| row[0].replace(r"\\", r"\") == pattern && row[1] == *account;
        if grants.iter().find(granted).is_none() {
            return Ok(Check::Todo(format!(
                "{account} has no rights on {database}"
            )));
        }
    }
    let all = grants
        .iter()
        .filter(|row| accounts().contains(&row[1].as_str()));
    let own = schema::all().len();
    Ok(Check::of(
        all.count() == own,
        "an account has rights on a database that is not its own",
    ))
}

/// Some packages make accounts for root that ask for nothing, in which any user of this machine is
/// the database's administrator, and some for each of its names.
fn is_open_root(row: &[String]) -> bool {
    let [user, host, plugin, password] = row else {
        return false;
    };
    let asks_nothing = password.is_empty() && plugin != ROOT_PLUGIN;
    user == "root" && (asks_nothing || host != "localhost")
}

/// In a grant an underscore stands for any character, unless it is escaped.
fn pattern(database: &str) -> String {
    database.replace('_', r"\_")
}

/// Everything at once; each statement may be repeated.
fn statements(node: &Node) -> Result<String> {
    let host = quote(&address(node).to_string());
    let mut text = String::new();
    for (user, at) in strangers(node)? {
        text.push_str(&format!("DROP USER {}@{};\n", quote(&user), quote(&at)));
    }
    if sql::query(node, USERS)?.iter().any(|row| is_open_root(row)) {
        text.push_str(&format!(
            "ALTER USER 'root'@'localhost' IDENTIFIED VIA {ROOT_PLUGIN};\n"
        ));
    }
    for account in accounts() {
        let user = quote(account);
        let hash = native_password_hash(node.secrets.get(&secret(account))?);
        let proof = format!(
            "IDENTIFIED VIA mysql_native_password USING {}",
            quote(&hash)
        );
        text.push_str(&format!(
            "CREATE USER IF NOT EXISTS {user}@{host} {proof};\n"
        ));
        text.push_str(&format!("ALTER USER {user}@{host} {proof};\n"));
        text.push_str(&format!(
            "REVOKE ALL PRIVILEGES, GRANT OPTION FROM {user}@{host};\n"
        ));
    }
    for schema in schema::all() {
        text.push_str(&schema.create());
        text.push_str(&format!(
            "GRANT ALL PRIVILEGES ON {}.* TO {}@{host};\n",
            identifier(&pattern(schema.database)),
            quote(schema.account)
        ));
    }
    Ok(text)
}

/// Accounts without a name, root's for anywhere but here, and those of our services for other
/// addresses: an older address of this node, or whatever the build left.
fn strangers(node: &Node) -> Result<Vec<(String, String)>> {
    let host = address(node).to_string();
    let rows = sql::query(node, "SELECT User, Host FROM mysql.user;")?;
    let accounts = accounts();
    let pairs = rows.into_iter().filter_map(|row| {
        let [user, at]: [String; 2] = row.try_into().ok()?;
        let ours_elsewhere = accounts.contains(&user.as_str()) && at != host;
        let root_elsewhere = user == "root" && at != "localhost";
        (user.is_empty() || root_elsewhere || ours_elsewhere).then_some((user, at))
    });
    Ok(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nova_owns_three_databases_with_one_account() {
        assert_eq!(
            accounts(),
            ["keystone", "glance", "placement", "nova", "neutron"]
        );
    }

    #[test]
    fn a_root_that_asks_for_nothing_is_told_from_one_that_is_let_in_by_the_socket() {
        let open = |host: &str, plugin: &str, password: &str| {
            is_open_root(&["root", host, plugin, password].map(str::to_owned))
        };
        // As a fresh database of CentOS Stream has it, and as one of Debian.
        assert!(open("localhost", "mysql_native_password", ""));
        assert!(!open("localhost", "mysql_native_password", "invalid"));
        assert!(!open("localhost", "unix_socket", ""));
        assert!(open("controller", "unix_socket", ""));
        let other = ["nova", "10.0.0.1", "mysql_native_password", ""];
        assert!(!is_open_root(&other.map(str::to_owned)));
    }

    #[test]
    fn an_underscore_is_no_wildcard() {
        assert_eq!(pattern("nova_api"), r"nova\_api");
    }
}
