//! Reading one table of a TOML document, collecting every problem instead of stopping at the first.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use eyot_wire::manifest::parse_size;
use toml::de::{DeTable, DeValue};
use toml::Spanned;

use super::{ConfigError, Problem, PROBLEMS_MAX};

const DAY_S: u64 = 86_400;
/// Characters of a key for each mistake, up to which an unknown key is taken for a misspelt one.
const CHARS_PER_TYPO: usize = 3;

/// The document and what is wrong with it so far.
pub struct Reader<'t> {
    text: &'t str,
    found: ConfigError,
    warnings: Vec<Problem>,
}

impl<'t> Reader<'t> {
    /// Reads `text`.
    pub fn new(text: &'t str) -> Self {
        Self { text, found: ConfigError::new(PathBuf::new(), Vec::new()), warnings: Vec::new() }
    }

    /// The line, from 1, in which `span` begins.
    pub fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|b| **b == b'\n').count()
    }

    /// Notes a problem with the value or key at `span`.
    pub fn problem(&mut self, span: &Range<usize>, key: impl Into<String>, reason: impl Into<String>) {
        if self.found.problems.len() == PROBLEMS_MAX {
            self.found.untold += 1;
            return;
        }
        let line = self.line(span);
        self.found.problems.push(Problem { line, key: key.into(), reason: reason.into() });
    }

    /// Notes what can be done, and is hardly meant.
    pub fn warning(&mut self, span: &Range<usize>, key: impl Into<String>, reason: impl Into<String>) {
        if self.warnings.len() < PROBLEMS_MAX {
            let line = self.line(span);
            self.warnings.push(Problem { line, key: key.into(), reason: reason.into() });
        }
    }

    /// The problems and the warnings noted, each in the order of the file.
    pub fn finish(mut self) -> (ConfigError, Vec<Problem>) {
        self.found.problems.sort_by_key(|p| p.line);
        self.warnings.sort_by_key(|p| p.line);
        (self.found, self.warnings)
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
    /// Keys that are complained about already.
    refused: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    /// The document itself.
    pub fn document(table: &'a DeTable<'i>) -> Self {
        Self { table: Some(table), prefix: String::new(), span: 0..0, known: Vec::new(), refused: Vec::new() }
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

    /// Whether the table has this key.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Where the value of a key is; the table if it has none.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.table.and_then(|table| table.get(key)).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// A key that is no use here, whatever its value. True if it is there: `reason` says why not.
    pub fn refuse(&mut self, reader: &mut Reader<'_>, key: &'static str, reason: impl FnOnce() -> String) -> bool {
        let found = self.table.and_then(|table| table.get(key));
        if let Some(found) = found {
            self.refused.push(key);
            reader.problem(&found.span(), self.key(key), reason());
        }
        found.is_some()
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
        let range = u32::from(*range.start())..=u32::from(*range.end());
        u16::try_from(self.whole(reader, key, range, u32::from(default))).unwrap_or(default)
    }

    /// A whole number within `range`, of which some are too large for [`number`](Self::number).
    pub fn whole(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let what = format!("a whole number from {} to {}", range.start(), range.end());
        let found = self.typed(reader, key, &what, |value| {
            let number = value.as_integer()?;
            Some(u32::from_str_radix(number.as_str(), number.radix()).ok())
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
        Section { table, prefix: format!("{}.", self.key(key)), span, known: Vec::new(), refused: Vec::new() }
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
            out.push(Section { table: Some(table), prefix, span: item.span(), known: Vec::new(), refused: Vec::new() });
        }
        out
    }

    /// Complains about keys nobody asked for.
    pub fn finish(self, reader: &mut Reader<'_>) {
        let Some(table) = self.table else { return };
        for (key, _) in table.iter() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) || self.refused.contains(&name) {
                continue;
            }
            let reason = match meant(self.known.iter().copied(), name) {
                Some(known) => format!("is not a key here; did you mean \"{known}\"?"),
                None => format!("is not a key here; remove it, or use one of: {}", self.known.join(", ")),
            };
            reader.problem(&key.span(), format!("{}{name}", self.prefix), reason);
        }
    }
}

/// Of the `known` names, the one that `name` is a slip of the pen for. Time and memory grow with the product of their lengths.
pub fn meant<'a>(known: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let nearest = known.map(|known| (strsim::damerau_levenshtein(known, name), known)).min();
    nearest.filter(|(distance, known)| distance * CHARS_PER_TYPO <= known.len()).map(|(_, known)| known)
}

/// Reads a duration with its unit.
///
/// # Errors
/// It is none, or not `allowed`: what to write instead.
pub fn within(text: &str, allowed: &RangeInclusive<Duration>) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration < *allowed.start() => {
            Err(format!("is too short; at least {}", in_days(*allowed.start())))
        }
        Ok(duration) if duration > *allowed.end() => Err(format!("is too long; at most {}", in_days(*allowed.end()))),
        Ok(duration) => Ok(duration),
        Err(_) => Err(format!("\"{text}\" is not a duration; write a number and a unit, for example \"10ms\"")),
    }
}

/// A limit of ours as it can be written: in days if it is some, which would be told in years and months otherwise, and those
/// in hours and seconds.
fn in_days(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds > DAY_S && seconds.is_multiple_of(DAY_S) => format!("{}days", seconds / DAY_S),
        _ => humantime::format_duration(duration).to_string(),
    }
}

/// Reads a size with its unit.
///
/// # Errors
/// It is none, or not `allowed`: what to write instead.
pub fn size(text: &str, allowed: &RangeInclusive<u64>) -> Result<u64, String> {
    match parse_size(text)? {
        bytes if bytes < *allowed.start() => Err(format!("is too small; at least {}", in_units(*allowed.start()))),
        bytes if bytes > *allowed.end() => Err(format!("is too large; at most {}", in_units(*allowed.end()))),
        bytes => Ok(bytes),
    }
}

/// A limit of ours, which is a whole number of KiB.
fn in_units(bytes: u64) -> String {
    let (shift, unit) = [(40, "TiB"), (30, "GiB"), (20, "MiB")]
        .into_iter()
        .find(|(shift, _)| bytes.is_multiple_of(1 << shift))
        .unwrap_or((10, "KiB"));
    format!("{} {unit}", bytes >> shift)
}
