//! The reference of `site.toml` in Markdown, printed from the table of keys.

use super::key::{Absent, Key, TABLES, keys_of};

/// The text of `docs/site.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# site.toml\n\
         \n\
         One file describes one cloud. `cellboot init` writes one that works as it is,\n\
         `cellboot check` says everything that is wrong with one, a line each, and\n\
         [site.example.toml](../site.example.toml) shows every key at work.\n\
         \n\
         This page is made by `make docs` from the table that the reader itself uses\n\
         (`src/site/key.rs`); change it there.\n",
    );
    for table in TABLES {
        let needed = if table.required {
            "Required."
        } else {
            "Optional."
        };
        text += &format!("\n## `{}`\n\n{} {needed}\n", table.header, table.meaning);
        let keys: Vec<_> = keys_of(table.name).collect();
        if keys.is_empty() {
            text += "\n```toml\n[override.nova.DEFAULT]\ncpu_allocation_ratio = 4.0\n```\n";
            continue;
        }
        text += "\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n";
        for key in keys {
            text += &row(key);
        }
    }
    text
}

fn row(key: &Key) -> String {
    let default = match key.absent {
        Absent::Required => "required".to_owned(),
        Absent::Nothing => "none".to_owned(),
        Absent::Default(value) => format!("`{value}`"),
    };
    format!(
        "| `{}` | {}; for example `{}` | {default} | {} |\n",
        key.name,
        key.expected.replace('|', "\\|"),
        key.example,
        key.meaning
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;
    use std::path::Path;

    fn shipped(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_page_in_docs_is_current() {
        assert!(
            shipped("docs/site.md") == markdown(),
            "docs/site.md is stale: run `make docs`"
        );
    }

    #[test]
    fn the_example_has_every_key_and_no_problem() {
        let text = shipped("site.example.toml");
        let mut table = String::new();
        let mut seen = Vec::new();
        for line in text.lines() {
            let line = line.trim_start_matches("# ").trim();
            if line.starts_with('[') && line.ends_with(']') {
                table = line.trim_matches(['[', ']']).to_owned();
            } else if let Some((name, _)) = line.split_once(" = ") {
                seen.push((table.clone(), name.trim().to_owned()));
            }
        }
        for key in super::super::key::KEYS {
            let wanted = (key.table.to_owned(), key.name.to_owned());
            assert!(
                seen.contains(&wanted),
                "{}.{} is not shown",
                key.table,
                key.name
            );
        }
        let result = Site::parse(&text, Path::new("site.example.toml")).unwrap();
        assert_eq!(result.map(|site| site.name), Ok("cell".to_owned()));
    }
}
