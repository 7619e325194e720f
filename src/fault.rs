//! What kind of failure an error is, for the exit code that `main` ends with.

use std::fmt;

/// The exit codes of every verb, besides 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The work failed: 1. What an error is when nothing says otherwise.
    Failed,
    /// What the user wrote is wrong: 2.
    BadInput,
    /// This host lacks something: 3.
    MissingOnHost,
    /// The network or a mirror: 4.
    Network,
    /// Something was verified and refused: 5.
    Refused,
}

impl Class {
    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Failed => 1,
            Class::BadInput => 2,
            Class::MissingOnHost => 3,
            Class::Network => 4,
            Class::Refused => 5,
        }
    }

    /// An error of this class with this text.
    pub fn error(self, message: impl Into<String>) -> anyhow::Error {
        Fault {
            class: self,
            message: message.into(),
        }
        .into()
    }

    /// The class of an error: that of the outermost [`Fault`] in its chain.
    pub fn of(error: &anyhow::Error) -> Self {
        let mut chain = error.chain();
        chain
            .find_map(|cause| cause.downcast_ref::<Fault>())
            .map_or(Class::Failed, |f| f.class)
    }
}

/// An error whose kind matters to the exit code. A line that begins with `hint: ` says what to do.
#[derive(Debug)]
pub struct Fault {
    /// Its kind.
    pub class: Class,
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_class_survives_context() {
        let error = Err::<(), _>(Class::Network.error("no answer"))
            .context("asking")
            .unwrap_err();
        assert_eq!(Class::of(&error), Class::Network);
        assert_eq!(Class::of(&anyhow::anyhow!("plain")), Class::Failed);
    }
}
