//! An error as people read it: one reason, and what to do about it. Pure.

/// Why something failed and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The error and its causes in one sentence; may have several lines.
    pub reason: String,
    /// What to do; empty where nobody knows.
    pub hint: String,
}

impl Failure {
    /// The error, with the lines `hint: ...` of it and its causes taken out of the reason.
    pub fn of(error: &anyhow::Error) -> Self {
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        let mut hints = Vec::new();
        let mut parts = Vec::new();
        for text in &chain {
            let mut said = Vec::new();
            for line in text.lines() {
                match line.strip_prefix("hint: ") {
                    Some(hint) => hints.push(hint),
                    None => said.push(line),
                }
            }
            parts.push(said.join("\n"));
        }
        Self {
            reason: parts.join(": "),
            hint: hints.join("; "),
        }
    }

    /// The text for standard error: the reason, and the hint on a line of its own.
    pub fn to_text(&self) -> String {
        match self.hint.as_str() {
            "" => format!("firstboot: {}\n", self.reason),
            hint => format!("firstboot: {}\nhint: {hint}\n", self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn hints_are_taken_out_of_the_chain() {
        let error =
            anyhow!("it is full\nhint: make room\nreally").context("writing x\nhint: see y");
        let failure = Failure::of(&error);
        assert_eq!(failure.reason, "writing x: it is full\nreally");
        assert_eq!(failure.hint, "see y; make room");
        assert_eq!(
            failure.to_text(),
            "firstboot: writing x: it is full\nreally\nhint: see y; make room\n"
        );
    }
}
