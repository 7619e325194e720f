//! Sets options in the text of an INI file as oslo.config reads it. Pure.
//!
//! Everything that is not set stays as it is, byte for byte: comments, order, options that occur
//! several times on purpose. It is not a parser of INI: it knows sections, options, comments and
//! continuation lines, and must not learn more.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// Options by section and name.
pub type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// The text with every option of `sections` set. An option that is there is replaced where it
/// stands (further occurrences of it go, since the last one would win); one that is not is added
/// at the end of its section; a section that is not there is added at the end of the text.
///
/// # Errors
/// When a name or value would not be read back as what was meant.
pub fn set(text: &str, sections: &Sections) -> Result<String> {
    validate(sections)?;
    let mut blocks = split(text);
    for (section, options) in sections {
        if options.is_empty() {
            continue;
        }
        if !blocks.iter().any(|block| block.section == *section) {
            blocks.push(Block::new(section, !text.is_empty()));
        }
        for (name, value) in options {
            set_option(&mut blocks, section, name, value);
        }
    }
    let lines: Vec<&str> = blocks
        .iter()
        .flat_map(|block| block.lines.iter().map(String::as_str))
        .collect();
    Ok(lines.concat())
}

fn validate(sections: &Sections) -> Result<()> {
    for (section, options) in sections {
        ensure!(
            !section.is_empty() && !section.contains(['[', ']', '\n', '\r']),
            "the section name {section:?} cannot stand in an INI file"
        );
        for (name, value) in options {
            ensure!(
                !name.is_empty()
                    && name.trim() == name
                    && !name.starts_with(['#', ';', '['])
                    && !name.contains(['=', ':', '\n', '\r']),
                "[{section}]: the option name {name:?} cannot stand in an INI file"
            );
            ensure!(
                !value.contains(['\n', '\r']),
                "[{section}] {name}: a value must be one line"
            );
        }
    }
    Ok(())
}

/// A section's heading with all lines up to the next heading; line ends included.
struct Block {
    section: String,
    lines: Vec<String>,
}

impl Block {
    fn new(section: &str, set_off: bool) -> Self {
        let heading = format!("[{section}]\n");
        let lines = match set_off {
            true => vec!["\n".to_owned(), heading],
            false => vec![heading],
        };
        Self {
            section: section.to_owned(),
            lines,
        }
    }

    /// Removes the option, with its continuation lines, and tells where it first stood.
    fn remove(&mut self, name: &str) -> Option<usize> {
        let mut first = None;
        let mut inside = false;
        let mut kept = Vec::with_capacity(self.lines.len());
        for line in self.lines.drain(..) {
            inside = match option_name(&line) {
                Some(found) => found == name,
                None => inside && is_continuation(&line),
            };
            if !inside {
                kept.push(line);
            } else if first.is_none() {
                first = Some(kept.len());
            }
        }
        self.lines = kept;
        first
    }

    /// Where an added option goes: behind the last line that is not empty.
    fn end(&self) -> usize {
        let last = self.lines.iter().rposition(|line| !line.trim().is_empty());
        last.map_or(0, |index| index + 1)
    }

    fn insert(&mut self, index: usize, line: String) {
        if let Some(previous) = index.checked_sub(1).and_then(|i| self.lines.get_mut(i))
            && !previous.ends_with('\n')
        {
            previous.push('\n');
        }
        self.lines.insert(index, line);
    }
}

fn split(text: &str) -> Vec<Block> {
    let mut blocks = vec![Block {
        section: String::new(),
        lines: Vec::new(),
    }];
    for line in text.split_inclusive('\n') {
        if let Some(section) = section_name(line) {
            blocks.push(Block {
                section: section.to_owned(),
                lines: Vec::new(),
            });
        }
        if let Some(block) = blocks.last_mut() {
            block.lines.push(line.to_owned());
        }
    }
    blocks
}

fn set_option(blocks: &mut [Block], section: &str, name: &str, value: &str) {
    let line = match value {
        "" => format!("{name} =\n"),
        _ => format!("{name} = {value}\n"),
    };
    // A heading may occur twice: the option must then go from both places.
    let mut place = None;
    for (index, block) in blocks.iter_mut().enumerate() {
        if block.section == section {
            let at = block.remove(name);
            place = place.or(at.map(|at| (index, at)));
        }
    }
    let first = blocks.iter().position(|block| block.section == section);
    let place = place.or_else(|| first.map(|index| (index, blocks[index].end())));
    if let Some((index, at)) = place {
        blocks[index].insert(at, line);
    }
}

fn section_name(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.trim_end().strip_suffix(']')
}

fn option_name(line: &str) -> Option<&str> {
    if line.starts_with(['#', ';', '[', ' ', '\t', '\n', '\r']) {
        return None;
    }
    line.split_once(['=', ':']).map(|(name, _)| name.trim_end())
}

fn is_continuation(line: &str) -> bool {
    line.starts_with([' ', '\t']) && !line.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it shows, the text before, the options set, the text after.
    type Case = (&'static str, &'static str, &'static [Set], &'static str);
    /// Section, name and value.
    type Set = (&'static str, &'static str, &'static str);

    fn sections(options: &[(&str, &str, &str)]) -> Sections {
        let mut sections = Sections::new();
        for (section, name, value) in options {
            let options = sections.entry((*section).to_owned()).or_default();
            options.insert((*name).to_owned(), (*value).to_owned());
        }
        sections
    }

    #[test]
    fn sets_options_and_leaves_the_rest() {
        let table: &[Case] = &[
            (
                "nothing to set",
                "# a\n\n[DEFAULT]\nx = 1",
                &[],
                "# a\n\n[DEFAULT]\nx = 1",
            ),
            (
                "replaced where it stands, comments kept",
                "[DEFAULT]\n# why\n#x = 0\nx = 1\ny = 2\n",
                &[("DEFAULT", "x", "9")],
                "[DEFAULT]\n# why\n#x = 0\nx = 9\ny = 2\n",
            ),
            (
                "added at the end of its section, before the empty line",
                "[a]\nx = 1\n\n[b]\nx = 2\n",
                &[("a", "y", "9")],
                "[a]\nx = 1\ny = 9\n\n[b]\nx = 2\n",
            ),
            (
                "the same name in another section stays",
                "[a]\nx = 1\n[b]\nx = 2\n",
                &[("b", "x", "9")],
                "[a]\nx = 1\n[b]\nx = 9\n",
            ),
            (
                "a missing section comes last, with several options",
                "[a]\nx = 1\n",
                &[("b", "y", "2"), ("b", "x", "1")],
                "[a]\nx = 1\n\n[b]\nx = 1\ny = 2\n",
            ),
            ("an empty text", "", &[("a", "x", "1")], "[a]\nx = 1\n"),
            (
                "no newline at the end",
                "[a]\nx = 1",
                &[("a", "y", "2")],
                "[a]\nx = 1\ny = 2\n",
            ),
            (
                "duplicates of the option go, continuation lines too",
                "[a]\nx = 1\n  more\ny = 2\nx: 3\n\n# end\n",
                &[("a", "x", "9")],
                "[a]\nx = 9\ny = 2\n\n# end\n",
            ),
            (
                "an option given several times on purpose is left alone",
                "[a]\nprovider = one\nprovider = two\nx = 1\n",
                &[("a", "x", "9")],
                "[a]\nprovider = one\nprovider = two\nx = 9\n",
            ),
            (
                "a section that occurs twice",
                "[a]\ny = 0\n[b]\nz = 0\n[a]\nx = 1\n",
                &[("a", "x", "9"), ("a", "y", "8")],
                "[a]\ny = 8\n[b]\nz = 0\n[a]\nx = 9\n",
            ),
            (
                "a name that begins with another's",
                "[a]\nworkers_max = 1\n",
                &[("a", "workers", "2")],
                "[a]\nworkers_max = 1\nworkers = 2\n",
            ),
            (
                "values keep signs that mean something elsewhere",
                "[a]\nurl = x\n",
                &[("a", "url", "mysql://u:p@h/n?a=b#c [d]; e")],
                "[a]\nurl = mysql://u:p@h/n?a=b#c [d]; e\n",
            ),
            (
                "an empty value",
                "[a]\nx = 1\n",
                &[("a", "x", "")],
                "[a]\nx =\n",
            ),
        ];
        for (case, text, options, expected) in table {
            assert_eq!(set(text, &sections(options)).unwrap(), *expected, "{case}");
        }
    }

    #[test]
    fn setting_twice_is_setting_once() {
        let options = sections(&[("a", "x", "1"), ("b", "y", "2"), ("DEFAULT", "z", "")]);
        let once = set("[DEFAULT]\n[a]\nx = 0\n", &options).unwrap();
        assert_eq!(set(&once, &options).unwrap(), once);
    }

    #[test]
    fn what_would_not_be_read_back_is_refused() {
        let table = [
            (("a", "x", "1\n[b]"), "[a] x: a value must be one line"),
            (("a", "x", "1\r"), "[a] x: a value must be one line"),
            (
                ("a]", "x", "1"),
                "the section name \"a]\" cannot stand in an INI file",
            ),
            (
                ("a", "x=y", "1"),
                "[a]: the option name \"x=y\" cannot stand in an INI file",
            ),
            (
                ("a", "#x", "1"),
                "[a]: the option name \"#x\" cannot stand in an INI file",
            ),
            (
                ("a", " x", "1"),
                "[a]: the option name \" x\" cannot stand in an INI file",
            ),
        ];
        for (option, expected) in table {
            let error = set("", &sections(&[option])).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
