//! The node's end of the link: sessions, acknowledgements, time. It decides what is said next, and does no I/O; see
//! [`eyot_wire::link`] for what both ends owe each other.

use eyot_wire::link::{FromNode, Hello, Line, LineError, Reading, ToNode, SILENCE_MAX_MS, WINDOW};

use crate::queue::Queue;

/// How often a node that is not welcome says who it is.
pub const HELLO_EVERY_MS: u64 = 1000;
/// How long the oldest reading stays unacknowledged before all are sent again: at first, and at most, as it doubles.
pub const RESEND_AFTER_MS: u64 = 1000;
/// See [`RESEND_AFTER_MS`].
pub const RESEND_AFTER_MAX_MS: u64 = 16_000;
/// How often the status is sent.
pub const STATUS_EVERY_MS: u64 = 5000;

/// What came from the gateway, as far as it concerns more than the link.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// All readings up to this one are durable.
    Acked(u32),
    /// Of a module.
    Module(ToNode<'a>),
    /// A line that says nothing.
    Bad(LineError),
}

/// The link, by its state.
#[derive(Default)]
pub struct Link {
    line: Line,
    session: u32,
    is_welcome: bool,
    /// Last reading sent since the last time all were sent again.
    sent: u32,
    /// Last reading ever sent in this session.
    sent_ever: u32,
    heard_ms: u64,
    hello_due_ms: u64,
    status_due_ms: u64,
    /// When readings are to be sent again; meaningless without readings on their way.
    resend_due_ms: u64,
    resend_after_ms: u64,
    /// Unix time at the start of the node.
    started_unix_ms: Option<i64>,
}

impl Link {
    /// The session; 0 before the first welcome.
    pub fn session(&self) -> u32 {
        self.session
    }

    /// Whether a gateway listens.
    pub fn is_welcome(&self) -> bool {
        self.is_welcome
    }

    /// Unix time, in milliseconds; before a gateway has told it, the time since the start.
    pub fn unix_ms(&self, now_ms: u64) -> i64 {
        self.started_unix_ms.unwrap_or(0).saturating_add(i64::try_from(now_ms).unwrap_or(i64::MAX))
    }

    /// Takes bytes off the front of `bytes`, until there is something to say about them or none is left.
    pub fn hear(&mut self, now_ms: u64, bytes: &mut &[u8]) -> Option<Heard<'_>> {
        let message = match self.line.feed(bytes)? {
            Ok(body) => match body.message::<ToNode<'_>>() {
                Ok(message) => message,
                Err(error) => return Some(Heard::Bad(error)),
            },
            Err(error) => return Some(Heard::Bad(error)),
        };
        self.heard_ms = now_ms;
        match message {
            ToNode::Who => {
                (self.is_welcome, self.hello_due_ms) = (false, now_ms);
                None
            }
            ToNode::Welcome { session, acked, unix_ms } => {
                // A welcome that answers what was said before the last start, or to another node, is none.
                if session == 0 || self.session != 0 && self.session != session {
                    return None;
                }
                (self.session, self.is_welcome, self.sent) = (session, true, acked);
                (self.status_due_ms, self.resend_after_ms) = (now_ms, RESEND_AFTER_MS);
                self.started_unix_ms = Some(started(now_ms, unix_ms));
                Some(Heard::Acked(acked))
            }
            ToNode::Ack { session, seq, unix_ms } => {
                if !self.is_welcome || session != self.session {
                    return None;
                }
                self.started_unix_ms = Some(started(now_ms, unix_ms));
                Some(Heard::Acked(seq))
            }
            message => self.is_welcome.then_some(Heard::Module(message)),
        }
    }

    /// So many more readings are acknowledged: what is on its way has its time from now on.
    pub fn acked(&mut self, now_ms: u64, count: u32) {
        if count > 0 {
            self.resend_after_ms = RESEND_AFTER_MS;
            self.resend_due_ms = now_ms + RESEND_AFTER_MS;
        }
    }

    /// What the gateway is to hear of the node itself, if that is due.
    pub fn hello<'a>(&mut self, now_ms: u64, first: u32, of: impl FnOnce() -> Hello<'a>) -> Option<FromNode<'a>> {
        if self.is_welcome && now_ms.saturating_sub(self.heard_ms) > u64::from(SILENCE_MAX_MS) {
            self.is_welcome = false;
        }
        if self.is_welcome || now_ms < self.hello_due_ms {
            return None;
        }
        self.hello_due_ms = now_ms + HELLO_EVERY_MS;
        Some(FromNode::Hello(Hello { session: self.session, first, ..of() }))
    }

    /// Whether the status is due; it counts as sent.
    pub fn status_is_due(&mut self, now_ms: u64) -> bool {
        let is_due = self.is_welcome && now_ms >= self.status_due_ms;
        if is_due {
            self.status_due_ms = now_ms + STATUS_EVERY_MS;
        }
        is_due
    }

    /// The status is due now.
    pub fn status_soon(&mut self) {
        self.status_due_ms = 0;
    }

    /// The next reading that may go, and whether it has gone before.
    pub fn reading<'q, const N: usize>(&mut self, now_ms: u64, queue: &'q Queue<N>) -> Option<(FromNode<'q>, bool)> {
        if !self.is_welcome {
            return None;
        }
        let before = queue.first().saturating_sub(1);
        self.sent = self.sent.max(before);
        if self.sent > before && now_ms >= self.resend_due_ms {
            self.sent = before;
            self.resend_after_ms = (2 * self.resend_after_ms).min(RESEND_AFTER_MAX_MS);
        }
        let seq = self.sent.saturating_add(1);
        let output = queue.get(seq).filter(|_| seq - before <= WINDOW)?;
        if self.sent == before {
            self.resend_due_ms = now_ms + self.resend_after_ms;
        }
        self.sent = seq;
        let is_again = seq <= self.sent_ever;
        self.sent_ever = self.sent_ever.max(seq);
        let age_ms = u32::try_from(now_ms.saturating_sub(output.sampled_ms())).unwrap_or(u32::MAX);
        let (session, topic, payload) = (self.session, output.topic(), output.payload());
        Some((FromNode::Reading(Reading { session, seq, age_ms, topic, payload }), is_again))
    }
}

/// Unix time at the start of a node that is told the time.
fn started(now_ms: u64, unix_ms: i64) -> i64 {
    unix_ms.saturating_sub(i64::try_from(now_ms).unwrap_or(i64::MAX))
}
