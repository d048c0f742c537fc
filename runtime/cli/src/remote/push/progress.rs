//! How far a push is: a bar on terminals, lines elsewhere.

use indicatif::ProgressBar;

use crate::error::Error;
use crate::output;

/// It.
pub struct Progress {
    bar: Option<ProgressBar>,
    json: bool,
}

impl Progress {
    /// Of so many bytes. With `json` nothing is printed to standard output.
    pub fn new(bytes: u64, json: bool) -> Self {
        Self { bar: output::bar(bytes, "{bar} {binary_bytes} of {binary_total_bytes}"), json }
    }

    /// So many bytes have left.
    pub fn sent(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    /// A line for people.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn tell(&self, text: &str) -> Result<(), Error> {
        let print = || if self.json { Ok(()) } else { output::print(&format!("{text}\n")) };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// What is good to know beside.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }

    /// It is over.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
