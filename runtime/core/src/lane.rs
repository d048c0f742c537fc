//! Lanes: a link, and the streams that share it. Of those that wait, the one with the highest priority sends first; equals
//! take turns.

use std::cmp::Reverse;
use std::collections::VecDeque;

use eyot_spool::{ReadError, Spool, Storage};

use crate::config::Priority;
use crate::dead::Keep;
use crate::forward::Forwarder;
use crate::io::{ConnId, LinkId, Now, Publish};
use crate::ledger::Ledger;
use crate::pace::Pace;

/// Of its window, a lane keeps one part in so many for what has a higher priority than the rest.
const RESERVE_PARTS: usize = 8;
/// Beside an urgent stream, the others together may have so much in flight at least, or a batch where there are any.
const SHARED_MIN: usize = 16;

/// Where the number of a stream is in a token.
const TOKEN_STREAM_SHIFT: u32 = 56;

/// The token of the `count`-th publish of a stream.
pub(crate) const fn token(stream: u8, count: u64) -> u64 {
    (stream as u64) << TOKEN_STREAM_SHIFT | count & ((1 << TOKEN_STREAM_SHIFT) - 1)
}

/// Priority, and whether it is no backlog behind another stream.
pub(crate) type Rank = (Priority, bool);

/// What the streams of a lane share.
pub(crate) struct Traffic {
    pub conn: Option<ConnId>,
    /// An output was accepted on it, or need not be.
    proven: bool,
    /// Most outputs in flight.
    window: usize,
    in_flight: usize,
    /// Most bytes in flight, but for the last output that finds room.
    window_bytes: u64,
    in_flight_bytes: u64,
    pace: Pace,
    /// What is never too much for the others.
    shared_min: usize,
    answers: Answers,
    highest: Rank,
    /// Publishes handed out.
    sends: u64,
    /// When the pace allows the next publish that waits.
    pub waits_until_us: Option<u64>,
}

/// What was answered in this second and in the one before.
#[derive(Debug, Default)]
struct Answers {
    second: u64,
    this: usize,
    last: usize,
}

impl Answers {
    fn count(&mut self, now: Now) {
        self.roll(now);
        self.this += 1;
    }

    fn roll(&mut self, now: Now) {
        let second = now.mono_us / 1_000_000;
        if second != self.second {
            self.last = if second == self.second + 1 { self.this } else { 0 };
            self.this = 0;
            self.second = second;
        }
    }
}

impl Traffic {
    fn new(pace: Pace, batch_max: Option<u16>, highest: Rank) -> Self {
        Self {
            conn: None,
            proven: false,
            window: 0,
            in_flight: 0,
            window_bytes: 0,
            in_flight_bytes: 0,
            pace,
            shared_min: SHARED_MIN.max(batch_max.map_or(0, usize::from)),
            answers: Answers::default(),
            highest,
            sends: 0,
            waits_until_us: None,
        }
    }

    /// Whether there is a connection that is known to be of use.
    pub fn is_connected(&self) -> bool {
        self.conn.is_some() && self.proven
    }

    /// Whether the window has room for one more. What is in flight stands in front of an alarm that comes next, in
    /// buffers that nothing can overtake it in: so the others get no more of the window than about two seconds' worth.
    pub fn has_room(&mut self, rank: Rank, now: Now) -> bool {
        let (mut window, mut window_bytes) = (self.window, self.window_bytes);
        if rank < self.highest {
            self.answers.roll(now);
            let worth = 2 * self.answers.this.max(self.answers.last);
            let reserve = window.div_ceil(RESERVE_PARTS).min(window.saturating_sub(1));
            window = (window - reserve).min(worth.max(self.shared_min));
            window_bytes -= window_bytes / RESERVE_PARTS as u64;
        }
        self.in_flight < window && self.in_flight_bytes < window_bytes
    }

    /// Whether the pace allows a publish; if not, notes when it will.
    pub fn may_go(&mut self, now: Now) -> bool {
        self.waits_until_us = self.pace.waits_until_us(now);
        self.waits_until_us.is_none()
    }

    /// A publish of so many bytes is on its way; returns its number on this lane.
    pub fn sent(&mut self, bytes: u64, now: Now) -> u64 {
        self.pace.sent(now);
        self.took_place();
        self.in_flight_bytes += bytes;
        self.sends += 1;
        self.sends
    }

    /// Something takes a place in the window that is not sent.
    pub fn took_place(&mut self) {
        self.in_flight += 1;
    }

    /// A place in the window is free again, and so many bytes.
    pub fn left(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(bytes);
    }
}

/// One link with its streams.
pub(crate) struct Lane<F> {
    /// None: the uplink is gone from the configuration.
    pub link: Option<LinkId>,
    /// As [`Uplink::proven_by_answer`](crate::config::Uplink::proven_by_answer).
    pub proven_by_answer: bool,
    pub traffic: Traffic,
    forwarders: Vec<Forwarder<F>>,
}

impl<F: Clone> Lane<F> {
    pub fn new(link: Option<LinkId>, pace: Pace, batch_max: Option<u16>, forwarders: Vec<Forwarder<F>>) -> Self {
        let highest = highest(&forwarders);
        Self { link, proven_by_answer: false, traffic: Traffic::new(pace, batch_max, highest), forwarders }
    }

    /// Most outputs in flight.
    pub fn window(&self) -> usize {
        self.traffic.window
    }

    pub fn forwarders(&self) -> impl Iterator<Item = &Forwarder<F>> {
        self.forwarders.iter()
    }

    pub fn forwarders_mut(&mut self) -> impl Iterator<Item = &mut Forwarder<F>> {
        self.forwarders.iter_mut()
    }

    /// A new stream takes the place of `old`, whose backlog goes behind it.
    pub fn succeed(&mut self, old: u8, new: Forwarder<F>) {
        let place = self.forwarders.iter().map(|f| f.behind).max().unwrap_or(0) + 1;
        if let Some(old) = self.forwarders.iter_mut().find(|f| f.stream == old) {
            old.behind = place;
        }
        self.forwarders.push(new);
        self.traffic.highest = highest(&self.forwarders);
    }

    /// Streams that are empty and get no more outputs.
    pub fn remove(&mut self, gone: &[u8]) {
        self.forwarders.retain(|f| !gone.contains(&f.stream));
        self.traffic.highest = highest(&self.forwarders);
    }

    /// `window` is how many outputs may be in flight, and how many bytes.
    pub fn link_up<S: Storage<File = F>>(
        &mut self,
        conn: ConnId,
        window: (usize, u64),
        ledger: &Ledger,
        spool: &Spool<S>,
    ) {
        self.rewind(ledger, spool);
        (self.traffic.conn, self.traffic.proven) = (Some(conn), !self.proven_by_answer);
        (self.traffic.window, self.traffic.window_bytes) = (window.0.max(1), window.1.max(1));
    }

    pub fn link_down<S: Storage<File = F>>(&mut self, conn: ConnId, ledger: &Ledger, spool: &Spool<S>) {
        if self.traffic.conn == Some(conn) {
            self.traffic.conn = None;
            self.rewind(ledger, spool);
        }
    }

    /// Back to the first records that the streams are not done with; only without a connection.
    pub fn rewind<S: Storage<File = F>>(&mut self, ledger: &Ledger, spool: &Spool<S>) {
        (self.traffic.in_flight, self.traffic.in_flight_bytes) = (0, 0);
        for forwarder in &mut self.forwarders {
            forwarder.rewind(ledger, spool);
        }
    }

    /// Reads and sends as far as window and log allow; true if there is more to do at once. A stream that cannot be read
    /// does not hold up the others.
    pub fn pump<S: Storage<File = F>>(
        &mut self,
        spool: &mut Spool<S>,
        ledger: &mut Ledger,
        out: &mut VecDeque<Publish>,
        now: Now,
    ) -> Result<bool, ReadError> {
        self.traffic.waits_until_us = None;
        self.forwarders.sort_by_key(|f| (Reverse(f.priority), f.behind, f.last_send));
        let mut more = Ok(false);
        for forwarder in &mut self.forwarders {
            match (forwarder.pump(self.link, &mut self.traffic, spool, ledger, out, now), &mut more) {
                (Ok(pumped), Ok(more)) => *more |= pumped,
                (Err(error), Ok(_)) => more = Err(error),
                (_, Err(_)) => {}
            }
        }
        more
    }

    /// Bytes that are given up as soon as their turn comes.
    pub fn doomed_bytes(&self) -> u64 {
        self.forwarders.iter().map(Forwarder::doomed_bytes).sum()
    }

    /// Gives up the oldest of the lowest priority, until `excess_bytes` are gone or nothing else can go; true if the turn
    /// is over and the work is not. What is in flight stays.
    pub fn doom<S: Storage<File = F>>(
        &mut self,
        spool: &mut Spool<S>,
        mut excess_bytes: u64,
        ledger: &Ledger,
    ) -> Result<bool, ReadError> {
        let mut ascending: Vec<&mut Forwarder<F>> = self.forwarders.iter_mut().collect();
        ascending.sort_by_key(|f| (f.priority, f.behind == 0, f.behind));
        for forwarder in ascending {
            let before = forwarder.doomed_bytes();
            if forwarder.doom(spool, excess_bytes, self.traffic.conn.is_some())? {
                return Ok(true);
            }
            excess_bytes = excess_bytes.saturating_sub(forwarder.doomed_bytes() - before);
            // What is not durable cannot be read: it goes when it is, and until then nothing of a higher priority for it.
            excess_bytes = excess_bytes.saturating_sub(forwarder.unread_bytes(ledger));
        }
        Ok(false)
    }

    /// The broker answered one publish. `keep` gets what was refused before the ledger has it as dropped.
    pub fn answered(
        &mut self,
        conn: ConnId,
        token: u64,
        accepted: bool,
        ledger: &mut Ledger,
        now: Now,
        keep: &mut Keep<'_>,
    ) {
        if self.traffic.conn != Some(conn) {
            return;
        }
        self.traffic.answers.count(now);
        self.traffic.proven |= accepted;
        if let Some(forwarder) = self.forwarders.iter_mut().find(|f| u64::from(f.stream) == token >> TOKEN_STREAM_SHIFT)
        {
            forwarder.answered(token, accepted, &mut self.traffic, ledger, keep);
        }
    }
}

fn highest<F: Clone>(forwarders: &[Forwarder<F>]) -> Rank {
    forwarders.iter().map(Forwarder::rank).max().unwrap_or_default()
}
