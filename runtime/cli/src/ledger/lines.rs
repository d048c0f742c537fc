//! The lines of a dump, one at a time and none longer than a record can be; with a bar on a terminal.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use indicatif::ProgressBar;

use crate::error::Error;
use crate::file;
use crate::output;

/// Longest line, in bytes: the largest payload a function may emit (1 MiB) with every byte escaped, and room for the rest.
pub const LINE_MAX_BYTES: usize = 8 << 20;
/// A file smaller than this, in bytes, is read before a bar is of use.
const BAR_MIN_BYTES: u64 = 32 << 20;
/// The bar moves after so many lines.
const BAR_EVERY_LINES: u64 = 4096;

/// A dump that is being read.
pub struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
    bar: Option<ProgressBar>,
}

impl<'a> Lines<'a> {
    /// Opens `path`, or standard input if it is `-`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &'a Path) -> Result<Self, Error> {
        let reader = BufReader::with_capacity(1 << 16, file::open(path)?);
        Ok(Self { path, reader, line: Vec::new(), number: 0, bytes: 0, bar: bar(path) })
    }

    /// The next line without its end; none at the end of the dump.
    ///
    /// # Errors
    /// It cannot be read, or is longer than [`LINE_MAX_BYTES`].
    pub fn next(&mut self) -> Result<Option<&[u8]>, Error> {
        self.line.clear();
        let mut limited = (&mut self.reader).take(LINE_MAX_BYTES as u64 + 1);
        let read = limited.read_until(b'\n', &mut self.line).map_err(|e| file::unreadable(self.path, &e))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += read as u64;
        if let Some(bar) = self.bar.as_ref().filter(|_| self.number.is_multiple_of(BAR_EVERY_LINES)) {
            bar.set_position(self.bytes);
        }
        if self.line.len() > LINE_MAX_BYTES {
            let reason = format!("is longer than {LINE_MAX_BYTES} bytes, more than any record has");
            return Err(self.bad(reason, "give one JSON object on each line"));
        }
        Ok(Some(self.line.trim_ascii()))
    }

    /// Lines read so far; the number of the last one, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The error for the line read last.
    pub fn bad(&self, reason: impl std::fmt::Display, remedy: &str) -> Error {
        Error::bad_input(format_args!("{}:{}", self.path.display(), self.number), reason, remedy)
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        // Nothing else is to be written into the bar's line.
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// For a large file, if standard error is a terminal.
fn bar(path: &Path) -> Option<ProgressBar> {
    let length = std::fs::metadata(path).ok().filter(|m| m.is_file() && m.len() >= BAR_MIN_BYTES)?.len();
    output::bar(length, "{bar} {binary_bytes} of {binary_total_bytes}, {eta}")
}
