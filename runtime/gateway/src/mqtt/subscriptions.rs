//! What a broker may still be subscribed to on our behalf, over connections and restarts: it keeps our session, and with it
//! filters that are ours no more. They are ended on the next connection.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::file;

/// Largest file that is read.
const FILE_MAX_BYTES: usize = 4 << 20;

/// The filters of one session, in a file. Without the file they are forgotten with the process, and what comes for them is
/// for no function: that is all, so nothing waits for the disk.
#[derive(Debug)]
pub struct Subscriptions {
    path: PathBuf,
    known: BTreeSet<String>,
}

impl Subscriptions {
    /// As the last process left them.
    pub fn open(path: PathBuf) -> Self {
        let text = file::read_text(&path, FILE_MAX_BYTES).unwrap_or_default();
        Self { known: text.lines().map(str::to_owned).collect(), path }
    }

    /// These are about to be subscribed to; returns those the broker may know besides.
    pub fn begin(&mut self, filters: &[String]) -> Vec<String> {
        let all = self.known.iter().chain(filters).cloned().collect();
        self.become_known(all);
        self.known.iter().filter(|filter| !filters.contains(filter)).cloned().collect()
    }

    /// The broker knows these and no others.
    pub fn settle(&mut self, filters: &[String]) {
        self.become_known(filters.iter().cloned().collect());
    }

    fn become_known(&mut self, known: BTreeSet<String>) {
        if self.known == known {
            return;
        }
        self.known = known;
        // A topic filter has no line feed: MQTT calls it a control character, which brokers refuse.
        let text: String = self.known.iter().flat_map(|filter| [filter.as_str(), "\n"]).collect();
        let unfinished = self.path.with_extension("new");
        let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, &self.path));
        if let Err(error) = written {
            tracing::debug!(%error, "what the broker is subscribed to is not kept over a restart");
        }
    }
}
