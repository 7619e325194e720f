//! `[override.SERVICE.SECTION]`: options that the site sets itself.

use firstboot::config::Overrides;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::key::SERVICES;
use super::problem::Problem;
use super::reader::{Located, Reader, describe, option_text};
use super::suggest;

const SHAPE: &str = "[override.SERVICE.SECTION] and below it OPTION = VALUE";

/// An option that a site sets itself, by its names.
#[derive(Debug)]
pub(super) struct Overridden {
    pub(super) service: String,
    pub(super) section: String,
    pub(super) option: String,
}

/// Reads the options and where each is; writes down services that are not known and values that no
/// option has.
pub(super) fn read(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
) -> (Overrides, Vec<Located<Overridden>>) {
    let (mut overrides, mut places) = (Overrides::new(), Vec::new());
    let Some((key, value)) = root.get_key_value("override") else {
        return (overrides, places);
    };
    let Some(services) = table(reader, key, value, "override") else {
        return (overrides, places);
    };
    for (service, value) in services {
        let name: &str = service.get_ref();
        let path = format!("override.{name}");
        if !SERVICES.contains(&name) {
            let hint = match suggest::nearest(name, SERVICES) {
                Some(near) => format!("did you mean {near}?"),
                None => "remove it".into(),
            };
            reader.problems.push(Problem {
                line: reader.line(service.span().start),
                key: path,
                wrong: "there is no such service".into(),
                expected: format!("one of {}", SERVICES.join(", ")),
                hint,
            });
            continue;
        }
        let Some(sections) = table(reader, service, value, &path) else {
            continue;
        };
        for (section, value) in sections {
            let path = format!("{path}.{}", section.get_ref());
            check_name(reader, section, &path);
            let Some(options) = table(reader, section, value, &path) else {
                continue;
            };
            for (option, value) in options {
                let path = format!("{path}.{}", option.get_ref());
                check_name(reader, option, &path);
                places.push(Located {
                    value: Overridden {
                        service: name.to_owned(),
                        section: section.get_ref().to_string(),
                        option: option.get_ref().to_string(),
                    },
                    line: reader.line(option.span().start),
                    key: path.clone(),
                });
                match option_text(value.get_ref()) {
                    Ok(text) => {
                        let sections = overrides.entry(name.to_owned()).or_default();
                        let options = sections.entry(section.get_ref().to_string()).or_default();
                        options.insert(option.get_ref().to_string(), text);
                    }
                    Err(wrong) => reader.problems.push(Problem {
                        line: reader.line(value.span().start),
                        key: path,
                        wrong,
                        expected: "text on one line, a decimal number, true or false".into(),
                        hint: "write the value as the service's documentation does, in quotes"
                            .into(),
                    }),
                }
            }
        }
    }
    (overrides, places)
}

fn table<'t>(
    reader: &mut Reader<'_>,
    key: &Spanned<DeString<'_>>,
    value: &'t Spanned<DeValue<'t>>,
    path: &str,
) -> Option<&'t DeTable<'t>> {
    if let DeValue::Table(table) = value.get_ref() {
        return Some(table);
    }
    reader.problems.push(Problem {
        line: reader.line(key.span().start),
        key: path.to_owned(),
        wrong: format!("is {}", describe(value.get_ref())),
        expected: SHAPE.into(),
        hint: "name the service and the section of its file in the table's header".into(),
    });
    None
}

/// A section or an option whose name would break the file that it goes into.
fn check_name(reader: &mut Reader<'_>, key: &Spanned<DeString<'_>>, path: &str) {
    let name: &str = key.get_ref();
    let breaks =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '[' | ']' | '=' | '#');
    if name.is_empty() || name.contains(breaks) {
        reader.problems.push(Problem {
            line: reader.line(key.span().start),
            key: path.to_owned(),
            wrong: format!("{name:?} is no name in a configuration file"),
            expected: "a section or an option of the service's configuration file".into(),
            hint: "correct the name".into(),
        });
    }
}
