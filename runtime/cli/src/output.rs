//! Standard output and standard error: text with colours where a terminal shows them, or JSON.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use base64::prelude::{Engine as _, BASE64_STANDARD};
use bytesize::ByteSize;
use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::error::Error;

/// Labels beside values.
pub const LABEL: Style = AnsiColor::Cyan.on_default();
/// What went well.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What went wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// How bytes that are not text are shown.
pub const BASE64_PREFIX: &str = "base64:";

/// Writes `text` to standard output; colours go only to terminals and only without `NO_COLOR`.
///
/// # Errors
/// It cannot be written. A reader that has gone away, as in `eyot … | head`, is not an error.
pub fn print(text: &str) -> Result<(), Error> {
    write(&mut anstream::stdout(), text)
}

/// Writes `document` as one line of JSON to standard output.
///
/// # Errors
/// As for [`print`].
pub fn json(document: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_string(document).map_err(|e| cannot_write(&io::Error::from(e)))?;
    text.push('\n');
    write(&mut io::stdout(), &text)
}

/// A bar of `length` on standard error, in [`indicatif`'s words](indicatif::ProgressStyle::with_template), the bar itself of
/// `{bar}`; none if that is no terminal.
pub fn bar(length: u64, template: &str) -> Option<ProgressBar> {
    let template = template.replace("{bar}", "{bar:40.cyan/blue}");
    let style = || ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    io::stderr().is_terminal().then(|| ProgressBar::new(length).with_style(style()))
}

fn write(out: &mut impl Write, text: &str) -> Result<(), Error> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(&e)),
        _ => Ok(()),
    }
}

fn cannot_write(error: &io::Error) -> Error {
    Error::failed("standard output", format_args!("cannot be written: {error}"), "check where it is redirected to")
}

/// Tells an error on standard error.
pub fn error(message: &str) {
    say(BAD, "error", message);
}

/// Tells on standard error what the user should know although the command goes on.
pub fn warning(message: &str) {
    say(AnsiColor::Yellow.on_default().bold(), "warning", message);
}

/// Tells on standard error what is good to know.
pub fn note(message: &str) {
    say(LABEL, "note", message);
}

fn say(style: Style, what: &str, message: &str) {
    // Nothing is left to do about a standard error that cannot be written.
    let _ = writeln!(anstream::stderr(), "{style}{what}:{style:#} {message}");
}

/// Adds a line with a label to `text`.
pub fn line(text: &mut String, label: &str, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "  {LABEL}{label:<9}{LABEL:#} {value}");
}

/// Bytes from a function as one line that cannot steer a terminal: text with control characters escaped, or base64.
pub fn shown(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return format!("{BASE64_PREFIX}{}", BASE64_STANDARD.encode(bytes));
    };
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// A size for people: `1.5 KiB`.
pub fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_function_says_cannot_steer_a_terminal() {
        assert_eq!(shown("21 °C".as_bytes()), "21 °C");
        assert_eq!(shown(b"a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(shown("\u{9b}2J".as_bytes()), "\\u{9b}2J");
        assert_eq!(shown(b"\xff\x00"), "base64:/wA=");
    }
}
