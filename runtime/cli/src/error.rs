//! The one error of all commands.

use std::fmt::Display;
use std::process::ExitCode;

use eyot_engine::LoadError;
use eyot_gateway::config::ConfigError;
use serde::Serialize;

use crate::output;

/// Whose fault it is; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The operation failed: exit code 1.
    Failed,
    /// What the user gave cannot be used: exit code 2.
    BadInput,
}

/// Why a command came to nothing. The text names the thing, the reason and the remedy.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    /// The JSON that the command has printed already says so.
    in_report: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    kind: &'a str,
    message: &'a str,
}

impl Error {
    /// The operation failed though the input was good.
    pub fn failed(thing: impl Display, reason: impl Display, remedy: impl Display) -> Self {
        Self { kind: Kind::Failed, message: format!("{thing}: {reason}; {remedy}"), in_report: false }
    }

    /// What the user gave cannot be used.
    pub fn bad_input(thing: impl Display, reason: impl Display, remedy: impl Display) -> Self {
        Self { kind: Kind::BadInput, message: format!("{thing}: {reason}; {remedy}"), in_report: false }
    }

    /// The module in `file` is not loaded; the engine's text has reason and remedy.
    pub fn refused(file: impl Display, error: &LoadError) -> Self {
        Self { kind: Kind::BadInput, message: format!("{file}: {error}"), in_report: false }
    }

    /// What is in `file` is no key, or no function that could be signed; the text of `error` has reason and remedy.
    pub fn unusable(file: impl Display, error: impl std::error::Error) -> Self {
        Self { kind: Kind::BadInput, message: format!("{file}: {error}"), in_report: false }
    }

    /// A configuration is wrong; its text names the file, and has reasons and remedies.
    pub fn bad_file(error: &ConfigError) -> Self {
        Self { kind: Kind::BadInput, message: error.to_string(), in_report: false }
    }

    /// The module in `file` was looked at with success, and would be refused.
    pub fn would_be_refused(file: impl Display, reason: &str) -> Self {
        Self { kind: Kind::Failed, message: format!("{file}: {reason}"), in_report: false }
    }

    /// A gateway says no; its text has reason and remedy.
    pub fn rejected(thing: impl Display, reason: impl Display) -> Self {
        Self { kind: Kind::Failed, message: format!("{thing}: {reason}"), in_report: false }
    }

    /// There is no image, or no card; its text has reason and remedy.
    pub fn image(error: &eyot_image::Error) -> Self {
        let kind = if error.is_bad_input() { Kind::BadInput } else { Kind::Failed };
        Self { kind, message: error.to_string(), in_report: false }
    }

    /// Says `name` where it says `path`, which tells the user nothing.
    pub fn with_name(mut self, path: impl Display, name: &str) -> Self {
        self.message = self.message.replace(&path.to_string(), name);
        self
    }

    /// Adds another remedy.
    pub fn with_hint(mut self, hint: &str) -> Self {
        self.message.push_str(", ");
        self.message.push_str(hint);
        self
    }

    /// Marks that a report on standard output says it already.
    pub fn in_report(mut self) -> Self {
        self.in_report = true;
        self
    }

    /// Tells the user, and answers the exit code of the process.
    pub fn report(&self, json: bool) -> ExitCode {
        output::error(&self.message);
        let (kind, code) = match self.kind {
            Kind::Failed => ("failed", 1),
            Kind::BadInput => ("bad-input", 2),
        };
        if json && !self.in_report {
            // Nothing is left to do about output that cannot be written.
            let _ = output::json(&Document { error: Body { kind, message: &self.message } });
        }
        ExitCode::from(code)
    }
}
