//! How far it is: a bar on terminals, and nothing elsewhere.

use std::cell::RefCell;

use eyot_image::Progress;
use indicatif::ProgressBar;

use crate::output;

/// It.
#[derive(Default)]
pub struct Bar(RefCell<Option<ProgressBar>>);

impl Bar {
    /// It is over.
    pub fn finish(&self) {
        if let Some(bar) = self.0.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, bytes: u64) {
        self.finish();
        let template = match bytes {
            0 => "{spinner} {msg}",
            _ => "{bar} {binary_bytes} of {binary_total_bytes} {binary_bytes_per_sec} {msg}",
        };
        let bar = output::bar(bytes, template).map(|bar| bar.with_message(what.to_owned()));
        bar.iter().for_each(ProgressBar::tick);
        *self.0.borrow_mut() = bar;
    }

    fn at(&self, bytes: u64) {
        if let Some(bar) = &*self.0.borrow() {
            bar.set_position(bytes);
        }
    }
}
