//! Forward: reads the log behind the commits and delivers each stream's outputs in order, from its own place.
//!
//! The log is the authority on what is delivered. A lost connection resets a stream to its first output that was not
//! acknowledged, and everything from there is sent again under the same sequence numbers.
//!
//! What is given up leaves a gap in the numbers. Nothing behind it is sent before it is durable: a crash could undo it, and
//! what was given up would be sent behind numbers that are higher.

use std::collections::VecDeque;

use eyot_spool::{Lsn, ReadError, Reader, Spool, Storage, KIND_GONE};
use eyot_wire::code::DropReason;
use eyot_wire::record::Record;

use crate::bodies::Bodies;
use crate::config::Priority;
use crate::dead::{Keep, Refused};
use crate::gone::Holes;
use crate::io::{LinkId, Now, Publish, Stamp};
use crate::lane::{token, Rank, Traffic};
use crate::ledger::Ledger;
use crate::pace::{Age, Gap};
use crate::passing::{survey, Doom, Passing};
use crate::recover::KIND_COMMIT;
use crate::sending::{Answer, InFlight, Sending};
use crate::streams::Stream;

/// Most log frames looked at for one stream before other work gets its turn.
const FRAMES_PER_TURN_MAX: u32 = 512;

/// The delivery of one stream.
pub(crate) struct Forwarder<F> {
    pub stream: u8,
    pub priority: Priority,
    /// Of a backlog behind another stream, its place among them from 1; 0 of a stream that takes outputs.
    pub behind: usize,
    epoch: u64,
    age: Age,
    reader: Reader<F>,
    bodies: Bodies,
    sending: Option<Sending>,
    /// Every frame up to here was looked at, and, but for `sending` and `in_flight`, is done with.
    scanned: Lsn,
    in_flight: VecDeque<InFlight>,
    /// Count of the first entry of `in_flight`; counts go up from 1 and are not reused.
    first_count: u64,
    /// Outputs of the record at the front: what becomes of them is settled with the whole of it.
    refused: Vec<Refused>,
    /// Sequence number the next record must begin with; a gap was lost in the log.
    expected_seq: u64,
    doom: Option<Doom<F>>,
    /// Bytes of doomed records in `in_flight`: they wait for those before them.
    given_up_bytes: u64,
    /// Given up, and passed, up to here, which may not be durable.
    gap: Lsn,
    /// The gap not being durable is all that the next output waits for.
    pub waits_for_gap: bool,
    /// How far the log was told that the stream is done.
    pub acked: Lsn,
    /// The lane's number of its last publish.
    pub last_send: u64,
}

impl<F: Clone> Forwarder<F> {
    pub fn new<S: Storage<File = F>>(stream: &Stream, ledger: &Ledger, spool: &Spool<S>) -> Self {
        let passed = ledger.passed(stream.number);
        Self {
            stream: stream.number,
            priority: stream.priority,
            behind: stream.behind,
            epoch: ledger.stream(stream.number).map_or(0, |s| s.epoch),
            age: Age::new(stream.ttl_ms),
            reader: spool.reader(passed),
            bodies: Bodies::default(),
            sending: None,
            scanned: passed,
            in_flight: VecDeque::new(),
            first_count: 1,
            refused: Vec::new(),
            expected_seq: ledger.resume_seq(stream.number),
            doom: None,
            given_up_bytes: 0,
            gap: 0,
            waits_for_gap: false,
            acked: passed,
            last_send: 0,
        }
    }

    /// What must leave room for what.
    pub fn rank(&self) -> Rank {
        (self.priority, self.behind == 0)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether it is a backlog that has nothing more to send, and waits for no answer.
    pub fn is_delivered(&self, ledger: &Ledger) -> bool {
        let is_idle = self.behind > 0 && self.in_flight.is_empty() && self.sending.is_none();
        is_idle && ledger.stream(self.stream).is_some_and(|account| account.outputs.pending == 0)
    }

    /// Back to the first record the stream is not done with.
    pub fn rewind<S: Storage<File = F>>(&mut self, ledger: &Ledger, spool: &Spool<S>) {
        let passed = ledger.passed(self.stream);
        self.expected_seq = ledger.resume_seq(self.stream);
        self.first_count += self.in_flight.len() as u64;
        self.in_flight.clear();
        self.refused.clear();
        (self.sending, self.doom, self.given_up_bytes) = (None, None, 0);
        self.scanned = passed;
        self.reader = spool.reader(passed);
    }

    /// The last record taken up, done with or not.
    pub fn reached(&self) -> Lsn {
        self.sending.as_ref().map_or(self.scanned, |sending| sending.passing.lsn)
    }

    /// Whether it may move on without a connection.
    pub fn moves_alone(&self) -> bool {
        self.age.is_limited() || self.doom.is_some()
    }

    /// All frames up to `end` were given up: what is left of the backlog starts later. They may still be there to read.
    pub fn evicted<S: Storage<File = F>>(&mut self, end: Lsn, ledger: &Ledger, spool: &Spool<S>) {
        if self.acked < end {
            self.gap = end;
        }
        if let Some(Sending { passing, .. }) = self.sending.take_if(|s| s.next_output == 0 && s.passing.lsn <= end) {
            // If it could not be read when it went, nothing was counted yet.
            self.expected_seq = passing.first_seq;
        }
        self.expected_seq = self.expected_seq.max(ledger.resume_seq(self.stream));
        if self.scanned < end {
            self.scanned = end;
            if self.sending.as_ref().is_none_or(|sending| sending.passing.lsn <= end) {
                self.reader = spool.reader(end);
            }
        }
        // What of it is gone already is not known; if that was not enough, it begins anew.
        self.doom = None;
    }

    /// Bytes that are given up as soon as their turn comes.
    pub fn doomed_bytes(&self) -> u64 {
        self.given_up_bytes + self.doom.as_ref().map_or(0, |doom| doom.bytes)
    }

    /// Bytes that wait and are neither on their way nor about to go.
    pub fn unread_bytes(&self, ledger: &Ledger) -> u64 {
        let on_the_way =
            self.in_flight.iter().filter_map(|entry| entry.output.as_ref()).map(Refused::bytes).sum::<u64>();
        let sending = self.sending.as_ref().map_or(0, |sending| sending.passing.bytes);
        let waiting = ledger.stream(self.stream).map_or(0, |account| account.pending_bytes);
        waiting.saturating_sub(on_the_way + sending + self.doomed_bytes())
    }

    /// Gives up the oldest records that are not in flight, of `excess_bytes` if there are so many; true if the turn is
    /// over and the work is not.
    pub fn doom<S: Storage<File = F>>(
        &mut self,
        spool: &mut Spool<S>,
        excess_bytes: u64,
        is_connected: bool,
    ) -> Result<bool, ReadError> {
        // What waits for a gap goes when that is durable: else there would always be another gap. Where nothing is sent,
        // nothing waits for it.
        let stays = is_connected && self.gap(spool) != Gap::None;
        let begun = self.sending.as_ref().filter(|s| s.next_output > 0 || stays).map(|s| s.passing.lsn);
        let after = begun.unwrap_or(self.scanned);
        let doom = match &mut self.doom {
            Some(doom) if doom.until > after && doom.after <= after => doom,
            doom => doom.insert(Doom { after, until: after, bytes: 0, reader: spool.reader(after) }),
        };
        let enough = doom.bytes.saturating_add(excess_bytes);
        for _ in 0..FRAMES_PER_TURN_MAX {
            if doom.bytes >= enough {
                return Ok(false);
            }
            let Some(frame) = spool.read(&mut doom.reader)? else { return Ok(false) };
            if frame.kind == KIND_COMMIT {
                if let Some(passing) = survey(frame.lsn, frame.body, self.stream).filter(|p| p.outputs > 0) {
                    doom.until = frame.lsn;
                    doom.bytes += passing.bytes;
                }
            }
        }
        Ok(doom.bytes < enough)
    }

    /// Reads and sends as far as window and log allow; true if the turn is over and the work is not.
    pub fn pump<S: Storage<File = F>>(
        &mut self,
        link: Option<LinkId>,
        traffic: &mut Traffic,
        spool: &mut Spool<S>,
        ledger: &mut Ledger,
        out: &mut VecDeque<Publish>,
        now: Now,
    ) -> Result<bool, ReadError> {
        self.waits_for_gap = false;
        for _ in 0..FRAMES_PER_TURN_MAX {
            if self.sending.is_none() && !self.read_next(spool, ledger)? {
                return Ok(false);
            }
            let Some(sending) = &self.sending else { continue };
            let Some(link) = link else {
                let passing = sending.passing;
                self.sending = None;
                ledger.pass(self.stream, &passing, passing.outputs, DropReason::UplinkRemoved);
                self.scanned = passing.lsn;
                continue;
            };
            let (passing, is_begun) = (sending.passing, sending.next_output > 0);
            let gap = self.gap(spool);
            self.age.look(now, gap);
            let may_wait = traffic.conn.is_none() || traffic.has_room(self.rank(), now);
            if let (true, false, Some(reason)) = (may_wait, is_begun, self.worthless(&passing)) {
                self.give_up(reason, traffic, ledger);
                continue;
            }
            if gap != Gap::None && !is_begun {
                self.waits_for_gap = traffic.conn.is_some() && may_wait && traffic.may_go(now);
                return Ok(false);
            }
            if !self.send(link, traffic, out, now) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the next record with outputs for this stream into `sending`; false at the end of the log.
    fn read_next<S: Storage<File = F>>(
        &mut self,
        spool: &mut Spool<S>,
        ledger: &mut Ledger,
    ) -> Result<bool, ReadError> {
        let Some(frame) = spool.read(&mut self.reader)? else {
            self.note_lost_end(spool, ledger);
            return Ok(false);
        };
        let lsn = frame.lsn;
        if frame.kind == KIND_COMMIT {
            if let Some(passing) = survey(lsn, frame.body, self.stream).filter(|p| p.outputs > 0) {
                ledger.lose(self.stream, self.expected_seq, passing.first_seq);
                self.expected_seq = passing.end_seq;
                self.sending = Some(Sending { body: self.bodies.copy(frame.body), passing, next_output: 0 });
                return Ok(true);
            }
        }
        if frame.kind == KIND_GONE {
            for hole in Holes::read(frame.body).into_iter().filter(|hole| hole.stream == self.stream) {
                ledger.lose(self.stream, self.expected_seq, hole.first);
                self.expected_seq = self.expected_seq.max(hole.end);
            }
        }
        self.scanned = self.scanned.max(lsn);
        Ok(true)
    }

    /// The log holds no more. What is lost at its very end has no successor whose number would tell.
    fn note_lost_end<S: Storage<File = F>>(&mut self, spool: &Spool<S>, ledger: &mut Ledger) {
        if spool.durable() + 1 == spool.next_lsn() {
            let next_seq = ledger.stream(self.stream).map_or(0, |s| s.next_seq);
            ledger.lose(self.stream, self.expected_seq, next_seq);
            self.expected_seq = self.expected_seq.max(next_seq);
        }
    }

    /// Sends the outputs of `sending`; false when window, pace or link say no before its end.
    fn send(&mut self, link: LinkId, traffic: &mut Traffic, out: &mut VecDeque<Publish>, now: Now) -> bool {
        let (Some(conn), Some(sending)) = (traffic.conn, &mut self.sending) else { return false };
        let Ok(record) = Record::decode(&sending.body) else { return true };
        let mut left = sending.passing.outputs.saturating_sub(sending.next_output as u64);
        let (stream, rank, wakes) = (self.stream, (self.priority, self.behind == 0), record.output_wakes());
        let outputs = record.outputs().filter_map(|o| o.seq_in(stream).map(|seq| (o, seq)));
        for (output, seq) in outputs.skip(sending.next_output) {
            if !traffic.has_room(rank, now) || !traffic.may_go(now) {
                return false;
            }
            self.last_send = traffic.sent(output.bytes(), now);
            left = left.saturating_sub(1);
            sending.next_output += 1;
            let closes = (left == 0).then_some(sending.passing);
            let token = token(stream, self.first_count + self.in_flight.len() as u64);
            let topic = sending.body.slice_ref(output.topic.as_bytes());
            let payload = sending.body.slice_ref(output.payload);
            let received_at_ms = sending.passing.received_at_ms;
            let output = Refused { stream, seq, topic: topic.clone(), payload: payload.clone(), received_at_ms };
            self.in_flight.push_back(InFlight { closes, answer: None, output: Some(output) });
            let stamp = Some(Stamp { epoch: self.epoch, seq });
            out.push_back(Publish { link, conn, token, topic, payload, retain: false, stamp, received_at_ms, wakes });
        }
        self.scanned = self.scanned.max(sending.passing.lsn);
        self.sending = None;
        true
    }

    /// The broker answered one publish. Records are passed in order, so an early answer waits for its turn. `keep` gets
    /// what was refused before the ledger has it as dropped.
    pub fn answered(
        &mut self,
        answered: u64,
        accepted: bool,
        traffic: &mut Traffic,
        ledger: &mut Ledger,
        keep: &mut Keep<'_>,
    ) {
        let Some(index) = answered.checked_sub(token(self.stream, self.first_count)) else { return };
        let Some(entry) = usize::try_from(index).ok().and_then(|i| self.in_flight.get_mut(i)) else { return };
        entry.answer = Some(if accepted { Answer::Accepted } else { Answer::Refused });
        self.pass_answered(traffic, ledger, keep);
    }

    /// Why the record is not to be sent.
    fn worthless(&self, record: &Passing) -> Option<DropReason> {
        if self.doom.as_ref().is_some_and(|doom| record.lsn > doom.after && record.lsn <= doom.until) {
            return Some(DropReason::UplinkFull);
        }
        self.age.is_expired(record.received_at_ms).then_some(DropReason::Expired)
    }

    /// The gap before what is next.
    fn gap<S: Storage<File = F>>(&self, spool: &Spool<S>) -> Gap {
        // What was given up last waits for those before it.
        let waits = self.in_flight.back().is_some_and(|e| matches!(e.answer, Some(Answer::GivenUp(_))));
        match self.gap {
            _ if waits => Gap::Waits,
            gap if spool.acked_durably(self.stream) >= gap => Gap::None,
            gap if spool.acked_by_commit(self.stream) >= gap => Gap::Closes,
            _ => Gap::Waits,
        }
    }

    /// Drops the record at hand, when those before it are done with.
    fn give_up(&mut self, reason: DropReason, traffic: &mut Traffic, ledger: &mut Ledger) {
        let Some(Sending { passing, .. }) = self.sending.take() else { return };
        self.scanned = passing.lsn;
        if let (DropReason::UplinkFull, Some(doom)) = (reason, &mut self.doom) {
            doom.bytes = doom.bytes.saturating_sub(passing.bytes);
            self.given_up_bytes += passing.bytes;
        }
        let answer = Some(Answer::GivenUp(reason));
        self.in_flight.push_back(InFlight { closes: Some(passing), answer, output: None });
        traffic.took_place();
        // Nothing that was answered waits in front of it: that left with its answer.
        self.pass_answered(traffic, ledger, &mut |_, _| ());
    }

    fn pass_answered(&mut self, traffic: &mut Traffic, ledger: &mut Ledger, keep: &mut Keep<'_>) {
        while let Some(answer) = self.in_flight.front().and_then(|e| e.answer) {
            self.first_count += 1;
            let Some(entry) = self.in_flight.pop_front() else { break };
            traffic.left(entry.output.as_ref().map_or(0, Refused::bytes));
            self.refused.extend(entry.output.filter(|_| answer == Answer::Refused));
            if let Some(passing) = entry.closes {
                let (given_up, reason) = match answer {
                    Answer::GivenUp(reason) => {
                        self.gap = passing.lsn;
                        let doomed = reason == DropReason::UplinkFull;
                        self.given_up_bytes -= if doomed { passing.bytes.min(self.given_up_bytes) } else { 0 };
                        (passing.outputs, reason)
                    }
                    _ => {
                        self.refused.iter().for_each(|refused| keep(refused, ledger));
                        (self.refused.drain(..).count() as u64, DropReason::Refused)
                    }
                };
                ledger.pass(self.stream, &passing, given_up, reason);
            }
        }
    }

    /// Moves the stream's place over records that hold nothing for it, and over what was given up.
    pub fn settle(&mut self, ledger: &mut Ledger) {
        let next_seq = match &self.sending {
            Some(sending) if sending.next_output == 0 => sending.passing.first_seq,
            Some(_) => return,
            None => self.expected_seq,
        };
        if let (true, Some(account)) = (self.in_flight.is_empty(), ledger.stream_mut(self.stream)) {
            account.passed = account.passed.max(self.scanned);
            account.resume_seq = account.resume_seq.max(next_seq);
        }
    }
}
