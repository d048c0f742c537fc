//! How far it is: a bar on terminals, and nothing elsewhere.

use std::cell::RefCell;
use std::io::{stderr, IsTerminal};

use eyot_image::Progress;
use indicatif::{ProgressBar, ProgressStyle};

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
        if !stderr().is_terminal() {
            return;
        }
        let template = match bytes {
            0 => "{spinner} {msg}",
            _ => "{bar:40.cyan/blue} {binary_bytes} of {binary_total_bytes} {binary_bytes_per_sec} {msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(bytes).with_style(style).with_message(what.to_owned());
        bar.tick();
        *self.0.borrow_mut() = Some(bar);
    }

    fn at(&self, bytes: u64) {
        if let Some(bar) = &*self.0.borrow() {
            bar.set_position(bytes);
        }
    }
}
