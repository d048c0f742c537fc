//! `[spool.reduce]`: which function makes less of the backlog, and from when on.

use eyot_wire::manifest::is_name;

use super::section::{At, Reader, Section};

/// From where to where a watermark makes sense, in percent: below, the log has hardly begun; above, it is full.
const AT_PERCENT: std::ops::RangeInclusive<u8> = 10..=95;
const AT_PERCENT_DEFAULT: u8 = 80;

/// `[spool.reduce]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// Part of what the log takes before it is full, from which on, in percent.
    pub at_percent: u8,
    /// Name of the function, as its module has it.
    pub function: String,
    /// Where it is named.
    pub line: usize,
}

/// Reads the table; none if it is absent.
pub fn reduce(spool: &mut Section<'_, '_>, r: &mut Reader<'_>) -> Option<Reduce> {
    let mut section = spool.table(r, "reduce");
    let at_percent = section.parsed(r, "at", AT_PERCENT_DEFAULT, percent);
    let function = section.string(r, "function");
    let read = match function {
        Some(At { value, span }) if is_name(value) => {
            Some(Reduce { at_percent, function: value.to_owned(), line: r.line(&span) })
        }
        Some(At { value, span }) => {
            let reason = format!("\"{value}\" is not a function's name; write the name in its function.toml");
            r.problem(&span, section.key("function"), reason);
            None
        }
        None if section.is_present() => {
            let reason = "is missing; name the function that makes less of the backlog, for example \"thin\"";
            r.problem(section.span(), section.key("function"), reason);
            None
        }
        None => None,
    };
    section.finish(r);
    read
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').and_then(|digits| digits.trim_end().parse::<u8>().ok());
    number.filter(|percent| AT_PERCENT.contains(percent)).ok_or_else(|| {
        format!("\"{text}\" is not a share of the log; write {}% to {}%", AT_PERCENT.start(), AT_PERCENT.end())
    })
}
