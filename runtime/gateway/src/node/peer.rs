//! What is known of one node, over all its connections, and what is to be said to it. No I/O and no clock: bytes come in, and
//! bytes and events go out.

use std::mem;

use bytes::Bytes;
use eyot_core::node::NodeReport;
use eyot_wire::link::{encode, FromNode, Hello, Install, Line, Reading, Status, ToNode, LINE_MAX_BYTES};
use tracing::{debug, info, warn};

use super::renewal::{Renewal, Step};
use super::Module;

/// Times a node may start anew while it installs a module, before it is left alone: it has no room for it.
pub const INSTALLS_MAX: u32 = 3;
/// Longest text of a node's in its report.
pub(super) const TEXT_MAX_CHARS: usize = 256;
/// What a node logs when its function fails, before it says on what.
const FAILED: &str = "the function failed ";

/// What a node's lines amount to, beside what is said back.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It may send readings from now on. What was handed on before and not acknowledged is not this session's.
    Up,
    /// The next reading. It is [taken](Peer::taken) if there is room for it, and comes again otherwise.
    Reading {
        /// Its number.
        seq: u32,
        /// Milliseconds since its sample was taken.
        age_ms: u32,
        /// Topic: `nodes/<id>/` and the node's own.
        topic: Bytes,
        /// Payload.
        payload: Bytes,
    },
    /// The report is another.
    Report,
    /// It said who it is, and that was known.
    Again,
    /// A line of its log.
    Log {
        /// As of a function's.
        level: u8,
        /// At most [`TEXT_MAX_BYTES`](eyot_wire::link::TEXT_MAX_BYTES) of a node that keeps to the limits of the link.
        text: String,
    },
}

/// What a node is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// What it runs.
    #[default]
    Anything,
    /// No function.
    Nothing,
    /// This.
    Module(Module),
}

/// A node.
#[derive(Default)]
pub struct Peer {
    id: String,
    wanted: Wanted,
    line: Line,
    report: NodeReport,
    /// Last reading that is durable, and last one that was handed on.
    durable: u32,
    taken: u32,
    /// It said who it is on this connection.
    is_up: bool,
    /// It is to run another module than it does.
    is_installing: bool,
    /// Times it started anew meanwhile.
    installs: u32,
    renewal: Renewal,
    out: Vec<u8>,
}

impl Peer {
    /// A node that was never heard of.
    pub fn new(id: String, module: Option<Module>) -> Self {
        Self { id, wanted: module.map_or(Wanted::Anything, Wanted::Module), ..Self::default() }
    }

    /// From now on it is to run this; what was refused before is forgotten.
    pub fn run(&mut self, wanted: Wanted) {
        if self.wanted == wanted {
            return;
        }
        self.wanted = wanted;
        (self.installs, self.report.refused) = (0, None);
        self.is_installing = self.is_up && self.is_another();
        self.install();
    }

    /// From now on its own program is to be this one, or may be any.
    pub fn renew(&mut self, program: Option<Module>) {
        self.renewal.renew(program);
        self.begin_program();
    }

    fn begin_program(&mut self) {
        if let Some(begin) = self.is_up.then(|| self.renewal.begin()).flatten() {
            say(&mut self.out, &begin);
        }
        self.report.update = self.renewal.report().cloned();
    }

    /// Whether it is to run something else than it does.
    fn is_another(&self) -> bool {
        match &self.wanted {
            Wanted::Anything => false,
            Wanted::Nothing => self.report.function.is_some(),
            Wanted::Module(module) => !self.report.runs(&module.sha256),
        }
    }

    /// How it is.
    pub fn report(&self) -> &NodeReport {
        &self.report
    }

    /// Whether it may send readings.
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// What is to be sent; whoever sends it takes it away.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// A new connection: whoever is there is asked who it is.
    pub fn connected(&mut self) {
        self.line.forget();
        // What stands on the line from before ends here.
        self.out = vec![0];
        self.is_up = false;
        self.ask();
    }

    /// The connection ended.
    pub fn disconnected(&mut self) {
        (self.is_up, self.report.online) = (false, false);
        self.taken = self.durable;
    }

    /// Asks who is there.
    pub fn ask(&mut self) {
        say(&mut self.out, &ToNode::Who);
    }

    /// How far its readings are durable, and the time: also a sign of life.
    pub fn beat(&mut self, unix_ms: i64) {
        if self.is_up {
            let (session, seq) = (self.report.session, self.durable);
            say(&mut self.out, &ToNode::Ack { session, seq, unix_ms });
        }
    }

    /// The reading whose number ends in these bits is durable, and all before it.
    pub fn acknowledge(&mut self, low_bits: u16) {
        let ahead = low_bits.wrapping_sub(self.durable as u16);
        let seq = self.durable.saturating_add(u32::from(ahead));
        if seq <= self.taken {
            self.durable = seq;
        }
    }

    /// The reading that was handed on found room.
    pub fn taken(&mut self, seq: u32) {
        self.taken = seq;
    }

    /// Begins to send module and program, or asks for the answer again, if the node is to run others than it does.
    pub fn install(&mut self) {
        self.begin_program();
        match &self.wanted {
            _ if !(self.is_up && self.is_installing) => {}
            Wanted::Anything => {}
            Wanted::Nothing => say(&mut self.out, &ToNode::Remove),
            Wanted::Module(Module { bytes, sha256 }) => {
                let bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                say(&mut self.out, &ToNode::Begin { sha256: *sha256, bytes });
            }
        }
    }

    /// Takes bytes off the front of `bytes`, until there is an event or none is left. A node that has started anew is called
    /// `fresh_session` from now on.
    pub fn hear(&mut self, bytes: &mut &[u8], unix_ms: i64, fresh_session: u32) -> Option<Event> {
        // Out of the way while what it holds changes the rest.
        let mut line = mem::take(&mut self.line);
        let mut event = None;
        while event.is_none() && !bytes.is_empty() {
            event = match line.feed(bytes).map(|line| line.and_then(|body| body.message())) {
                None => None,
                Some(Ok(message)) => self.take(message, unix_ms, fresh_session),
                Some(Err(error)) => {
                    self.report.bad_lines += 1;
                    debug!(node = self.id, %error, "a line of the node says nothing");
                    None
                }
            };
        }
        self.line = line;
        event
    }

    fn take(&mut self, message: FromNode<'_>, unix_ms: i64, fresh_session: u32) -> Option<Event> {
        match message {
            FromNode::Hello(hello) => self.greet(&hello, unix_ms, fresh_session),
            _ if !self.is_up => None,
            FromNode::Reading(reading) => self.reading(&reading),
            FromNode::Status(status) => self.status(status),
            FromNode::Log { level, text } => {
                if let Some(failure) = text.strip_prefix(FAILED) {
                    self.report.last_failure = Some(failure.chars().take(TEXT_MAX_CHARS).collect());
                }
                Some(Event::Log { level, text: text.to_owned() })
            }
            FromNode::Install(answer) => self.answered(&answer),
        }
    }

    fn greet(&mut self, hello: &Hello<'_>, unix_ms: i64, fresh_session: u32) -> Option<Event> {
        let known = self.report.session;
        let before = hello.first.saturating_sub(1);
        // A welcome that was lost is said again, but not to a node that has started anew since.
        let is_heard_of = self.taken > 0 || self.report.ledger.outputs > 0;
        let is_same = known != 0 && (hello.session == known || hello.session == 0 && self.is_up && !is_heard_of);
        let was_up = mem::replace(&mut self.is_up, true) && is_same;
        if !is_same {
            self.starts_anew(hello.session == 0);
            self.report.session = if hello.session == 0 { fresh_session.max(1) } else { hello.session };
            (self.durable, self.taken) = (before, before);
        }
        if !was_up {
            (self.durable, self.taken) = (self.durable.max(before), self.durable.max(before));
        }
        self.report.online = true;
        self.report.program = hello.program.chars().take(TEXT_MAX_CHARS).collect();
        self.report.function = hello.function.map(hex::encode);
        say(&mut self.out, &ToNode::Welcome { session: self.report.session, acked: self.durable, unix_ms });
        self.is_installing = self.installs < INSTALLS_MAX && self.is_another();
        self.install();
        if was_up {
            return Some(Event::Again);
        }
        info!(node = self.id, session = self.report.session, program = self.report.program, "the node is there");
        Some(Event::Up)
    }

    /// What is known of the session before is all there will be of it.
    fn starts_anew(&mut self, has_lost_all: bool) {
        if self.report.session != 0 && has_lost_all {
            self.report.restarts = self.report.restarts.saturating_add(1);
            let ledger = self.report.ledger;
            let dropped = ledger.dropped_full.saturating_add(ledger.dropped_large);
            let lost = ledger.outputs.saturating_sub(dropped).saturating_sub(self.durable);
            self.report.lost = self.report.lost.saturating_add(u64::from(lost));
            self.renewal.node_started();
            if self.is_installing {
                self.installs += 1;
            }
            if self.installs == INSTALLS_MAX {
                self.refused("the node started anew each time the function was installed: it has no room for it");
            }
        }
        self.report.ledger = Default::default();
    }

    fn reading(&mut self, reading: &Reading<'_>) -> Option<Event> {
        // Any other one was had, or comes again.
        if reading.session != self.report.session || Some(reading.seq) != self.taken.checked_add(1) {
            return None;
        }
        let topic = format!("nodes/{}/{}", self.id, reading.topic).into();
        let payload = Bytes::copy_from_slice(reading.payload);
        Some(Event::Reading { seq: reading.seq, age_ms: reading.age_ms, topic, payload })
    }

    fn status(&mut self, status: Status) -> Option<Event> {
        if status.session != self.report.session {
            return None;
        }
        let report = &mut self.report;
        (report.ledger, report.uptime_ms, report.fuel) = (status.ledger, status.uptime_ms, status.fuel);
        (report.heap_used_bytes, report.heap_bytes) = (status.heap_used_bytes, status.heap_bytes);
        Some(Event::Report)
    }

    fn answered(&mut self, answer: &Install<'_>) -> Option<Event> {
        match self.renewal.answered(answer) {
            None => {}
            Some(Step::Nothing) => return None,
            Some(Step::Say(chunk)) => {
                say(&mut self.out, &chunk);
                return None;
            }
            Some(Step::Ended) => {
                self.report.update = self.renewal.report().cloned();
                let reason = self.report.update.as_ref().and_then(|update| update.reason.as_deref());
                match reason {
                    None => info!(node = self.id, "the node's program is renewed"),
                    Some(reason) => warn!(node = self.id, reason, "the node's program is not renewed"),
                }
                return Some(Event::Report);
            }
        }
        if self.is_installing && self.wanted == Wanted::Nothing && *answer == Install::Removed {
            (self.is_installing, self.report.function) = (false, None);
            info!(node = self.id, "the node runs no function");
            return Some(Event::Report);
        }
        let Wanted::Module(module) = &self.wanted else { return None };
        match answer {
            _ if !self.is_installing => None,
            Install::Wants { sha256, offset } if *sha256 == module.sha256 => {
                say(&mut self.out, &module.chunk(*offset)?);
                None
            }
            Install::Done { sha256 } if *sha256 == module.sha256 => {
                (self.is_installing, self.installs) = (false, 0);
                (self.report.function, self.report.refused) = (Some(hex::encode(sha256)), None);
                self.report.last_failure = None;
                info!(node = self.id, "the node runs its function");
                Some(Event::Report)
            }
            Install::Refused { sha256, reason } if *sha256 == module.sha256 => {
                self.refused(reason);
                Some(Event::Report)
            }
            // What it ran had to give way before the module could be tried.
            Install::Removed => {
                self.report.function = None;
                Some(Event::Report)
            }
            // Of a module that it was to run before.
            _ => None,
        }
    }

    fn refused(&mut self, reason: &str) {
        // Not again before it is to run another.
        (self.is_installing, self.installs) = (false, INSTALLS_MAX);
        let Wanted::Module(module) = &self.wanted else { return };
        warn!(node = self.id, reason, "the node does not run its function");
        self.report.refused = Some((module.sha256, reason.chars().take(TEXT_MAX_CHARS).collect()));
    }
}

fn say(out: &mut Vec<u8>, message: &ToNode<'_>) {
    // What is said has limits that fit a line.
    out.extend_from_slice(encode(message, &mut [0; LINE_MAX_BYTES]).unwrap_or_default());
}
