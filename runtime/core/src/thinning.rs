//! Thinning: what becomes of each output when old segments are rewritten, be it that a reducer makes less of the backlog
//! or that the quota is used up and what matters least has to go.

use eyot_engine::{Invocation, State};
use eyot_spool::{Fate, Lsn, Rewrite};
use eyot_wire::code::DropReason;
use eyot_wire::record::{Builder, Output, Record, Route};

use crate::active::{Active, Reduced, Shop};
use crate::config::Priority;
use crate::gone::{Hole, Holes, Toll};
use crate::ledger::bit;
use crate::notices::Notices;
use crate::recover::KIND_COMMIT;
use crate::streams::Streams;

/// Topics of the gateway's own: dead letters are not for reducers.
const CONTROL_PREFIX: &str = "eyot/";

/// Messages wait for a rewrite at the quota no longer than while the reducer uses this much fuel: a quarter of a second on a
/// desktop, a second or two on a small gateway. Then it rests, and the oldest goes instead.
pub(crate) const FULL_FUEL_MAX: u64 = 500_000_000;

/// Why segments are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The reducer sees what is pending, but for what is of high priority.
    Reduce,
    /// What is pending goes, up to this priority.
    GiveUp(Priority),
}

impl Purpose {
    /// Bit of a segment's mark: this was done to it. In a later life streams may have other priorities; then a segment is
    /// passed over that could be made smaller, and given up as a whole later.
    pub fn mark(self) -> u64 {
        match self {
            Self::Reduce => 1,
            Self::GiveUp(Priority::Low) => 2,
            Self::GiveUp(_) => 4,
        }
    }

    fn reason(self) -> DropReason {
        match self {
            Self::Reduce => DropReason::Reduced,
            Self::GiveUp(_) => DropReason::SpoolFullOldest,
        }
    }

    fn concerns(self, priority: Priority) -> bool {
        match self {
            Self::Reduce => priority < Priority::High,
            Self::GiveUp(most) => priority <= most,
        }
    }
}

/// How a stream stands when a rewrite begins. It does not move in the segments at hand until that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub stream: u8,
    pub passed: Lsn,
    pub priority: Priority,
}

/// Everything as of the end of one old segment: the new one may end there.
struct Milestone {
    last_lsn: Lsn,
    toll: Toll,
    state: Option<State>,
}

/// One rewrite under way.
pub(crate) struct Thinning {
    pub purpose: Purpose,
    pub standings: Vec<Standing>,
    /// Up to here it was done before: this is only merged.
    done_upto: Lsn,
    last_lsn: Lsn,
    toll: Toll,
    /// Holes before the frame decided on last, and behind its outputs.
    before: Holes,
    behind: Holes,
    milestones: Vec<Milestone>,
    /// The reducer's state, to go back to.
    state_before: Option<State>,
    record: Builder,
    /// Fuel used in this slice.
    pub fuel: u64,
    /// And in all slices that messages had to wait for.
    full_fuel: u64,
    /// Topics and payloads the reducer was shown.
    pub shown_bytes: u64,
}

impl Thinning {
    pub fn new(purpose: Purpose, number: u64, done_upto: Lsn, standings: Vec<Standing>, state: Option<State>) -> Self {
        Self {
            purpose,
            standings,
            done_upto,
            last_lsn: 0,
            toll: Toll::new(number, purpose.reason()),
            before: Holes::default(),
            behind: Holes::default(),
            milestones: Vec::new(),
            state_before: state,
            record: Builder::default(),
            fuel: 0,
            full_fuel: 0,
            shown_bytes: 0,
        }
    }

    /// Messages had to wait for this slice. Returns whether they waited long enough.
    pub fn kept_waiting(&mut self) -> bool {
        self.full_fuel = self.full_fuel.saturating_add(self.fuel);
        self.full_fuel >= FULL_FUEL_MAX
    }

    /// The reducer's state as it was, for a rewrite that is given up.
    pub fn into_state_before(self) -> Option<State> {
        self.state_before
    }

    /// What the rewrite came to when it ended with `last_lsn`: what it dropped, and the reducer's state.
    pub fn into_outcome(mut self, last_lsn: Lsn) -> (Toll, Option<State>) {
        let ended = self.milestones.iter().rposition(|m| m.last_lsn <= last_lsn);
        match ended.map(|index| self.milestones.swap_remove(index)) {
            Some(milestone) => (milestone.toll, milestone.state),
            None => (Toll::new(self.toll.number, self.toll.reason), self.state_before),
        }
    }

    fn concerns(&self, lsn: Lsn, priority: Priority) -> bool {
        lsn > self.done_upto && self.purpose.concerns(priority)
    }

    /// None if the stream has no use for the record any more.
    fn priority(&self, stream: u8, lsn: Lsn) -> Option<Priority> {
        self.standings.iter().find(|s| s.stream == stream && s.passed < lsn).map(|s| s.priority)
    }

    fn drop_all(&mut self, routes: &[Route], bytes: u64) {
        for route in routes {
            self.toll.add(route.stream, 1, bytes);
            self.behind.add(Hole { stream: route.stream, first: route.seq, end: route.seq + 1 });
        }
    }

    /// Outputs that stay. What went before them in the same record stands before it; what went between is no riddle.
    fn keep(&mut self, topic: &str, payload: &[u8], routes: &[Route], kept: &mut u32) {
        if routes.is_empty() {
            return;
        }
        self.record.output(topic, payload, routes);
        for route in routes {
            match *kept & bit(route.stream) {
                0 => self.behind.move_stream_to(route.stream, &mut self.before),
                _ => self.behind.forget(route.stream),
            }
            *kept |= bit(route.stream);
        }
    }
}

/// The decisions, with what they need of the machine.
pub(crate) struct Decider<'a> {
    pub thinning: &'a mut Thinning,
    pub reducer: Option<&'a mut Active>,
    pub streams: &'a Streams,
    pub notices: &'a mut Notices,
    pub mono_us: u64,
}

impl Decider<'_> {
    fn reduce(&mut self, lsn: Lsn, received_at_ms: i64, output: &Output<'_>) -> Reduced {
        let Some(active) = self.reducer.as_mut() else { return Reduced::Failed };
        let Output { topic, payload, .. } = *output;
        self.thinning.shown_bytes += output.bytes();
        let invocation = Invocation { topic, payload, now_ms: received_at_ms, seed: lsn };
        let mut shop = Shop { mono_us: self.mono_us, notices: self.notices };
        let (reduced, fuel) = active.reduce(&invocation, self.streams, &mut shop);
        self.thinning.fuel += fuel;
        reduced
    }

    /// Returns whether anything but what stays as it is was found.
    fn output(&mut self, lsn: Lsn, received_at_ms: i64, output: &Output<'_>, kept: &mut u32) -> bool {
        let (mut stays, mut concerned, mut done) = (Vec::new(), Vec::new(), 0);
        for route in output.routes() {
            match self.thinning.priority(route.stream, lsn) {
                Some(priority) if self.thinning.concerns(lsn, priority) => concerned.push(route),
                Some(_) => stays.push(route),
                None => done += 1,
            }
        }
        let is_control = output.topic.starts_with(CONTROL_PREFIX);
        let reduced = match self.thinning.purpose {
            _ if concerned.is_empty() => Reduced::Failed,
            Purpose::Reduce if is_control => Reduced::Failed,
            Purpose::Reduce => self.reduce(lsn, received_at_ms, output),
            Purpose::GiveUp(_) => Reduced::Nothing,
        };
        let thinning = &mut *self.thinning;
        match reduced {
            Reduced::Failed => {
                stays.append(&mut concerned);
                thinning.keep(output.topic, output.payload, &stays, kept);
                return done > 0;
            }
            Reduced::Nothing => {
                thinning.keep(output.topic, output.payload, &stays, kept);
                thinning.drop_all(&concerned, output.bytes());
            }
            Reduced::To(topic, payload) => {
                thinning.keep(output.topic, output.payload, &stays, kept);
                let bytes = output.bytes().saturating_sub((topic.len() + payload.len()) as u64);
                concerned.iter().for_each(|route| thinning.toll.add(route.stream, 0, bytes));
                thinning.keep(&topic, &payload, &concerned, kept);
            }
        }
        true
    }
}

impl Rewrite for Decider<'_> {
    fn frame(&mut self, lsn: Lsn, kind: u8, body: &[u8], replacement: &mut Vec<u8>) -> Fate {
        self.thinning.last_lsn = lsn;
        let Some(record) = Record::decode(body).ok().filter(|_| kind == KIND_COMMIT) else { return Fate::Keep };
        self.thinning.record.clear();
        let dropped_before = self.thinning.toll.outputs_total();
        let (mut kept, mut touched) = (0, false);
        for output in record.outputs() {
            touched |= self.output(lsn, record.received_at_ms, &output, &mut kept);
        }
        let thinning = &mut *self.thinning;
        if kept == 0 {
            // A record without outputs is not needed either: what it did to states is in the checkpoint behind it.
            let has_dropped = thinning.toll.outputs_total() > dropped_before;
            thinning.toll.messages += u64::from(has_dropped && record.message_is_open());
            let mut behind = std::mem::take(&mut thinning.behind);
            behind.move_to(&mut thinning.before);
            return Fate::Drop;
        }
        if !touched {
            return Fate::Keep;
        }
        replacement.extend_from_slice(match record.is_letter {
            true => thinning.record.finish_letter(record.received_at_ms),
            false => thinning.record.finish(record.received_at_ms, None, record.dropped),
        });
        Fate::Replace
    }

    fn gone(&mut self, body: &[u8]) {
        for hole in Holes::read(body) {
            self.thinning.before.add(hole);
        }
    }

    fn take_gone(&mut self, body: &mut Vec<u8>) {
        self.thinning.before.write(body);
        let mut behind = std::mem::take(&mut self.thinning.behind);
        behind.move_to(&mut self.thinning.before);
    }

    fn boundary(&mut self, note: &mut Vec<u8>) {
        let thinning = &mut *self.thinning;
        thinning.toll.write(note);
        thinning.milestones.push(Milestone {
            last_lsn: thinning.last_lsn,
            toll: thinning.toll.clone(),
            state: self.reducer.as_ref().map(|active| State::clone(active.instances.state())),
        });
    }
}
