//! What was done to a log and what it promised, at which event of the disk; and from that, what a cut may leave.

use eyot_spool::Lsn;
use serde::{Deserialize, Serialize};

/// Streams that acknowledge.
pub const STREAMS: [u8; 2] = [0, 7];

/// How far each of [`STREAMS`] is done.
pub type Acks = [Lsn; STREAMS.len()];

/// All a log's frames and notes so far, in brief; its checkpoints hold this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Frames and notes.
    pub steps: u64,
    /// Number of the last frame.
    pub lsn: Lsn,
    /// Of all contents, in order.
    digest: u64,
}

impl State {
    const BYTES: usize = 24;

    /// This state, followed by a frame (numbered) or a note.
    pub fn after(self, kind: u8, body: &[u8], frame: Option<Lsn>) -> Self {
        let mut digest = self.digest ^ u64::from(kind);
        for byte in body {
            digest = (digest.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        Self { steps: self.steps + 1, lsn: frame.unwrap_or(self.lsn), digest }
    }

    /// As a checkpoint.
    pub fn encode(&self, padding_bytes: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = [self.steps, self.lsn, self.digest].iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.resize(Self::BYTES + padding_bytes, 0xa5);
        bytes
    }

    /// Reads a checkpoint back; none if it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        bytes.get(Self::BYTES..)?.iter().all(|byte| *byte == 0xa5).then_some(())?;
        Some(Self { steps: number(0)?, lsn: number(8)?, digest: number(16)? })
    }
}

/// A frame or a note.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Step {
    /// Events before it was appended.
    at: usize,
    /// Names its content.
    id: u64,
    after: State,
    is_frame: bool,
}

/// What a rewrite made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// As it was appended.
    Whole,
    /// Shorter.
    Short,
    /// Nothing.
    Gone,
}

/// A rewrite of one frame.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Change {
    /// From this event on it may have happened.
    may: usize,
    /// From this event on it must have.
    must: Option<usize>,
    lsn: Lsn,
    form: Form,
}

/// What a reader found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A frame with its name.
    Frame(Lsn, u64, Form),
    /// Word of frames that a rewrite dropped: the first, and the last.
    Gone(Lsn, Lsn),
}

/// What the log said is on disk.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Promise {
    /// Events before it was given.
    at: usize,
    steps: usize,
    acks: Acks,
    epoch: Option<u64>,
}

/// The log from one opening to the next.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Life {
    /// Events before it was open.
    from: usize,
    /// From the log's beginning.
    steps: Vec<Step>,
    promises: Vec<Promise>,
    /// What was asked for, and when.
    asked: Vec<(usize, Acks)>,
    /// In order.
    changes: Vec<Change>,
}

/// A log's lives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct History {
    lives: Vec<Life>,
}

/// What an opened log said of itself.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// What its checkpoint and replay came to.
    pub state: State,
    /// How far its streams are done.
    pub acks: Acks,
    /// Its identity.
    pub epoch: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { lives: vec![Life::default()] }
    }
}

impl History {
    fn life(&mut self) -> &mut Life {
        if self.lives.is_empty() {
            self.lives.push(Life::default());
        }
        let last = self.lives.len() - 1;
        &mut self.lives[last]
    }

    fn last(&self) -> Option<&Life> {
        self.lives.last()
    }

    /// Everything appended so far.
    pub fn state(&self) -> State {
        self.last().and_then(|life| life.steps.last()).map(|step| step.after).unwrap_or_default()
    }

    /// A frame or note with this content was appended.
    pub fn appended(&mut self, at: usize, id: u64, after: State, is_frame: bool) {
        self.life().steps.push(Step { at, id, after, is_frame });
    }

    /// This was asked to be acknowledged.
    pub fn asked(&mut self, at: usize, acks: Acks) {
        self.life().asked.push((at, acks));
    }

    /// A rewrite made this of a frame: not before event `may`, and for good from event `must` on.
    pub fn rewritten(&mut self, may: usize, must: Option<usize>, lsn: Lsn, form: Form) {
        self.life().changes.push(Change { may, must, lsn, form });
    }

    /// The log says that the first `steps` steps and these acknowledgements are on disk.
    pub fn promised(&mut self, at: usize, steps: u64, acks: Acks, epoch: u64) {
        let steps = usize::try_from(steps).unwrap_or(usize::MAX);
        self.life().promises.push(Promise { at, steps, acks, epoch: Some(epoch) });
    }

    /// Events before which something was promised, in order: where a cut hurts most.
    pub fn moments(&self) -> Vec<usize> {
        self.lives.iter().flat_map(|life| life.promises.iter().map(|promise| promise.at)).collect()
    }

    /// What may be on a disk that saw the first `events` events, and nothing more; then time begins anew.
    pub fn at(&self, events: usize) -> Self {
        let Some(life) = self.lives.iter().rev().find(|life| life.from <= events) else { return Self::default() };
        let steps = life.steps.iter().filter(|step| step.at < events || step.at == 0);
        let promise = life.promises.iter().rev().find(|promise| promise.at <= events).copied().unwrap_or_default();
        let asked =
            life.asked.iter().rev().find(|(at, _)| *at < events || *at == 0).map_or(promise.acks, |(_, acks)| *acks);
        Self {
            lives: vec![Life {
                from: 0,
                steps: steps.map(|step| Step { at: 0, ..*step }).collect(),
                promises: vec![Promise { at: 0, ..promise }],
                asked: vec![(0, asked)],
                changes: life.changes_at(events),
            }],
        }
    }

    /// Takes what an opened log found for the truth from here on, or says why it cannot be.
    pub fn adopt(&mut self, at: usize, found: &Found) -> Result<(), String> {
        let life = self.last().cloned().unwrap_or_default();
        let promise = life.promises.last().copied().unwrap_or_default();
        let steps = usize::try_from(found.state.steps).unwrap_or(usize::MAX);
        let expected = match steps.checked_sub(1) {
            Some(index) => life.steps.get(index).map(|step| step.after),
            None => Some(State::default()),
        };
        if steps < promise.steps {
            return Err(format!("lost: {} frames and notes were promised, {steps} are there", promise.steps));
        }
        if expected != Some(found.state) {
            return Err(format!("invented: {:?} is not what was appended, {expected:?}", found.state));
        }
        if let Some(epoch) = promise.epoch.filter(|epoch| *epoch != found.epoch) {
            return Err(format!("the log's epoch was {epoch} and is {}", found.epoch));
        }
        let asked = life.asked.last().map_or(promise.acks, |(_, acks)| *acks);
        for (index, stream) in STREAMS.iter().enumerate() {
            let (low, high, is) = (promise.acks[index], asked[index], found.acks[index]);
            if !(low..=high).contains(&is) {
                return Err(format!("stream {stream} is done up to {is}; {low} was promised, {high} asked for"));
            }
        }
        let epoch = promise.epoch.or((steps > 0).then_some(found.epoch));
        self.lives.push(Life {
            from: at,
            steps: life.steps.get(..steps).unwrap_or_default().iter().map(|step| Step { at: 0, ..*step }).collect(),
            promises: vec![Promise { at, steps, acks: found.acks, epoch }],
            asked: vec![(at, found.acks)],
            changes: life.changes_at(usize::MAX),
        });
        Ok(())
    }

    /// Checks what a reader found, from the first: content and order as appended, but for what was rewritten; none missing
    /// but at the front, where it may be.
    pub fn check_frames(&self, found: impl Iterator<Item = Result<Read, String>>) -> Result<(), String> {
        let Some(life) = self.last() else { return Ok(()) };
        let floor = life.floor();
        let mut expected = life.steps.iter().filter(|step| step.is_frame).peekable();
        let mut next = None;
        for read in found {
            let (first, last, id, form) = match read? {
                Read::Frame(lsn, id, form) => (lsn, lsn, Some(id), form),
                Read::Gone(first, last) => (first, last, None, Form::Gone),
            };
            if next.is_none() && first > floor + 1 {
                return Err(format!("lost: the first frame is {first}, only those up to {floor} may be gone"));
            }
            let due = next.unwrap_or(first);
            while expected.next_if(|step| step.after.lsn < due).is_some() {}
            // Word of what is gone may come twice.
            if first > due || id.is_some() && first < due {
                return Err(format!("frame {first} comes where {due} is due"));
            }
            for lsn in due..=last {
                match expected.next() {
                    Some(step) if step.after.lsn == lsn && id.is_none_or(|id| id == step.id) => {}
                    other => return Err(format!("frame {lsn} with content {id:?} stands where {other:?} should")),
                }
                if !life.allows(lsn, form) {
                    return Err(format!("frame {lsn} is {form:?}: no rewrite made it so, or one is undone"));
                }
            }
            next = Some(due.max(last + 1));
        }
        match expected.next() {
            Some(step) if next.is_some() || self.state().lsn > floor => {
                Err(format!("lost: no reader finds frame {}", step.after.lsn))
            }
            _ => Ok(()),
        }
    }
}

impl Life {
    /// What may have been rewritten after so many events, and what must have been.
    fn changes_at(&self, events: usize) -> Vec<Change> {
        let may = self.changes.iter().filter(|change| change.may < events || change.may == 0);
        may.map(|change| Change { may: 0, must: change.must.filter(|must| *must <= events).map(|_| 0), ..*change })
            .collect()
    }

    /// Whether a frame may be read so.
    fn allows(&self, lsn: Lsn, form: Form) -> bool {
        let mut allowed = vec![Form::Whole];
        for change in self.changes.iter().filter(|change| change.lsn == lsn) {
            if change.must.is_some() {
                allowed.clear();
            }
            allowed.push(change.form);
        }
        allowed.contains(&form)
    }

    /// Frames up to here may be gone: an opened log knew that all streams were done with them.
    fn floor(&self) -> Lsn {
        self.asked.first().and_then(|(_, acks)| acks.iter().min().copied()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three frames of one step each: promised at event 10, 20 and not at all; the first acknowledged at 15.
    fn history() -> History {
        let mut history = History::default();
        for (lsn, at) in [(1, 5), (2, 12), (3, 22)] {
            let after = history.state().after(1, &[lsn as u8], Some(lsn));
            history.appended(at, lsn * 100, after, true);
            if lsn < 3 {
                history.promised(at + 5, lsn, if lsn == 2 { [1, 1] } else { [0, 0] }, 9);
            }
            if lsn == 1 {
                history.asked(11, [1, 1]);
            }
        }
        history
    }

    fn found(history: &History, steps: usize, acks: Acks) -> Found {
        let state = steps.checked_sub(1).map(|at| history.lives[0].steps[at].after).unwrap_or_default();
        Found { state, acks, epoch: 9 }
    }

    fn open(events: usize, steps: usize, acks: Acks) -> Result<(), String> {
        let history = history();
        history.at(events).adopt(0, &found(&history, steps, acks))
    }

    #[test]
    fn what_was_promised_must_be_there_and_nothing_that_was_not_appended_yet() {
        assert_eq!(open(9, 0, [0, 0]), Ok(()));
        assert_eq!(open(9, 1, [0, 0]), Ok(()));
        assert!(open(9, 2, [0, 0]).unwrap_err().contains("invented"));
        assert!(open(10, 0, [0, 0]).unwrap_err().contains("lost"));
        assert_eq!(open(16, 2, [1, 0]), Ok(()));
        assert!(open(17, 1, [1, 1]).unwrap_err().contains("lost"));
        assert_eq!(open(30, 3, [1, 1]), Ok(()));
    }

    #[test]
    fn acknowledgements_are_between_promised_and_asked_for() {
        assert!(open(11, 1, [1, 0]).unwrap_err().contains("asked for"));
        assert_eq!(open(12, 1, [1, 0]), Ok(()));
        assert!(open(17, 2, [1, 0]).unwrap_err().contains("asked for"));
    }

    #[test]
    fn readers_find_all_but_what_is_done_in_order() {
        let read = |events, frames: &[(Lsn, u64)]| {
            history().at(events).check_frames(frames.iter().map(|(lsn, id)| Ok(Read::Frame(*lsn, *id, Form::Whole))))
        };
        assert_eq!(read(30, &[(1, 100), (2, 200), (3, 300)]), Ok(()));
        assert_eq!(read(30, &[(2, 200), (3, 300)]), Ok(()));
        for breach in [&[(3, 300)][..], &[(1, 100), (3, 300)], &[(1, 100), (2, 201), (3, 300)], &[(2, 200)], &[]] {
            assert!(read(30, breach).is_err(), "{breach:?}");
        }
        assert!(read(11, &[]).is_err());
    }

    #[test]
    fn what_was_rewritten_may_be_so_and_then_must() {
        let mut history = history();
        history.rewritten(23, Some(25), 2, Form::Gone);
        history.rewritten(23, Some(25), 3, Form::Short);
        let whole = [Read::Frame(2, 200, Form::Whole), Read::Frame(3, 300, Form::Whole)];
        let changed = [Read::Gone(2, 2), Read::Frame(3, 300, Form::Short), Read::Gone(4, 3)];
        let again = [Read::Gone(2, 2), Read::Gone(1, 2), Read::Frame(3, 300, Form::Short)];
        let read = |events, frames: &[Read]| history.at(events).check_frames(frames.iter().map(|read| Ok(*read)));
        for (events, may_be_whole, may_be_changed) in [(23, true, false), (24, true, true), (25, false, true)] {
            assert_eq!(read(events, &whole).is_ok(), may_be_whole, "{events}");
            assert_eq!(read(events, &changed).is_ok(), may_be_changed, "{events}");
            assert_eq!(read(events, &again).is_ok(), may_be_changed, "{events}");
        }
        for breach in
            [&[Read::Gone(2, 3)][..], &[Read::Gone(3, 3)], &[Read::Gone(2, 2), Read::Frame(3, 300, Form::Whole)]]
        {
            assert!(read(25, breach).is_err(), "{breach:?}");
        }
    }

    #[test]
    fn what_was_recovered_is_promised_from_then_on() {
        let all = history();
        let mut history = all.at(30);
        let found = found(&all, 2, [1, 1]);
        history.adopt(40, &found).unwrap();
        let after = history.state().after(1, &[9], Some(3));
        history.appended(41, 999, after, true);
        assert!(history.at(39).adopt(0, &Found { state: all.state(), ..found }).is_ok());
        assert!(history.at(40).adopt(0, &Found { state: all.state(), ..found }).is_err());
        assert!(history.at(41).adopt(0, &Found { state: after, ..found }).is_err());
        assert!(history.at(42).adopt(0, &Found { state: after, ..found }).is_ok());
    }

    #[test]
    fn checkpoints_read_back() {
        let state = State { steps: 3, lsn: 2, digest: 77 };
        assert_eq!(State::decode(&state.encode(10)), Some(state));
        assert_eq!(State::decode(&state.encode(0)[..23]), None);
    }
}
