//! What reached a disk, in the order it came.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::image::Image;

/// One request that reached the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Bytes for a place.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// All writes before it are durable when it returns.
    Flush,
}

/// A disk as it was, and what happened to it since.
#[derive(Clone, Debug)]
pub struct Tape {
    /// What it held, durably, at the beginning.
    pub base: Image,
    /// All that came.
    pub events: Vec<Event>,
}

/// How many events a disk has seen: the time everything here goes by.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    events: Arc<AtomicUsize>,
}

impl Clock {
    /// The number the next event will have.
    pub fn now(&self) -> usize {
        self.events.load(Ordering::SeqCst)
    }

    /// Goes to this number.
    pub(crate) fn set(&self, events: usize) {
        self.events.store(events, Ordering::SeqCst);
    }
}
