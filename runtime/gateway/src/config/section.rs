//! Reading one table of a TOML document, collecting every problem instead of stopping at the first.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::{DeTable, DeValue};
use toml::Spanned;

use super::{Problem, PROBLEMS_MAX};

/// Distance up to which an unknown key is taken for a misspelt one.
const TYPO_DISTANCE_MAX: usize = 3;

/// The document and what is wrong with it so far.
pub struct Reader<'t> {
    text: &'t str,
    problems: Vec<Problem>,
    /// Problems beyond [`PROBLEMS_MAX`].
    untold: usize,
}

impl<'t> Reader<'t> {
    /// Reads `text`.
    pub fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new(), untold: 0 }
    }

    /// The line, from 1, in which `span` begins.
    pub fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|b| **b == b'\n').count()
    }

    /// Notes a problem with the value or key at `span`.
    pub fn problem(&mut self, span: &Range<usize>, key: impl Into<String>, reason: impl Into<String>) {
        if self.problems.len() == PROBLEMS_MAX {
            self.untold += 1;
            return;
        }
        let line = self.line(span);
        self.problems.push(Problem { line, key: key.into(), reason: reason.into() });
    }

    /// Everything noted, in the order of the file; beyond [`PROBLEMS_MAX`] only how much.
    pub fn finish(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|p| p.line);
        if let (Some(Problem { line, .. }), true) = (self.problems.last(), self.untold > 0) {
            let reason = format!("{} more problems are not listed; correct these first", self.untold);
            self.problems.push(Problem { line: *line, key: String::new(), reason });
        }
        self.problems
    }
}

/// A value found, and where.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place in the document.
    pub span: Range<usize>,
}

/// One table. Every getter declares its key as known; [`finish`](Self::finish) then complains about the rest.
pub struct Section<'a, 'i> {
    table: Option<&'a DeTable<'i>>,
    /// Key of the table, with a dot behind it; empty for the document.
    prefix: String,
    span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    /// The document itself.
    pub fn document(table: &'a DeTable<'i>) -> Self {
        Self { table: Some(table), prefix: String::new(), span: 0..0, known: Vec::new() }
    }

    /// Where the table begins.
    pub fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// Full name of a key in it.
    pub fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Whether the document has this table at all.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.table?.get(key)
    }

    fn typed<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        what: &str,
        convert: impl FnOnce(&'a DeValue<'i>) -> Option<T>,
    ) -> Option<At<T>> {
        let found = self.value(key)?;
        let span = found.span();
        match convert(found.get_ref()) {
            Some(value) => Some(At { value, span }),
            None => {
                let got = found.get_ref().type_str();
                let article = if matches!(got, "integer" | "array") { "an" } else { "a" };
                reader.problem(&span, self.key(key), format!("is {article} {got}; write {what}"));
                None
            }
        }
    }

    /// A string.
    pub fn string(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Option<At<&'a str>> {
        self.typed(reader, key, "a string in quotes", DeValue::as_str)
    }

    /// A boolean.
    pub fn boolean(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Option<bool> {
        self.typed(reader, key, "true or false", DeValue::as_bool).map(|at| at.value)
    }

    /// A whole number within `range`.
    pub fn number(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        range: RangeInclusive<u16>,
        default: u16,
    ) -> u16 {
        let what = format!("a whole number from {} to {}", range.start(), range.end());
        let found = self.typed(reader, key, &what, |value| {
            let number = value.as_integer()?;
            Some(u16::from_str_radix(number.as_str(), number.radix()).ok())
        });
        match found {
            Some(At { value: Some(number), .. }) if range.contains(&number) => number,
            Some(at) => {
                reader.problem(&at.span, self.key(key), format!("is out of range; write {what}"));
                default
            }
            None => default,
        }
    }

    /// A string that `parse` understands; its error says what to write instead.
    pub fn parsed<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(at) = self.string(reader, key) else { return default };
        match parse(at.value) {
            Ok(value) => value,
            Err(reason) => {
                reader.problem(&at.span, self.key(key), reason);
                default
            }
        }
    }

    /// A duration with its unit.
    pub fn duration(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        default: Duration,
        allowed: RangeInclusive<Duration>,
    ) -> Duration {
        self.parsed(reader, key, default, |text| within(text, &allowed))
    }

    /// An array of strings.
    pub fn strings(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Vec<At<&'a str>> {
        let Some(array) = self.typed(reader, key, "an array of strings", DeValue::as_array) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in array.value.iter() {
            match item.get_ref().as_str() {
                Some(value) => out.push(At { value, span: item.span() }),
                None => reader.problem(&item.span(), self.key(key), "holds something else than strings; quote it"),
            }
        }
        out
    }

    /// A table within this one; empty if it is absent.
    pub fn table(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Section<'a, 'i> {
        let found = self.typed(reader, key, &format!("a table: [{}]", self.key(key)), DeValue::as_table);
        let (table, span) = found.map_or((None, self.span.clone()), |at| (Some(at.value), at.span));
        Section { table, prefix: format!("{}.", self.key(key)), span, known: Vec::new() }
    }

    /// An array of tables.
    pub fn tables(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Vec<Section<'a, 'i>> {
        let what = format!("[[{}]] tables", self.key(key));
        let Some(array) = self.typed(reader, key, &what, DeValue::as_array) else { return Vec::new() };
        let mut out = Vec::new();
        for item in array.value.iter() {
            let Some(table) = item.get_ref().as_table() else {
                reader.problem(&item.span(), self.key(key), format!("holds something else than tables; write {what}"));
                continue;
            };
            let prefix = format!("{}.", self.key(key));
            out.push(Section { table: Some(table), prefix, span: item.span(), known: Vec::new() });
        }
        out
    }

    /// Complains about keys nobody asked for.
    pub fn finish(self, reader: &mut Reader<'_>) {
        let Some(table) = self.table else { return };
        for (key, _) in table.iter() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let near = self.known.iter().map(|known| (strsim::damerau_levenshtein(known, name), *known)).min();
            let reason = match near {
                Some((distance, known)) if distance <= TYPO_DISTANCE_MAX && distance < known.len() => {
                    format!("is not a key here; did you mean \"{known}\"?")
                }
                _ => format!("is not a key here; remove it, or use one of: {}", self.known.join(", ")),
            };
            reader.problem(&key.span(), format!("{}{name}", self.prefix), reason);
        }
    }
}

/// Reads a duration with its unit.
///
/// # Errors
/// It is none, or not `allowed`: what to write instead.
pub fn within(text: &str, allowed: &RangeInclusive<Duration>) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration < *allowed.start() => {
            Err(format!("is too short; at least {}", humantime::format_duration(*allowed.start())))
        }
        Ok(duration) if duration > *allowed.end() => {
            Err(format!("is too long; at most {}", humantime::format_duration(*allowed.end())))
        }
        Ok(duration) => Ok(duration),
        Err(_) => Err(format!("\"{text}\" is not a duration; write a number and a unit, for example \"10ms\"")),
    }
}
