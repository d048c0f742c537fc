//! Flight: messages whose functions have not all ended, or that stand behind such a one.
//!
//! Each is a ticket, numbered in the order of arrival. It lands, which is to say that its record is written, when all its
//! functions have ended and no earlier message of its topic is in flight. What is ready lands in the order of arrival;
//! other than that, topics overtake each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::canary::By;
use crate::config::RECEIVE_MAX_DEFAULT;
use crate::dead::Maker;
use crate::functions::{Part, Progress, Ran};
use crate::io::{LinkId, Message};
use crate::job::Parcel;

/// Messages in flight before no other is taken in; each takes some 600 bytes beside its own. One function can have all that
/// a broker's window holds, as messages come in one line and are answered in order: there is room for some more at QoS 0.
pub const FLIGHT_MESSAGES_MAX: usize = RECEIVE_MAX_DEFAULT as usize + 1024;
/// Bytes of their topics, payloads and effects before that, and before any but the oldest goes on.
pub const FLIGHT_BYTES_MAX: usize = 2 << 20;

/// One message in flight.
pub(crate) struct Ticket {
    pub parcel: Parcel,
    /// The link it came from.
    pub from: LinkId,
    /// Where its acknowledgement stands in the line of its link; none if nobody waits for one.
    pub unacked: Option<u64>,
    pub dup: bool,
    pub wakes: Option<u32>,
    pub qos: u8,
    /// What its functions make of it.
    pub parts: Vec<Part>,
    /// How many of them have not ended.
    left: usize,
    bytes: usize,
}

impl Ticket {
    /// Places of the functions that wait to run on it.
    pub fn waiting(&self) -> impl Iterator<Item = usize> + '_ {
        let parts = self.parts.iter().filter(|part| matches!(part.progress, Progress::Waiting));
        parts.map(|part| part.place)
    }
}

/// All messages in flight.
#[derive(Default)]
pub(crate) struct Flight {
    tickets: BTreeMap<u64, Ticket>,
    /// The tickets of each topic, in the order of arrival.
    topics: BTreeMap<Bytes, VecDeque<u64>>,
    /// Those that can land.
    ready: BTreeSet<u64>,
    next: u64,
    bytes: usize,
}

impl Flight {
    /// The number of the next ticket.
    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Whether no other message is to be taken in.
    pub fn is_full(&self) -> bool {
        self.tickets.len() >= FLIGHT_MESSAGES_MAX || self.bytes >= FLIGHT_BYTES_MAX
    }

    /// Whether no message of this topic is in flight.
    pub fn is_clear(&self, topic: &[u8]) -> bool {
        self.topics.is_empty() || !self.topics.contains_key(topic)
    }

    /// Whether this ticket may go on: there is room for what comes of it, or nothing that it could wait for.
    pub fn may_go_on(&self, number: u64) -> bool {
        self.bytes < FLIGHT_BYTES_MAX || self.tickets.first_key_value().is_some_and(|(oldest, _)| *oldest == number)
    }

    /// A message that does not land at once.
    pub fn take_off(
        &mut self,
        parcel: Parcel,
        parts: Vec<Part>,
        (from, unacked): (LinkId, Option<u64>),
        message: &Message,
    ) {
        let Message { qos, dup, wakes, .. } = *message;
        let number = self.next;
        self.next += 1;
        let left = parts.iter().filter(|part| !matches!(part.progress, Progress::Done(..))).count();
        let bytes = parcel.topic.len() + parcel.payload.len() + parts.iter().map(effects_bytes).sum::<usize>();
        self.bytes += bytes;
        self.topics.entry(parcel.topic.clone()).or_default().push_back(number);
        self.tickets.insert(number, Ticket { parcel, from, unacked, dup, wakes, qos, parts, left, bytes });
        self.see(number);
    }

    pub fn get(&self, number: u64) -> Option<&Ticket> {
        self.tickets.get(&number)
    }

    /// A function has come this far with a message.
    pub fn went_on(&mut self, number: u64, place: usize, progress: Progress) {
        let Some(ticket) = self.tickets.get_mut(&number) else { return };
        let Some(part) = ticket.parts.iter_mut().find(|part| part.place == place) else { return };
        part.progress = progress;
        if matches!(part.progress, Progress::Done(..)) {
            let bytes = effects_bytes(part);
            ticket.left = ticket.left.saturating_sub(1);
            ticket.bytes += bytes;
            self.bytes += bytes;
            self.see(number);
        }
    }

    /// A function does not run on a message again that it failed on in this build.
    pub fn gave_up(&mut self, number: u64, place: usize, progress: Progress, maker: Arc<Maker>) {
        let parts = self.tickets.get_mut(&number).into_iter().flat_map(|ticket| &mut ticket.parts);
        parts.filter(|part| part.place == place).for_each(|part| part.maker = Some(Arc::clone(&maker)));
        self.went_on(number, place, progress);
    }

    /// Whether a message could land if those functions that are to run on it again, by `is_tried`, did not.
    pub fn could_land(&self, number: u64, is_tried: impl Fn(usize) -> bool) -> bool {
        let Some(ticket) = self.tickets.get(&number) else { return false };
        let is_first = self.topics.get(&ticket.parcel.topic).and_then(|line| line.front()) == Some(&number);
        is_first
            && ticket.parts.iter().all(|part| match part.progress {
                Progress::Waiting => is_tried(part.place),
                Progress::Away => false,
                Progress::Done(..) => true,
            })
    }

    /// Another version comes in force at this place: what failed there before did so by `maker`.
    pub fn sign(&mut self, place: usize, maker: Maker) {
        let maker = Arc::new(maker);
        for part in self.tickets.values_mut().flat_map(|ticket| &mut ticket.parts).filter(|part| part.place == place) {
            if matches!(part.progress, Progress::Done(Ran { by: By::InForce, result: Err(_), .. })) {
                part.maker.get_or_insert_with(|| Arc::clone(&maker));
            }
        }
    }

    /// Finds out whether a ticket can land.
    fn see(&mut self, number: u64) {
        let Some(ticket) = self.tickets.get(&number).filter(|ticket| ticket.left == 0) else { return };
        let first = self.topics.get(&ticket.parcel.topic).and_then(|line| line.front());
        if first == Some(&number) {
            self.ready.insert(number);
        }
    }

    /// The first that can land.
    pub fn land(&mut self) -> Option<Ticket> {
        let number = self.ready.pop_first()?;
        let ticket = self.tickets.remove(&number)?;
        self.bytes -= ticket.bytes;
        let mut next = None;
        if let Some(line) = self.topics.get_mut(&ticket.parcel.topic) {
            line.pop_front();
            next = line.front().copied();
            if next.is_none() {
                self.topics.remove(&ticket.parcel.topic);
            }
        }
        if let Some(next) = next {
            self.see(next);
        }
        Some(ticket)
    }

    /// Gives up all messages; returns how many of them nobody will send again.
    pub fn give_up(&mut self) -> u64 {
        let gone = std::mem::take(&mut self.tickets);
        *self = Self { next: self.next, ..Self::default() };
        gone.values().filter(|ticket| ticket.qos == 0).count() as u64
    }
}

fn effects_bytes(part: &Part) -> usize {
    match &part.progress {
        Progress::Done(ran) => ran.effects.as_ref().map_or(0, |effects| effects.memory_bytes()),
        _ => 0,
    }
}
