//! What a log is expected to hold: everything taken from the caller, how much of it was promised, and what the state is
//! after each of it.

use std::collections::{BTreeMap, HashSet};

use eyot_spool::{Lsn, Replay};

/// What a check found, or nothing.
pub type Check = Result<(), String>;

/// Ends a check with a reason unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err(format!($($reason)+));
        }
    };
}
pub(crate) use ensure;

/// One thing taken from the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An appended frame.
    Frame { lsn: Lsn, kind: u8, body: Vec<u8> },
    /// A note, which sets the state's `note` to its number.
    Note { number: u64 },
}

/// A state that depends on every frame, on their order, and on the newest note.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub frames: u64,
    pub chain: u64,
    pub note: u64,
}

impl State {
    pub fn after_frame(self, lsn: Lsn, kind: u8, body: &[u8]) -> Self {
        let sum = u64::from(crc32c::crc32c(body)) << 8 | u64::from(kind);
        let chain = (self.chain.rotate_left(7) ^ sum ^ lsn << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { frames: lsn, chain, ..self }
    }

    pub fn after_note(self, number: u64) -> Self {
        Self { note: number, ..self }
    }

    pub fn after(self, event: &Event) -> Self {
        match event {
            Event::Frame { lsn, kind, body } => self.after_frame(*lsn, *kind, body),
            Event::Note { number } => self.after_note(*number),
        }
    }

    /// Up to `padding_max` bytes more than it needs, so that checkpoints end anywhere in a sector.
    pub fn encode(&self, padding_max: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [self.frames, self.chain, self.note] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(24 + (self.chain % (padding_max + 1)) as usize, 0xcc);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        Self { frames: number(0), chain: number(8), note: number(16) }
    }
}

/// What a rewrite made of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variant {
    Original,
    Body(Vec<u8>),
    Gone,
}

/// Everything a log took, and what it promised.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The history as the caller knows it. A crash may cut off what was not promised.
    pub events: Vec<Event>,
    /// `states[i]` is the state after `i` events.
    pub states: Vec<State>,
    /// Index of the event of each frame; the frame numbered 1 comes first.
    pub frames: Vec<usize>,
    /// So many events were reported durable.
    pub durable_events: usize,
    /// By stream: acknowledged as of the last durable commit, and as asked for last.
    pub acks_durable: BTreeMap<u8, Lsn>,
    pub acks: BTreeMap<u8, Lsn>,
    /// Frames up to here may be gone: durably acknowledged by all streams.
    pub gone: Lsn,
    /// Every frame ever taken and every state ever passed through, also those that a crash cut off.
    pub written: HashSet<(Lsn, u8, Vec<u8>)>,
    pub passed: HashSet<State>,
    /// What frames may be now, if that is not only as they were appended.
    variants: BTreeMap<Lsn, Vec<Variant>>,
    next_note: u64,
}

impl Model {
    pub fn new(streams: &[u8]) -> Self {
        let acks: BTreeMap<u8, Lsn> = streams.iter().map(|s| (*s, 0)).collect();
        Self { states: vec![State::default()], acks_durable: acks.clone(), acks, ..Self::default() }
    }

    pub fn state(&self) -> State {
        self.states[self.events.len()]
    }

    pub fn last_lsn(&self) -> Lsn {
        self.frames.len() as Lsn
    }

    pub fn durable_lsn(&self) -> Lsn {
        self.states[self.durable_events].frames
    }

    pub fn frame(&self, lsn: Lsn) -> Option<(u8, &[u8])> {
        match self.events.get(*self.frames.get(usize::try_from(lsn).ok()?.checked_sub(1)?)?)? {
            Event::Frame { kind, body, .. } => Some((*kind, body)),
            Event::Note { .. } => None,
        }
    }

    /// A frame was rewritten; if that is not durable it may come back.
    pub fn rewrite(&mut self, lsn: Lsn, variant: Variant, is_durable: bool) {
        let variants = self.variants.entry(lsn).or_insert_with(|| vec![Variant::Original]);
        if is_durable {
            variants.clear();
        }
        variants.push(variant);
    }

    /// Whether the frame may be read so.
    pub fn allows(&self, lsn: Lsn, kind: u8, body: &[u8]) -> bool {
        let Some((known, original)) = self.frame(lsn) else { return false };
        let fits = |variant: &Variant| match variant {
            Variant::Original => body == original,
            Variant::Body(rewritten) => body == rewritten,
            Variant::Gone => false,
        };
        known == kind && self.variants.get(&lsn).map_or(body == original, |variants| variants.iter().any(fits))
    }

    pub fn may_be_gone(&self, lsn: Lsn) -> bool {
        self.variants.get(&lsn).is_some_and(|variants| variants.contains(&Variant::Gone))
    }

    /// Whether these may be all frames from `from` to before `to`.
    pub fn may_be(&self, from: Lsn, lsns: &[Lsn], to: Lsn) -> bool {
        let is_there = |lsn: &Lsn| lsns.binary_search(lsn).is_ok();
        lsns.iter().all(|lsn| (from..to).contains(lsn)) && (from..to).all(|l| is_there(&l) || self.may_be_gone(l))
    }

    pub fn next_note(&mut self) -> u64 {
        self.next_note += 1;
        self.next_note
    }

    pub fn push(&mut self, event: Event) {
        if let Event::Frame { lsn, kind, body } = &event {
            self.frames.push(self.events.len());
            self.written.insert((*lsn, *kind, body.clone()));
        }
        let state = self.state().after(&event);
        self.passed.insert(state);
        self.states.push(state);
        self.events.push(event);
    }

    /// The frames every stream is durably done with, or every durable one if there are no streams.
    pub fn acked_durably_by_all(&self) -> Lsn {
        self.acks_durable.values().copied().min().unwrap_or(self.durable_lsn())
    }

    /// Takes what recovery found for the truth, if it may be.
    pub fn adopt(&mut self, found: &Recorder, acked: impl Fn(u8) -> Lsn) -> Check {
        if let Some(order) = &found.disorder {
            return Err(order.clone());
        }
        let legal = self.durable_events..=self.events.len();
        let Some(index) = legal.clone().find(|i| self.states[*i] == found.state) else {
            let (from, to) = (self.states[*legal.start()], self.state());
            return Err(format!("recovered {:?}, which is no state from {from:?} to {to:?}", found.state));
        };
        self.events.truncate(index);
        self.states.truncate(index + 1);
        self.frames.retain(|at| *at < index);
        self.durable_events = index;
        for (stream, asked) in &mut self.acks {
            let promised = self.acks_durable[stream];
            let found = acked(*stream);
            ensure!(
                (promised..=*asked).contains(&found),
                "stream {stream} is done up to {found}; promised was {promised}, asked for {asked}"
            );
            *asked = found;
        }
        self.acks_durable.clone_from(&self.acks);
        Ok(())
    }
}

/// Follows a replay.
#[derive(Debug, Default)]
pub struct Recorder {
    pub state: State,
    pub checkpoints: Vec<Vec<u8>>,
    pub frames: Vec<(Lsn, u8, Vec<u8>)>,
    pub notes: u64,
    /// What came out of order.
    pub disorder: Option<String>,
    /// Keeps the frames too.
    pub keep: bool,
}

impl Replay for Recorder {
    fn checkpoint(&mut self, bytes: &[u8]) {
        if !self.checkpoints.is_empty() || self.state != State::default() {
            self.disorder = Some("a checkpoint came twice, or after a frame".to_owned());
        }
        self.checkpoints.push(bytes.to_vec());
        self.state = State::decode(bytes);
    }

    fn frame(&mut self, lsn: Lsn, kind: u8, body: &[u8]) {
        if lsn <= self.state.frames {
            self.disorder = Some(format!("frame {lsn} came after frame {}", self.state.frames));
        }
        self.state = self.state.after_frame(lsn, kind, body);
        if self.keep {
            self.frames.push((lsn, kind, body.to_vec()));
        }
    }

    fn note(&mut self, _kind: u8, body: &[u8]) {
        self.notes += 1;
        self.state = self.state.after_note(u64::from_le_bytes(body[..8].try_into().unwrap()));
    }
}
