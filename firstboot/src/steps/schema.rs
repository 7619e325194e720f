//! The tables of each database: baked into the image, compared here, made here where they differ.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::mariadb;
use crate::files::{self, Ownership};
use crate::node::Node;
use crate::paths;
use crate::resource::sql::{self, quote};
use crate::schema::{self, RECORD, Record, Schema};
use crate::step::{Check, Step};
use crate::users;

/// The step that gives a database its tables.
pub(super) fn step(name: &'static str, database: &'static str) -> Step {
    Step::new(name, "the database has the tables of this release")
        .needs(["mariadb/access"])
        .hint("read the end of what the program said; run `firstboot apply` again once that is mended")
        .check(move |context| check(context, schema::of(database)?))
        .apply(move |context| apply(context, schema::of(database)?))
}

fn check(node: &Node, schema: &Schema) -> Result<Check> {
    let Some(expected) = expected(schema.database)? else {
        return Ok(Check::Todo(
            "nothing says that the tables are complete".to_owned(),
        ));
    };
    let present = revisions(node, schema)?;
    Ok(Check::of(
        present == expected,
        format!(
            "{} is at revision {}, not {}",
            schema.database,
            told(&present),
            told(&expected)
        ),
    ))
}

/// Runs the release's own program, which does nothing where there is nothing to do.
fn apply(node: &Node, schema: &Schema) -> Result<()> {
    let (uid, gid) = users::lookup(schema.user(&node.platform)?)?;
    let config = Path::new(paths::RUN).join(format!("{}.conf", schema.database));
    let text = schema.config(&mariadb::url(node, schema)?);
    let owner = Ownership {
        mode: 0o400,
        owner: Some((uid, gid)),
    };
    files::replace(&config, text.as_bytes(), owner)?;
    let outcome = schema.command(&node.platform, &config)?.run();
    std::fs::remove_file(&config).with_context(|| format!("removing {}", config.display()))?;
    outcome?;
    // From now on these are the revisions to expect, whatever the image was built with.
    let revisions = revisions(node, schema)?.join("\n");
    files::replace(
        &marker(schema.database),
        revisions.as_bytes(),
        Ownership::mode(0o644),
    )
}

/// The revisions that the last run on this node left, or else those that the image came with.
fn expected(database: &str) -> Result<Option<Vec<String>>> {
    if let Some(text) = files::read_if_exists(&marker(database))? {
        return Ok(Some(text.lines().map(str::to_owned).collect()));
    }
    let Some(text) = files::read_if_exists(Path::new(RECORD))? else {
        return Ok(None);
    };
    let record: Record =
        serde_json::from_str(&text).with_context(|| format!("reading {RECORD}"))?;
    Ok(record.get(database).cloned())
}

fn marker(database: &str) -> PathBuf {
    Path::new(paths::STATE).join("schema").join(database)
}

/// Sorted; none where the table of revisions does not exist.
fn revisions(node: &Node, schema: &Schema) -> Result<Vec<String>> {
    let exists = sql::query(
        node,
        &format!(
            "SELECT 1 FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME = 'alembic_version';",
            quote(schema.database)
        ),
    )?;
    if exists.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sql::query(node, &schema.revisions())?;
    Ok(rows.into_iter().flatten().collect())
}

fn told(revisions: &[String]) -> String {
    match revisions {
        [] => "none".to_owned(),
        some => some.join(" and "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_told_in_words() {
        assert_eq!(told(&[]), "none");
        assert_eq!(told(&["a".to_owned(), "b".to_owned()]), "a and b");
    }
}
