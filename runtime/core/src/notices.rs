//! What operators get to read, at a bounded rate: once per episode, not once per message.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use eyot_engine::Level;
use eyot_wire::code::{DropReason, Failure};

use crate::io::Notice;

/// Shortest time between two notices about the same thing.
pub const NOTICE_INTERVAL_US: u64 = 60_000_000;
/// Most function log lines of one function within a second; the rest is counted.
pub const FUNCTION_LOG_LINES_PER_S_MAX: u32 = 50;
/// Most notices and log lines that wait to be taken.
const QUEUE_MAX: usize = 1024;

/// A notice or a line a function logged.
#[derive(Debug)]
pub(crate) enum Item {
    Notice(Notice),
    Log { function: Arc<str>, level: Level, line: String },
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Failed(Arc<str>),
    Passed(Arc<str>),
    Quarantined(Arc<str>),
    Released(Arc<str>),
    ReducerFailed(Arc<str>),
    EmitRefused(Arc<str>),
    Dropped(DropReason),
    LetterDropped(String),
    ControlDropped,
    Storage,
}

#[derive(Default)]
struct Episode {
    next_us: u64,
    count: u64,
    text: String,
}

#[derive(Default)]
struct LogRate {
    second: u64,
    lines: u32,
}

/// Rate limiter and queue.
#[derive(Default)]
pub(crate) struct Notices {
    queue: VecDeque<Item>,
    episodes: BTreeMap<Subject, Episode>,
    log_rates: BTreeMap<Arc<str>, LogRate>,
    pub log_lines_dropped: u64,
    /// Functions that were quarantined or released, until their documents are published.
    pub changed: Vec<Arc<str>>,
    /// Functions that are to be taken back, the SHA-256 of their modules, and why; they run no more until that is done.
    pub tripped: Vec<(Arc<str>, [u8; 32], String)>,
    /// Pushes, parts of them and commands that were turned away because too many came, since the start.
    pub control_dropped: u64,
}

impl Notices {
    pub fn pop(&mut self) -> Option<Item> {
        self.queue.pop_front()
    }

    pub fn push(&mut self, notice: Notice) {
        self.enqueue(Item::Notice(notice));
    }

    fn enqueue(&mut self, item: Item) {
        if self.queue.len() < QUEUE_MAX {
            self.queue.push_back(item);
        } else {
            self.log_lines_dropped += 1;
        }
    }

    pub fn function_log(&mut self, function: &Arc<str>, level: Level, line: &str, mono_us: u64) {
        if !self.log_rates.contains_key(function) {
            self.log_rates.insert(Arc::clone(function), LogRate::default());
        }
        let Some(rate) = self.log_rates.get_mut(function) else { return };
        let second = mono_us / 1_000_000;
        if rate.second != second {
            *rate = LogRate { second, lines: 0 };
        }
        rate.lines += 1;
        if rate.lines > FUNCTION_LOG_LINES_PER_S_MAX {
            self.log_lines_dropped += 1;
        } else {
            self.enqueue(Item::Log { function: Arc::clone(function), level, line: line.to_owned() });
        }
    }

    /// `passes` if no dead letter is made of it.
    pub fn function_failed(&mut self, function: &Arc<str>, failure: &Failure, passes: bool, mono_us: u64) {
        let subject = if passes { Subject::Passed } else { Subject::Failed };
        self.note(subject(Arc::clone(function)), 1, || failure.to_string(), mono_us);
    }

    pub fn quarantined(&mut self, function: &Arc<str>, mono_us: u64) {
        self.changed.push(Arc::clone(function));
        self.note(Subject::Quarantined(Arc::clone(function)), 1, String::new, mono_us);
    }

    pub fn released(&mut self, function: &Arc<str>, held_back: u64, mono_us: u64) {
        self.changed.push(Arc::clone(function));
        self.note(Subject::Released(Arc::clone(function)), held_back, String::new, mono_us);
    }

    pub fn reducer_failed(&mut self, function: &Arc<str>, failure: &str, mono_us: u64) {
        self.note(Subject::ReducerFailed(Arc::clone(function)), 1, || failure.to_owned(), mono_us);
    }

    pub fn emit_refused(&mut self, function: &Arc<str>, count: u64, mono_us: u64) {
        self.note(Subject::EmitRefused(Arc::clone(function)), count, String::new, mono_us);
    }

    pub fn storage_failed(&mut self, error: &str, mono_us: u64) {
        self.note(Subject::Storage, 1, || error.to_owned(), mono_us);
    }

    pub fn dropped(&mut self, reason: DropReason, topic: &[u8], count: u64, mono_us: u64) {
        let shown = || String::from_utf8_lossy(topic.get(..80).unwrap_or(topic)).into_owned();
        self.note(Subject::Dropped(reason), count, shown, mono_us);
    }

    pub fn letter_dropped(&mut self, uplink: &str, mono_us: u64) {
        self.note(Subject::LetterDropped(uplink.to_owned()), 1, String::new, mono_us);
    }

    pub fn control_dropped(&mut self, mono_us: u64) {
        self.control_dropped += 1;
        self.note(Subject::ControlDropped, 1, String::new, mono_us);
    }

    /// The first of an episode is told at once; what follows is told when the interval is over.
    fn note(&mut self, subject: Subject, count: u64, text: impl FnOnce() -> String, mono_us: u64) {
        let episode = self.episodes.entry(subject.clone()).or_default();
        if episode.count == 0 {
            episode.text = text();
        }
        episode.count += count;
        if mono_us >= episode.next_us {
            episode.next_us = mono_us + NOTICE_INTERVAL_US;
            let notice = tell(&subject, episode);
            self.push(notice);
        }
    }

    /// Tells what was held back and is due.
    pub fn tick(&mut self, mono_us: u64) {
        let mut due = Vec::new();
        for (subject, episode) in &mut self.episodes {
            if episode.count > 0 && mono_us >= episode.next_us {
                episode.next_us = mono_us + NOTICE_INTERVAL_US;
                due.push(tell(subject, episode));
            }
        }
        for notice in due {
            self.push(notice);
        }
    }
}

fn tell(subject: &Subject, episode: &mut Episode) -> Notice {
    let count = std::mem::take(&mut episode.count);
    let text = std::mem::take(&mut episode.text);
    match subject {
        Subject::Failed(function) => Notice::FunctionFailed { function: Arc::clone(function), failure: text, count },
        Subject::Passed(function) => Notice::FunctionPassed { function: Arc::clone(function), failure: text, count },
        Subject::Quarantined(function) => Notice::FunctionQuarantined { function: Arc::clone(function), count },
        Subject::Released(function) => Notice::FunctionReleased { function: Arc::clone(function), held_back: count },
        Subject::ReducerFailed(function) => {
            Notice::ReducerFailed { function: Arc::clone(function), failure: text, count }
        }
        Subject::EmitRefused(function) => Notice::EmitRefused { function: Arc::clone(function), count },
        Subject::Storage => Notice::StorageFailed { error: text },
        Subject::ControlDropped => Notice::ControlDropped { count },
        Subject::LetterDropped(uplink) => Notice::LetterDropped { uplink: uplink.clone(), count },
        Subject::Dropped(reason) => Notice::Dropped { reason: reason.word(), topic: text, count },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_told_once_and_then_summed_up() {
        let mut notices = Notices::default();
        for i in 0..10 {
            notices.dropped(DropReason::NoFunction, b"a/b", 1, i);
        }
        assert!(matches!(notices.pop(), Some(Item::Notice(Notice::Dropped { count: 1, .. }))));
        assert!(notices.pop().is_none());
        notices.tick(NOTICE_INTERVAL_US);
        assert!(matches!(notices.pop(), Some(Item::Notice(Notice::Dropped { count: 9, .. }))));
        notices.tick(NOTICE_INTERVAL_US * 3);
        assert!(notices.pop().is_none(), "nothing new, nothing told");
    }

    #[test]
    fn a_function_cannot_flood_the_log() {
        let mut notices = Notices::default();
        let name: Arc<str> = Arc::from("chatty");
        for _ in 0..1000 {
            notices.function_log(&name, Level::Info, "again", 5);
        }
        assert_eq!(std::iter::from_fn(|| notices.pop()).count(), FUNCTION_LOG_LINES_PER_S_MAX as usize);
        assert_eq!(notices.log_lines_dropped, 1000 - u64::from(FUNCTION_LOG_LINES_PER_S_MAX));
    }
}
