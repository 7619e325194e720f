//! Reads tables of `site.toml` key by key and writes down everything that is wrong on the way.
//!
//! It knows TOML and the table of keys, not what the values mean to each other.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{self, Absent, KEYS, Key, TABLES};
use super::problem::Problem;
use super::suggest;
use super::value::Value;

/// A value with the place that it came from, for the checks between values.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    /// The value.
    pub(super) value: T,
    /// Line of the file, counted from 1.
    pub(super) line: usize,
    /// The key with its table.
    pub(super) key: String,
}

impl<T> Located<T> {
    /// A problem at this place.
    pub(super) fn problem(&self, wrong: String, expected: &str, hint: &str) -> Problem {
        Problem {
            line: self.line,
            key: self.key.clone(),
            wrong,
            expected: expected.to_owned(),
            hint: hint.to_owned(),
        }
    }
}

/// The text under reading and what was found wrong in it.
pub(super) struct Reader<'a> {
    text: &'a str,
    /// What was found wrong so far.
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            problems: Vec::new(),
        }
    }

    /// Parses the text; `None` when it is no TOML, which is then written down.
    pub(super) fn parse(&mut self) -> Option<Spanned<DeTable<'a>>> {
        let (root, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let line = error.span().map_or(1, |span| self.line(span.start));
            self.problems.push(Problem {
                line,
                key: "syntax".into(),
                wrong: error.message().replace('\n', ", "),
                expected: "TOML".into(),
                hint: "correct the line; the other checks come after it".into(),
            });
        }
        errors.is_empty().then_some(root)
    }

    /// The line of a position in the text.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// Writes down every table that is not known.
    pub(super) fn refuse_unknown_tables(&mut self, root: &DeTable<'_>) {
        let known: Vec<_> = TABLES
            .iter()
            .map(|table| table.name)
            .filter(|name| !name.contains('.'))
            .collect();
        for name in root.keys() {
            let word: &str = name.get_ref();
            if known.contains(&word) {
                continue;
            }
            let hint = match (suggest::nearest(word, known.iter().copied()), home_of(word)) {
                (_, Some(table)) => format!("move it into the table {table}"),
                (Some(near), None) => format!("did you mean {near}?"),
                (None, None) => "remove it".into(),
            };
            self.problems.push(Problem {
                line: self.line(name.span().start),
                key: word.to_owned(),
                wrong: "there is no such table".into(),
                expected: format!("one of {}", known.join(", ")),
                hint,
            });
        }
    }

    /// The table `name`, or an empty one that answers with defaults.
    pub(super) fn table<'t>(&mut self, root: &'t DeTable<'t>, name: &'static str) -> Section<'t> {
        let line = root
            .get_key_value(name)
            .map_or(1, |(key, _)| self.line(key.span().start));
        let table = match root.get(name).map(|value| value.get_ref()) {
            Some(DeValue::Table(table)) => Some(table),
            Some(other) => {
                self.wrong_table(name, line, other);
                None
            }
            None => {
                self.missing_table(name);
                None
            }
        };
        let section = Section { name, line, table };
        section.refuse_unknown_keys(self);
        section
    }

    /// The tables of an array of tables.
    pub(super) fn tables<'t>(
        &mut self,
        root: &'t DeTable<'t>,
        name: &'static str,
    ) -> Vec<Section<'t>> {
        let Some((key, value)) = root.get_key_value(name) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value.get_ref() else {
            let line = self.line(key.span().start);
            self.wrong_table(name, line, value.get_ref());
            return Vec::new();
        };
        let mut sections = Vec::new();
        for element in array.iter() {
            let line = self.line(element.span().start);
            let DeValue::Table(table) = element.get_ref() else {
                self.wrong_table(name, line, element.get_ref());
                continue;
            };
            let table = Some(table);
            let section = Section { name, line, table };
            section.refuse_unknown_keys(self);
            sections.push(section);
        }
        sections
    }

    fn wrong_table(&mut self, name: &str, line: usize, found: &DeValue<'_>) {
        let header = header_of(name);
        self.problems.push(Problem {
            line,
            key: name.to_owned(),
            wrong: format!("is {}", describe(found)),
            expected: "a table".into(),
            hint: format!("write {header} on a line of its own and the keys below it"),
        });
    }

    fn missing_table(&mut self, name: &str) {
        let Some(table) = TABLES
            .iter()
            .find(|table| table.name == name && table.required)
        else {
            return;
        };
        let required: Vec<_> = key::keys_of(name)
            .filter(|key| key.absent == Absent::Required)
            .map(|key| key.name)
            .collect();
        self.problems.push(Problem {
            line: 1,
            key: name.to_owned(),
            wrong: "the table is missing".into(),
            expected: format!("{} with {}", table.header, required.join(", ")),
            hint: "add it; site.example.toml shows every key".into(),
        });
    }
}

/// One table of the file, or the defaults where the file has none.
#[derive(Clone, Copy)]
pub(super) struct Section<'t> {
    name: &'static str,
    line: usize,
    table: Option<&'t DeTable<'t>>,
}

impl<'t> Section<'t> {
    /// True if the file has this table.
    pub(super) fn exists(&self) -> bool {
        self.table.is_some()
    }

    /// True if the file gives this key, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// A key of this table and the place of the table's header, for what the file does not say.
    pub(super) fn header(&self, key: &str) -> Located<()> {
        Located {
            value: (),
            line: self.line,
            key: format!("{}.{key}", self.name),
        }
    }

    /// A text, or its default.
    pub(super) fn text<T>(
        &self,
        reader: &mut Reader<'_>,
        name: &'static str,
        parse: impl Fn(&str) -> Value<T>,
    ) -> Option<Located<T>> {
        let key = key::find(self.name, name)?;
        let Some((line, value)) = self.find(reader, key) else {
            let Absent::Default(literal) = key.absent else {
                return None;
            };
            let value = parse(literal.trim_matches('"')).ok()?;
            return Some(self.located(key, self.line, value));
        };
        self.parse_text(reader, key, line, value, parse)
    }

    /// A list of texts; those that are right.
    pub(super) fn texts<T>(
        &self,
        reader: &mut Reader<'_>,
        name: &'static str,
        parse: impl Fn(&str) -> Value<T>,
    ) -> Vec<Located<T>> {
        let Some(key) = key::find(self.name, name) else {
            return Vec::new();
        };
        let Some((line, value)) = self.find(reader, key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value else {
            self.wrong_type(reader, key, line, value);
            return Vec::new();
        };
        let mut found = Vec::new();
        for element in array.iter() {
            let line = reader.line(element.span().start);
            found.extend(self.parse_text(reader, key, line, element.get_ref(), &parse));
        }
        found
    }

    /// A whole number of this range, or its default.
    pub(super) fn number(
        &self,
        reader: &mut Reader<'_>,
        name: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<Located<u64>> {
        let key = key::find(self.name, name)?;
        let Some((line, value)) = self.find(reader, key) else {
            let Absent::Default(literal) = key.absent else {
                return None;
            };
            return Some(self.located(key, self.line, literal.parse().ok()?));
        };
        let DeValue::Integer(integer) = value else {
            self.wrong_type(reader, key, line, value);
            return None;
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.and_then(|number| u64::try_from(number).ok());
        let Some(number) = number.filter(|number| range.contains(number)) else {
            let problem = self.located(key, line, ()).problem(
                format!("{integer} is out of range"),
                key.expected,
                &example_of(key),
            );
            reader.problems.push(problem);
            return None;
        };
        Some(self.located(key, line, number))
    }

    fn parse_text<T>(
        &self,
        reader: &mut Reader<'_>,
        key: &Key,
        line: usize,
        value: &DeValue<'_>,
        parse: impl Fn(&str) -> Value<T>,
    ) -> Option<Located<T>> {
        let DeValue::String(text) = value else {
            self.wrong_type(reader, key, line, value);
            return None;
        };
        match parse(text) {
            Ok(value) => Some(self.located(key, line, value)),
            Err(wrong) => {
                let wrong = format!("{text:?} {wrong}");
                let place = self.located(key, line, ());
                let problem = place.problem(wrong, key.expected, &example_of(key));
                reader.problems.push(problem);
                None
            }
        }
    }

    /// The value and its line; a key that must be there and is not is written down.
    fn find(&self, reader: &mut Reader<'_>, key: &Key) -> Option<(usize, &'t DeValue<'t>)> {
        let table = self.table?;
        match table.get(key.name) {
            Some(value) => Some((reader.line(value.span().start), value.get_ref())),
            None => {
                if key.absent == Absent::Required {
                    self.missing(reader, key);
                }
                None
            }
        }
    }

    /// Writes down a key that other keys make necessary and that is not there.
    pub(super) fn require(&self, reader: &mut Reader<'_>, name: &'static str) {
        if !self.has(name)
            && let Some(key) = key::find(self.name, name)
        {
            self.missing(reader, key);
        }
    }

    fn missing(&self, reader: &mut Reader<'_>, key: &Key) {
        let problem = self.header(key.name).problem(
            "is missing".into(),
            key.expected,
            &format!("add {} = {}", key.name, key.example),
        );
        reader.problems.push(problem);
    }

    fn wrong_type(&self, reader: &mut Reader<'_>, key: &Key, line: usize, found: &DeValue<'_>) {
        let problem = self.located(key, line, ()).problem(
            format!("is {}", describe(found)),
            key.expected,
            &example_of(key),
        );
        reader.problems.push(problem);
    }

    fn refuse_unknown_keys(&self, reader: &mut Reader<'_>) {
        let known: Vec<_> = key::keys_of(self.name).map(|key| key.name).collect();
        for name in self.table.into_iter().flat_map(|table| table.keys()) {
            let word: &str = name.get_ref();
            let is_table = TABLES
                .iter()
                .any(|table| table.name == format!("{}.{word}", self.name));
            if known.contains(&word) || is_table {
                continue;
            }
            let hint = match (suggest::nearest(word, known.iter().copied()), home_of(word)) {
                (Some(near), _) => format!("did you mean {near}?"),
                (None, Some(table)) => format!("move it into the table {table}"),
                (None, None) => "remove it".into(),
            };
            reader.problems.push(Problem {
                line: reader.line(name.span().start),
                key: format!("{}.{word}", self.name),
                wrong: "there is no such key".into(),
                expected: format!("one of {}", known.join(", ")),
                hint,
            });
        }
    }

    /// The table below this one, such as `platform.mirrors`.
    pub(super) fn table(&self, reader: &mut Reader<'_>, name: &'static str) -> Section<'t> {
        let short = name.rsplit('.').next().unwrap_or(name);
        let found = self.table.and_then(|table| table.get_key_value(short));
        let line = found.map_or(self.line, |(key, _)| reader.line(key.span().start));
        let table = match found.map(|(_, value)| value.get_ref()) {
            Some(DeValue::Table(table)) => Some(table),
            Some(other) => {
                reader.wrong_table(name, line, other);
                None
            }
            None => None,
        };
        let section = Section { name, line, table };
        section.refuse_unknown_keys(reader);
        section
    }

    fn located<T>(&self, key: &Key, line: usize, value: T) -> Located<T> {
        Located {
            value,
            line,
            key: format!("{}.{}", self.name, key.name),
        }
    }
}

/// An option's value as the text that goes into a configuration file.
pub(super) fn option_text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => super::value::line(text),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        other => Err(format!("is {}", describe(other))),
    }
}

/// What a value is, in words.
pub(super) fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn example_of(key: &Key) -> String {
    format!("write it as in {} = {}", key.name, key.example)
}

fn header_of(name: &str) -> &'static str {
    let found = TABLES.iter().find(|table| table.name == name);
    found.map_or("", |table| table.header)
}

/// The header of the only table that has a key of this name.
fn home_of(name: &str) -> Option<&'static str> {
    let mut homes = KEYS.iter().filter(|key| key.name == name);
    match (homes.next(), homes.next()) {
        (Some(key), None) => Some(header_of(key.table)),
        _ => None,
    }
}
