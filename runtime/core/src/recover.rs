//! Recovery: from checkpoint and frames back to ledger and state.

use std::collections::BTreeMap;

use eyot_spool::{Lsn, Replay};
use eyot_wire::record::Record;
use serde::{Deserialize, Serialize};

use crate::deploy::plan::Audits;
use crate::deploy::registry::{Deployed, Registry};
use crate::finished::FinishedList;
use crate::functions::States;
use crate::gone::Toll;
use crate::ledger::{bit, Ledger, StreamAccount};
use crate::wear::Counted;

/// Frame kind: a [commit record](eyot_wire::record).
pub const KIND_COMMIT: u8 = 1;
/// Closing note: the whole ledger as of this place, in postcard.
pub const KIND_LEDGER: u8 = 0x60;

/// Note: [what a deployment did](crate::deploy::registry::Deployed).
pub const KIND_DEPLOYED: u8 = 0x41;
/// The same in older logs: by that number a closing note, which was left out when a batch was written again.
const KIND_DEPLOYED_OLD: u8 = 0x61;

/// Note: the line of the audit log that belongs to a deployment, JSON. It is shown until it is in the audit log itself.
pub const KIND_AUDIT: u8 = 0x42;

const CHECKPOINT_VERSION: u8 = 5;

/// Everything that is not in the log behind it.
#[derive(Serialize, Deserialize)]
struct Checkpoint<L, S> {
    version: u8,
    ledger: L,
    states: S,
}

/// What a checkpoint has besides the ledger, borrowed.
pub(crate) struct Kept<'a> {
    /// In the shape of [`States`].
    pub states: BTreeMap<&'a str, BTreeMap<&'a [u8], &'a [u8]>>,
    pub registry: &'a Registry,
    /// Lines of the audit log that are not there yet: they follow the checkpoint as notes.
    pub audits: &'a Audits,
}

/// Writes a checkpoint: the ledger, every function's state by name, and which versions are in force.
pub(crate) fn encode_checkpoint(ledger: &Ledger, kept: &Kept<'_>, out: &mut Vec<u8>) {
    out.clear();
    let taken = std::mem::take(out);
    let checkpoint = Checkpoint { version: CHECKPOINT_VERSION, ledger, states: &kept.states };
    let registry = (kept.registry, &kept.registry.nodes, &kept.registry.earlier);
    let whole = (checkpoint, &ledger.wear, ledger.rewrites, &ledger.finished, registry, ledger.letters_dropped);
    if let Ok(grown) = postcard::to_extend(&whole, taken) {
        *out = grown;
    }
}

/// Writes a closing note.
pub(crate) fn encode_ledger(ledger: &Ledger, out: &mut Vec<u8>) {
    out.clear();
    let taken = std::mem::take(out);
    let whole = (ledger, &ledger.wear, ledger.rewrites, &ledger.finished, ledger.letters_dropped);
    if let Ok(grown) = postcard::to_extend(&whole, taken) {
        *out = grown;
    }
}

/// What stands behind the rest: logs from before there was any of it are read as well.
#[derive(Default)]
struct Tail {
    wear: Counted,
    rewrites: u64,
    finished: FinishedList,
    /// Of a checkpoint.
    registry: Registry,
    letters_dropped: u64,
}

impl Tail {
    fn put_into(self, ledger: &mut Ledger) -> Registry {
        (ledger.wear, ledger.rewrites, ledger.finished) = (self.wear, self.rewrites, self.finished);
        ledger.letters_dropped = self.letters_dropped;
        self.registry
    }
}

/// Reads what was written with a tail, or with less of it.
fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], has_registry: bool) -> Option<(T, Tail)> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    let Ok((wear, rest)) = postcard::take_from_bytes(rest) else { return Some((value, Tail::default())) };
    let (rewrites, rest) = postcard::take_from_bytes(rest).unwrap_or_default();
    let (finished, rest) = postcard::take_from_bytes(rest).unwrap_or_default();
    let (registry, rest) = if has_registry { take_registry(rest) } else { (Registry::default(), rest) };
    let letters_dropped = postcard::from_bytes(rest).unwrap_or_default();
    Some((value, Tail { wear, rewrites, finished, registry, letters_dropped }))
}

fn take_registry(bytes: &[u8]) -> (Registry, &[u8]) {
    let (registry, rest) = postcard::take_from_bytes::<Registry>(bytes).unwrap_or_default();
    let (nodes, rest) = postcard::take_from_bytes(rest).unwrap_or_default();
    let (earlier, rest) = postcard::take_from_bytes(rest).unwrap_or_default();
    (Registry { nodes, earlier, ..registry }, rest)
}

/// Collects what the spool replays.
#[derive(Default)]
pub(crate) struct Recovery {
    pub ledger: Ledger,
    pub states: States,
    pub registry: Registry,
    /// Lines of the audit log that may not be there yet.
    pub audits: Audits,
    pub malformed: u64,
    /// What the newest rewrite of the log dropped. The ledger may not know it yet.
    pub toll: Option<Toll>,
}

impl Replay for Recovery {
    fn rewritten(&mut self, note: &[u8]) {
        let toll = Toll::read(note).filter(|t| self.toll.as_ref().is_none_or(|newest| newest.number < t.number));
        self.toll = toll.or(self.toll.take());
    }

    fn checkpoint(&mut self, bytes: &[u8]) {
        match decode::<Checkpoint<Ledger, States>>(bytes, true) {
            Some((checkpoint, tail)) if checkpoint.version == CHECKPOINT_VERSION => {
                self.ledger = checkpoint.ledger;
                self.registry = tail.put_into(&mut self.ledger);
                self.states = checkpoint.states;
            }
            _ => self.malformed += 1,
        }
    }

    fn frame(&mut self, lsn: Lsn, kind: u8, body: &[u8]) {
        let understood = match kind {
            KIND_COMMIT => Record::decode(body).map(|record| self.commit(lsn, &record)).is_ok(),
            _ => false,
        };
        self.malformed += u64::from(!understood);
    }

    fn note(&mut self, kind: u8, body: &[u8]) {
        if matches!(kind, KIND_DEPLOYED | KIND_DEPLOYED_OLD) {
            return self.deployed(body);
        }
        if kind == KIND_AUDIT {
            match std::str::from_utf8(body) {
                Ok(line) => self.audits.push(self.registry.number, line.to_owned()),
                Err(_) => self.malformed += 1,
            }
            return;
        }
        match decode::<Ledger>(body, false) {
            Some((ledger, tail)) if kind == KIND_LEDGER => {
                self.ledger = ledger;
                tail.put_into(&mut self.ledger);
            }
            _ => self.malformed += 1,
        }
    }
}

impl Recovery {
    fn deployed(&mut self, body: &[u8]) {
        match Deployed::decode(body) {
            Some(deployed) if self.registry.apply(&deployed) => deployed.state.apply(&deployed.name, &mut self.states),
            Some(_) => {}
            None => self.malformed += 1,
        }
    }

    fn commit(&mut self, _lsn: Lsn, record: &Record<'_>) {
        let mut mask = 0;
        for output in record.outputs() {
            for route in output.routes() {
                mask |= bit(route.stream);
                let account = self.stream(route.stream);
                account.enter(output.bytes());
                account.next_seq = account.next_seq.max(route.seq + 1);
            }
        }
        if !record.is_letter {
            self.ledger.enter(mask, record.dropped, record.is_redelivered);
        }
        for block in record.state() {
            let state = self.states.entry(block.function.to_owned()).or_default();
            for (key, value) in block.ops() {
                match value {
                    Some(value) => drop(state.insert(key.to_owned(), value.to_owned())),
                    None => drop(state.remove(key)),
                }
            }
        }
    }

    /// A stream is in every checkpoint before it is in a record; one that is not was damaged away.
    fn stream(&mut self, stream: u8) -> &mut StreamAccount {
        let streams = &mut self.ledger.streams;
        let index = streams.iter().position(|s| s.stream == stream).unwrap_or_else(|| {
            let name = format!("stream-{stream}");
            streams.push(StreamAccount::new(stream, name, 0, 0));
            streams.len() - 1
        });
        #[allow(clippy::indexing_slicing)] // the index was just found or made
        &mut streams[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::registry::{Build, Entry, StateChange};

    #[test]
    fn the_tail_is_read_where_there_is_one() {
        let wear = Counted { device_bytes: 1 << 40, day_us: 7, ..Counted::default() };
        let mut ledger = Ledger { without_output: 3, wear, rewrites: 5, letters_dropped: 6, ..Ledger::default() };
        ledger.keep_finished(&StreamAccount::new(1, "cloud~7".to_owned(), 7, 0));
        let (mut checkpoint, mut note) = (Vec::new(), Vec::new());
        let nodes = BTreeMap::from([("north/trim".to_owned(), Entry::default())]);
        let mut registry = Registry { number: 9, nodes, ..Registry::default() };
        for (number, reason) in [(10, "one"), (11, "another")] {
            let build = Build { version: "1.0.0".parse().unwrap(), sha256: [number; 32], content_sha256: [number; 32] };
            let mut entry = Entry::of(Build { sha256: [1; 32], content_sha256: [1; 32], ..build.clone() });
            entry.reject(&build, reason);
            registry.apply(&Deployed::new(u64::from(number), "f", Some(entry), None, StateChange::Keep));
        }
        assert_eq!(registry.earlier.reason("f", &[10; 32]), Some("one"));
        encode_checkpoint(
            &ledger,
            &Kept { states: BTreeMap::new(), registry: &registry, audits: &Audits::default() },
            &mut checkpoint,
        );
        encode_ledger(&ledger, &mut note);
        let mut recovery = Recovery::default();
        recovery.checkpoint(&checkpoint);
        assert_eq!((&recovery.ledger, &recovery.registry), (&ledger, &registry));
        let mut recovery = Recovery::default();
        recovery.note(KIND_LEDGER, &note);
        assert_eq!((recovery.ledger, recovery.malformed), (ledger.clone(), 0));

        let old = Checkpoint { version: CHECKPOINT_VERSION, ledger: &ledger, states: States::new() };
        let mut recovery = Recovery::default();
        recovery.checkpoint(&postcard::to_extend(&old, Vec::new()).unwrap());
        recovery.note(KIND_LEDGER, &postcard::to_extend(&ledger, Vec::new()).unwrap());
        let counted_nothing = Ledger {
            wear: Counted::default(),
            rewrites: 0,
            finished: FinishedList::new(),
            letters_dropped: 0,
            ..ledger.clone()
        };
        assert_eq!((recovery.ledger, recovery.malformed), (counted_nothing, 0), "a log from before there was one");

        let mut recovery = Recovery::default();
        let shorter = postcard::to_extend(&(&ledger, &ledger.wear, ledger.rewrites), Vec::new()).unwrap();
        recovery.note(KIND_LEDGER, &shorter);
        let without = Ledger { finished: FinishedList::new(), letters_dropped: 0, ..ledger.clone() };
        assert_eq!((recovery.ledger, recovery.malformed), (without, 0), "from before backlogs were remembered");

        let mut recovery = Recovery::default();
        let shorter = (&ledger, &ledger.wear, ledger.rewrites, &ledger.finished);
        recovery.note(KIND_LEDGER, &postcard::to_extend(&shorter, Vec::new()).unwrap());
        let without = Ledger { letters_dropped: 0, ..ledger };
        assert_eq!((recovery.ledger, recovery.malformed), (without, 0), "from before letters were");
    }
}
