//! Messages: from their arrival to their record, at once or by way of a worker.

use super::*;
use crate::active::Shop;
use crate::flight::Ticket;
use crate::functions::{Outcome, Waking};
use crate::job::{Job, Parcel};

/// What a record and the ledger need to know of a message.
struct Taken<'a> {
    topic: &'a [u8],
    payload_bytes: usize,
    received_at_ms: i64,
    dup: bool,
    wakes: Option<u32>,
}

/// What came of it: the streams with outputs, the seed if it was used, and why it counts as dropped if it does.
type Verdict = (u32, Option<u64>, Option<DropReason>);

const MALFORMED: Verdict = (0, None, Some(DropReason::Malformed));
const LOOP: Verdict = (0, None, Some(DropReason::Loop));

impl<S: Storage> Core<S> {
    pub(super) fn message(&mut self, from: LinkId, message: &Message) {
        if let Some(topic) = self.control_topic(from, &message.topic) {
            return self.control(from, topic, message);
        }
        if let Some((node, topic)) = self.node_control_topic(from, &message.topic) {
            return self.node_control(from, node, topic, message);
        }
        if !self.accepts_messages() {
            // Not acknowledged, so a broker with QoS 1 delivers it again on the next connection.
            if message.qos == 0 {
                self.drop_unseen(DropReason::IntakeFull, 1, &message.topic);
            }
            return;
        }
        if self.room == Room::Full {
            self.drop_for_room(&message.topic);
            return self.admit(from, message);
        }
        let valid = parse_topic(&message.topic).ok();
        let valid = valid.filter(|_| message.payload.len() <= self.config.payload_max_bytes);
        let verdict = match valid {
            None => Some(self.nothing(MALFORMED)),
            Some(_) if message.wakes == Some(0) => Some(self.nothing(LOOP)),
            Some(topic) if from == LinkId::INTAKE || self.passes_on(from) => self.arrive(from, topic, message),
            Some(topic) => Some(self.bring_down(from, topic, message)),
        };
        if let Some(verdict) = verdict {
            let taken = Taken {
                topic: &message.topic,
                payload_bytes: message.payload.len(),
                received_at_ms: self.now.unix_ms,
                dup: message.dup,
                wakes: message.wakes,
            };
            self.enter(&taken, verdict);
            self.admit(from, message);
        }
    }

    /// A message that no function is to see: its record holds nothing but the verdict.
    fn nothing(&mut self, verdict: Verdict) -> Verdict {
        self.prepare();
        self.record.clear();
        verdict
    }

    /// Begins with the functions. If they end at once, as most do, and no message of the topic is in flight, what they did
    /// is in `self.record`; otherwise the message takes off.
    fn arrive(&mut self, from: LinkId, topic: &str, message: &Message) -> Option<Verdict> {
        self.functions.wake(topic);
        if message.qos == 0 && self.functions.is_behind() {
            self.drop_unseen(DropReason::IntakeFull, 1, &message.topic);
            return None;
        }
        let seed = self.rng.u64(..);
        let waking = Waking { topic, payload: &message.payload, now_ms: self.now.unix_ms, seed };
        let mut parcel = None;
        let mut shop = Shop { mono_us: self.now.mono_us, notices: &mut self.notices };
        let all_done = self.functions.begin(&waking, self.flight.next(), &mut parcel, &mut shop);
        if all_done && self.flight.is_clear(&message.topic) {
            self.prepare();
            self.record.clear();
            let outlets = Outlets { streams: &self.streams, quotas: &self.quotas, gateway_id: &self.config.gateway_id };
            let outcome = self.functions.settle_here(&waking, &outlets, &mut self.ledger, &mut self.record);
            return Some(self.verdict(from, &waking, outcome));
        }
        let parcel = parcel.unwrap_or_else(|| waking.parcel());
        let place = (message.qos > 0).then(|| self.line_up(from, message)).flatten();
        self.flight.take_off(parcel, self.functions.park(), (from, place), message);
        self.send_jobs();
        None
    }

    /// What came down from an uplink is one output for the local broker, and as it is: no function sees it on the way, and
    /// nothing that came down goes up, unless a function that hears it from the local broker says so.
    fn bring_down(&mut self, from: LinkId, topic: &str, message: &Message) -> Verdict {
        self.prepare();
        self.record.clear();
        if !self.downlinks.iter().any(|down| down.link == from && down.wants(topic)) {
            return (0, None, Some(DropReason::NoFunction));
        }
        let bytes = (message.topic.len() + message.payload.len()) as u64;
        let (mask, route) = self.streams.local(bytes, &mut self.ledger);
        self.record.output(topic, &message.payload, &[route]);
        (mask, None, None)
    }

    /// A job is back.
    pub(super) fn ran(&mut self, job: Job) {
        self.more = true;
        if job.is_shadow() {
            return self.functions.shadows.came_back(job);
        }
        let (ticket, place) = (job.ticket, job.place());
        let mut shop = Shop { mono_us: self.now.mono_us, notices: &mut self.notices };
        let progress = self.functions.came_back(job, &mut shop);
        self.flight.went_on(ticket, place, progress);
        self.go_on(place);
        self.feed_starved();
        self.land();
    }

    /// Begins with what waits for a function, as far as it has instances.
    pub(super) fn go_on(&mut self, place: usize) {
        while let Some(number) = self.functions.first_waiting(place) {
            let Some(ticket) = self.flight.get(number) else { break };
            let may_leave = self.flight.may_go_on(number);
            let mut shop = Shop { mono_us: self.now.mono_us, notices: &mut self.notices };
            let progress = self.functions.begin_waiting(place, &ticket.parcel, may_leave, &mut shop);
            let Some(progress) = progress else { break };
            self.flight.went_on(number, place, progress);
        }
        self.send_jobs();
    }

    /// Runs functions again on messages they failed on, as far as that is due; while draining it is.
    pub(super) fn try_again(&mut self) {
        let mono_us = if self.draining { u64::MAX } else { self.now.mono_us };
        let mut is_done = true;
        while let Some((place, number)) = self.functions.next_retry(mono_us) {
            let Some(ticket) = self.flight.get(number) else { continue };
            let may_leave = self.flight.may_go_on(number);
            let mut shop = Shop { mono_us: self.now.mono_us, notices: &mut self.notices };
            let progress = self.functions.begin_again(place, number, &ticket.parcel, may_leave, &mut shop);
            self.flight.went_on(number, place, progress);
            self.go_on(place);
            is_done = false;
        }
        if !is_done {
            self.send_jobs();
            self.land();
        }
    }

    /// When nothing more fits in flight, functions do not run again on messages they failed on, the oldest first: messages
    /// of other functions are not to wait for that.
    pub(super) fn cut_retries(&mut self) {
        while self.flight.is_full() && self.may_land() {
            let Some(number) = self.functions.oldest_try(&self.flight) else { return };
            let Some(ticket) = self.flight.get(number) else { return };
            let parcel = ticket.parcel.clone();
            let places: Vec<usize> = ticket.waiting().collect();
            for place in &places {
                let mut shop = Shop { mono_us: self.now.mono_us, notices: &mut self.notices };
                let given_up = self.functions.give_up_try(*place, number, parcel.topic(), &mut shop);
                let Some((progress, maker)) = given_up else { return };
                self.flight.gave_up(number, *place, progress, maker);
            }
            self.land();
            places.into_iter().for_each(|place| self.go_on(place));
        }
    }

    /// There may be room again for what functions bring back.
    fn feed_starved(&mut self) {
        for place in self.functions.take_starved() {
            self.go_on(place);
        }
    }

    fn send_jobs(&mut self) {
        while let Some(job) = self.functions.next_leaving() {
            self.effects.push_back(Effect::Run(job));
        }
    }

    /// Whether what has ended may be written, or dropped for want of room.
    fn may_land(&self) -> bool {
        match self.room {
            Room::Yes => !self.quotas.block(&self.ledger),
            Room::Full => self.config.when_full == WhenFull::DropNewest,
            Room::No => false,
        }
    }

    /// Writes down what has ended and stands behind nothing.
    pub(super) fn land(&mut self) {
        while !self.flight.is_empty() && self.may_land() {
            let Some(ticket) = self.flight.land() else { return };
            self.more = true;
            match self.room {
                Room::Full => self.drop_for_room(&ticket.parcel.topic),
                _ => self.write_down(&ticket),
            }
            if let Some(place) = ticket.unacked {
                self.landed(ticket.from, place);
            }
            for part in ticket.parts.iter().filter(|part| part.progress.is_run()) {
                if self.functions.release(part) {
                    self.go_on(part.place);
                }
            }
            self.feed_starved();
        }
    }

    fn write_down(&mut self, ticket: &Ticket) {
        self.prepare();
        self.record.clear();
        let Parcel { topic, payload, now_ms, seed } = &ticket.parcel;
        let waking = Waking { topic: ticket.parcel.topic(), payload, now_ms: *now_ms, seed: *seed };
        let outlets = Outlets { streams: &self.streams, quotas: &self.quotas, gateway_id: &self.config.gateway_id };
        let outcome = self.functions.settle(&ticket.parts, &waking, &outlets, &mut self.ledger, &mut self.record);
        let verdict = self.verdict(ticket.from, &waking, outcome);
        let taken = Taken {
            topic,
            payload_bytes: payload.len(),
            received_at_ms: *now_ms,
            dup: ticket.dup,
            wakes: ticket.wakes,
        };
        self.enter(&taken, verdict);
    }

    /// Whether nothing is in flight while draining, when all that could be committed is. What has no room to land in, and
    /// what has not ended when the grace is over, is given up: it is not acknowledged, and comes again unless it is QoS 0.
    pub(super) fn has_landed(&mut self) -> bool {
        if self.flight.is_empty() {
            return true;
        }
        let may_end = !self.functions.all_are_here() || self.may_land();
        if may_end && self.grace_until_us.is_some() {
            return false;
        }
        let lost = self.flight.give_up();
        self.functions.forget_waiting();
        if lost > 0 {
            self.ledger.messages.drop_new(DropReason::IntakeFull, lost);
            self.notices.dropped(DropReason::IntakeFull, b"", lost, self.now.mono_us);
            self.committer.ledger_changed_for_good(self.now.mono_us);
        }
        self.committer.is_idle()
    }

    fn verdict(&mut self, from: LinkId, waking: &Waking<'_>, outcome: Outcome) -> Verdict {
        self.publish_captures();
        if outcome.woken == 0 && self.passes_on(from) {
            let (mask, dropped) = self.pass_on(waking.topic, waking.payload);
            return (mask, None, dropped);
        }
        let dropped = match outcome {
            outcome if outcome.woken == 0 => Some(DropReason::NoFunction),
            outcome if outcome.failed > 0 => Some(DropReason::DeadLetter),
            outcome if outcome.refused > 0 => Some(DropReason::UplinkFull),
            _ => None,
        };
        if outcome.refused > 0 {
            // No record says which stream had no room: the ledger goes with the batch.
            self.committer.ledger_changed(self.now.mono_us);
        }
        (outcome.mask, outcome.random_used.then_some(waking.seed), dropped)
    }

    /// The ledger learns of a message, and the batch gets `self.record`.
    fn enter(&mut self, taken: &Taken<'_>, (mask, seed, dropped): Verdict) {
        let mono_us = self.now.mono_us;
        self.ledger.enter(mask, dropped, taken.dup);
        if taken.dup {
            self.record.redelivered();
        }
        self.record.wakes(taken.wakes);
        if let Some(reason) = dropped {
            self.notices.dropped(reason, taken.topic, 1, mono_us);
        }
        let record = self.record.finish(taken.received_at_ms, seed, dropped);
        if let Err(error) = self.committer.append(record, mono_us) {
            self.withdraw(&error, taken.received_at_ms, dropped);
        }
        self.wear.taken(taken.topic.len() + taken.payload_bytes);
        // Not only between bursts: a batch has its limit.
        self.room = self.committer.room();
    }

    /// A message for which there is no room, under a policy that does not let it wait.
    fn drop_for_room(&mut self, topic: &[u8]) {
        self.prepare();
        self.ledger.drop_unrecorded(None, DropReason::SpoolFullNewest);
        self.notices.dropped(DropReason::SpoolFullNewest, topic, 1, self.now.mono_us);
        self.committer.append_drop(self.now.mono_us);
    }

    /// Must precede every change that the next record will stand for.
    pub(super) fn prepare(&mut self) {
        self.committer.prepare(&self.ledger, || kept(&self.functions, &self.orphans, &self.deployer));
    }

    /// Acknowledges the message when the open batch is durable.
    fn admit(&mut self, from: LinkId, message: &Message) {
        if message.qos == 0 {
            return;
        }
        let batch = self.committer.open_batch();
        if from == LinkId::INTAKE {
            self.intake.admit(batch, message.conn, message.packet_id, self.now.mono_us);
        } else if let Some(down) = self.downlinks.iter_mut().find(|down| down.link == from) {
            down.admit(batch, message.conn, message.packet_id);
        }
    }

    /// A message that was in flight is in the open batch.
    fn landed(&mut self, link: LinkId, place: u64) {
        let batch = self.committer.open_batch();
        if link == LinkId::INTAKE {
            self.intake.landed(place, batch, self.now.mono_us);
        } else if let Some(down) = self.downlinks.iter_mut().find(|down| down.link == link) {
            down.landed(place, batch);
        }
    }

    /// A record the log cannot hold: its outputs are taken back and counted, the message is done with.
    fn withdraw(&mut self, error: &AppendError, received_at_ms: i64, dropped: Option<DropReason>) {
        let bytes = self.record.finish(received_at_ms, None, dropped);
        if let Ok(record) = Record::decode(bytes) {
            self.ledger.withdraw(&record);
        }
        self.committer.append_drop(self.now.mono_us);
        self.notices.storage_failed(&format!("a message's outputs were dropped: {error}"), self.now.mono_us);
    }
}
