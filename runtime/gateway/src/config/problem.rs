//! What is wrong with `gateway.toml`, as it is told.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{FunctionFile, Run, Spool};

/// Most problems told of one file; the first ones, since the rest often follow from them.
pub const PROBLEMS_MAX: usize = 100;
/// Most characters told of one problem: what was written may be of any length.
pub const PROBLEM_MAX_CHARS: usize = 800;

/// One thing wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Key, with the tables it is in.
    pub key: String,
    /// Reason and remedy.
    pub reason: String,
}

impl Problem {
    /// On one line, behind the name of its file.
    pub fn in_file(&self, file: &Path) -> String {
        let Self { line, key, reason } = self;
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        one_line(&format!("{}:{line}: {key}{reason}", file.display()))
    }
}

/// All that is wrong with a file; prints one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// In the order of the file, at least one and at most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// Problems beyond those.
    pub untold: usize,
    /// Functions it names, as far as it could be read. They were not looked at.
    pub functions: Vec<FunctionFile>,
    /// What they share, with defaults in place of what is wrong; none if they were looked at.
    pub spool: Option<Box<Spool>>,
    /// How they are to be run.
    pub run: Run,
}

impl ConfigError {
    /// Of a file whose functions were looked at.
    pub fn new(file: PathBuf, problems: Vec<Problem>) -> Self {
        let mut error =
            Self { file, problems: Vec::new(), untold: 0, functions: Vec::new(), spool: None, run: Run::default() };
        error.add(problems);
        error
    }

    /// Adds what else is wrong.
    pub fn add(&mut self, problems: Vec<Problem>) {
        self.problems.extend(problems);
        self.problems.sort_by_key(|p| p.line);
        self.untold += self.problems.len().saturating_sub(PROBLEMS_MAX);
        self.problems.truncate(PROBLEMS_MAX);
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<_> = self.problems.iter().map(|problem| problem.in_file(&self.file)).collect();
        if self.untold > 0 {
            let file = one_line(&self.file.display().to_string());
            lines.push(format!("{file}: {} more problems are not listed; correct these first", self.untold));
        }
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Without what would break the line or play with the terminal, and with its middle left out if it is long.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let chars = text.chars().count();
    if chars <= PROBLEM_MAX_CHARS {
        return text.chars().map(plain).collect();
    }
    let half = PROBLEM_MAX_CHARS / 2;
    let (head, tail) = (text.chars().take(half), text.chars().skip(chars - half));
    head.chain(std::iter::once('…')).chain(tail).map(plain).collect()
}
