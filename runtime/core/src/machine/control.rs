//! Control messages: parts of pushes to the store, commands to be read, and what the store answers.

use eyot_trust::command::claimed;
use eyot_wire::control::{
    ControlTopic, Order, OrderReport, PushReport, PushState, Repeated, ORDER_MAX_BYTES, PARTS_MAX,
};
use eyot_wire::module::MODULE_MAX_BYTES;

use super::*;
use crate::deploy::plan::{Receipt, Request, WAITING_MAX};
use crate::deploy::staging::{Missing, Staging, Verdict};
use crate::task::{Answer, Refusal, Taken, Task, Unauthorized, TASKS_MAX};

/// What every control topic begins with.
const PREFIX: &[u8] = b"eyot/";
/// How long what became of control messages may wait to be in the status.
const STATUS_SOON_US: u64 = 100_000;

impl<S: Storage> Core<S> {
    /// What a message asks of this gateway, if it is a control message for it.
    pub(super) fn control_topic(&self, from: LinkId, topic: &[u8]) -> Option<ControlTopic> {
        if !topic.starts_with(PREFIX) || !self.takes_control(from) {
            return None;
        }
        let topic = std::str::from_utf8(topic).ok()?;
        self.deployer.ids.iter().find_map(|id| ControlTopic::parse(id, topic))
    }

    pub(super) fn takes_control(&self, from: LinkId) -> bool {
        let mut uplinks = (0..).map(LinkId::uplink).zip(&self.config.uplinks);
        from == LinkId::INTAKE || uplinks.any(|(link, uplink)| link == from && uplink.control)
    }

    /// Takes a control message. It is acknowledged when its part is in the store, or when it is known what becomes of it.
    pub(super) fn control(&mut self, from: LinkId, topic: ControlTopic, message: &Message) {
        self.more = true;
        let place = (message.qos > 0).then(|| self.line_up(from, message)).flatten();
        let bytes = message.payload.len() as u64;
        let is_one_piece = topic == ControlTopic::Push;
        let receipt = Receipt { link: from, place, bytes, is_one_piece };
        let is_busy = !self.deployer.has_room_for(&receipt, self.config.staging_max_bytes);
        match topic {
            // That is how what is retained is taken back from a broker.
            ControlTopic::Push if message.payload.is_empty() => self.acknowledge_control(receipt),
            _ if is_busy => self.turn_away(topic, message, receipt),
            ControlTopic::Push if message.payload.len() > MODULE_MAX_BYTES => {
                let reason = format!("a module has at most {MODULE_MAX_BYTES} bytes");
                self.note_refused_push(None, None, &reason);
                self.acknowledge_control(receipt);
            }
            ControlTopic::Push => match self.deployer.staging.admit_whole(bytes, self.now.mono_us) {
                Ok(()) => self.keep(None, 0, message, receipt),
                Err(reason) => {
                    self.note_refused_push(None, None, &reason);
                    self.acknowledge_control(receipt);
                }
            },
            ControlTopic::Part { sha256, number } => self.part(sha256, number, message, receipt),
            ControlTopic::UpdatePart { sha256, offset } => {
                let ticket = self.issue(receipt);
                let bytes = message.payload.clone();
                self.deployer.tasks.push_back(Task::UpdatePart { ticket, sha256, offset, bytes });
            }
            ControlTopic::Command if message.payload.len() > ORDER_MAX_BYTES => {
                self.note_refused_command(None, &format!("it has more than {ORDER_MAX_BYTES} bytes"));
                self.acknowledge_control(receipt);
            }
            ControlTopic::Command if self.is_repeated(&message.payload) => self.acknowledge_control(receipt),
            ControlTopic::Command => {
                let ticket = self.issue(receipt);
                self.deployer.tasks.push_back(Task::Read { ticket, text: message.payload.clone() });
            }
        }
    }

    /// More came than the store can take. It is acknowledged all the same, because acknowledgements keep their order and those
    /// of sensors are behind it; parts are asked for again, a command is answered, and all are counted.
    fn turn_away(&mut self, topic: ControlTopic, message: &Message, receipt: Receipt) {
        let mono_us = self.now.mono_us;
        self.notices.control_dropped(mono_us);
        self.status_soon();
        match topic {
            ControlTopic::Part { sha256, number } => self.deployer.staging.expect(sha256, number, mono_us),
            ControlTopic::Command if self.deployer.busy_answers.admit(mono_us) => {
                if let Some(order) = claimed(&message.payload) {
                    let reason = format!("busy: {TASKS_MAX} pushes and commands wait already; send it again later");
                    self.report_order(&order, Err(&reason));
                }
            }
            ControlTopic::Push | ControlTopic::Command | ControlTopic::UpdatePart { .. } => {}
        }
        self.acknowledge_control(receipt);
    }

    /// What strangers send may change the status, but not decide how often it is published.
    pub(super) fn status_soon(&mut self) {
        self.status_due_us = self.status_due_us.min(self.now.mono_us.saturating_add(STATUS_SOON_US));
    }

    pub(super) fn line_up(&mut self, from: LinkId, message: &Message) -> Option<u64> {
        let Message { conn, packet_id, .. } = *message;
        if from == LinkId::INTAKE {
            return Some(self.intake.admit_flying(conn, packet_id, self.now.mono_us));
        }
        let down = self.downlinks.iter_mut().find(|down| down.link == from)?;
        Some(down.admit_flying(conn, packet_id))
    }

    pub(super) fn issue(&mut self, receipt: Receipt) -> u64 {
        let ticket = self.deployer.next_ticket;
        self.deployer.next_ticket += 1;
        self.deployer.receipts.insert(ticket, receipt);
        ticket
    }

    fn keep(&mut self, push: Option<[u8; 32]>, number: u32, message: &Message, receipt: Receipt) {
        let ticket = self.issue(receipt);
        self.deployer.tasks.push_back(Task::Keep { ticket, push, number, bytes: message.payload.clone() });
    }

    fn part(&mut self, push: [u8; 32], number: u32, message: &Message, receipt: Receipt) {
        let active = self.functions.iter().find(|active| active.sha256 == push);
        let in_force = active.map(|active| (active.name.to_string(), active.manifest.version.to_string()));
        if let Some((name, version)) = in_force {
            // After a kill a broker delivers parts again of what has come in force: they would wait for the others.
            self.acknowledge_control(receipt);
            if number == 0 && !self.deployer.is_committing(&push) {
                self.report_push(push, PushState::Unchanged, Some((&name, &version)), None);
            }
            return;
        }
        let (verdict, forgotten) = self.deployer.staging.admit(push, number, receipt.bytes, self.now.mono_us);
        self.deployer.tasks.extend(forgotten.map(|push| Task::Forget { push }));
        match verdict {
            Verdict::Keep => self.keep(Some(push), number, message, receipt),
            Verdict::Known => self.acknowledge_control(receipt),
            Verdict::Refused(reason) => {
                if give_up(&mut self.deployer.staging, &push, number) {
                    self.deployer.tasks.push_back(Task::Forget { push });
                }
                self.acknowledge_control(receipt);
                if !self.deployer.staging.has(&push) {
                    self.reject(push, None, &reason);
                }
            }
        }
    }

    pub(super) fn acknowledge_control(&mut self, receipt: Receipt) {
        let Some(place) = receipt.place else { return };
        if receipt.link == LinkId::INTAKE {
            self.intake.done(place);
        } else if let Some(down) = self.downlinks.iter_mut().find(|down| down.link == receipt.link) {
            down.done(place);
        }
        self.acknowledge();
    }

    pub(super) fn acknowledge_ticket(&mut self, ticket: u64) {
        if let Some(receipt) = self.deployer.receipts.remove(&ticket) {
            self.acknowledge_control(receipt);
        }
    }

    /// The store has done something.
    pub(super) fn answered(&mut self, answer: Answer) {
        self.more = true;
        match answer {
            Answer::Kept { ticket, push, number, bytes, result } => {
                note_kept(&mut self.deployer.staging, push, number, bytes, result.is_ok(), self.now.mono_us);
                if let Err(error) = result {
                    let reason = format!("the gateway cannot keep it: {error}; check its disk, and send it again");
                    self.report_push(push, PushState::Rejected, None, Some(&reason));
                }
                self.acknowledge_ticket(ticket);
            }
            Answer::Refused { ticket, push, refusal } => {
                if let Some(receipt) = self.deployer.receipts.get(&ticket) {
                    self.deployer.staging.not_written(receipt.bytes);
                }
                self.acknowledge_ticket(ticket);
                self.turn_down(push, &refusal);
            }
            Answer::Ordered { ticket, result } => {
                self.acknowledge_ticket(ticket);
                match result {
                    Ok(authorized) => self.ordered(authorized),
                    Err(Unauthorized { claimed, reason }) => {
                        self.note_refused_command(claimed.as_ref(), &reason);
                        if let Some(order) = claimed {
                            self.report_order(&order, Err(&reason));
                        }
                    }
                }
            }
            Answer::Taken { push, result } => self.taken(push, result),
            Answer::Audited { change } => self.deployer.audits.kept(change),
            Answer::Loaded { sha256, result } => self.loaded(sha256, result),
            Answer::Update { ticket, report } => self.update_answered(ticket, report),
            Answer::System(system) => self.system_answered(system),
            Answer::Node { node, answer } => self.node_answered(usize::from(node), *answer),
            // Only what nodes run is fetched.
            Answer::Fetched { .. } => {}
        }
    }

    fn taken(&mut self, push: [u8; 32], result: Taken) {
        if matches!(result, Taken::Incomplete | Taken::Failed(_)) && !self.deployer.staging.has(&push) {
            // It was refused while it was being read.
            self.deployer.stage = None;
            return;
        }
        match result {
            Taken::Incomplete => {
                self.deployer.staging.incomplete(&push);
                self.deployer.stage = None;
                let Missing { numbers, next, .. } = self.deployer.staging.missing(&push);
                let reason =
                    format!("the {next} parts here are not the whole; send those behind them, or all of them again");
                self.report_push(push, PushState::Receiving, None, numbers.is_empty().then_some(reason.as_str()));
            }
            Taken::Ready(candidate) => self.consider(push, candidate),
            Taken::Refused(refusal) => {
                self.deployer.stage = None;
                self.deployer.staging.forget(&push);
                self.turn_down(push, &refusal);
            }
            Taken::Failed(error) => {
                self.deployer.stage = None;
                self.deployer.staging.failed(&push);
                let reason = format!("the gateway cannot read or keep it: {error}; it tries again, check its disk");
                self.report_push(push, PushState::Receiving, None, Some(&reason));
            }
        }
    }

    /// The store refuses a push.
    fn turn_down(&mut self, push: [u8; 32], refusal: &Refusal) {
        match refusal.is_authorized {
            true => self.reject(push, refusal.release(), &refusal.reason),
            false => self.reject_quietly(push, refusal.release(), &refusal.reason),
        }
    }

    /// A push is refused: those who watch it hear why.
    fn reject_quietly(&mut self, push: [u8; 32], release: Option<(&str, &str)>, reason: &str) {
        self.note_refused_push(Some(push), release, reason);
        self.report_push(push, PushState::Rejected, release, Some(reason));
    }

    /// The same, and it is on the function's topic.
    pub(super) fn reject(&mut self, push: [u8; 32], release: Option<(&str, &str)>, reason: &str) {
        self.reject_quietly(push, release, reason);
        if let Some((name, version)) = release {
            self.tell(name, version, push, "rejected", Some(reason));
        }
    }

    pub(super) fn note_refused_push(&mut self, push: Option<[u8; 32]>, release: Option<(&str, &str)>, reason: &str) {
        if self.audit_refusal("push", release.map_or("", |(name, _)| name), "", push, reason) {
            let function = release.map(|(name, version)| format!("{name} {version}"));
            self.notices.push(Notice::PushRejected { function, reason: reason.to_owned() });
        }
    }

    fn note_refused_command(&mut self, claimed: Option<&Order>, reason: &str) {
        let (action, function) =
            claimed.map_or(("command", ""), |order| (order.command.word(), order.command.function()));
        if self.audit_refusal(action, function, "", None, reason) {
            self.notices.push(Notice::CommandRefused { reason: reason.to_owned() });
        }
    }

    /// Publishes what became of a push, or what it waits for.
    pub(super) fn report_push(
        &mut self,
        push: [u8; 32],
        state: PushState,
        release: Option<(&str, &str)>,
        reason: Option<&str>,
    ) {
        let report = push_report(&self.deployer.staging, None, push, state, release, reason);
        self.publish_push(&format!("push/{}", report.sha256), report);
    }

    /// Refusals are published only so often.
    pub(super) fn publish_push(&mut self, topic: &str, report: PushReport) {
        if report.state != PushState::Rejected || self.deployer.rejections.admit(self.now.mono_us) {
            self.publish_control(topic, &report, false);
        }
        self.deployer.remember(report);
        self.status_soon();
    }

    /// Publishes what became of a command.
    pub(super) fn report_order(&mut self, order: &Order, result: Result<(), &str>) {
        self.publish_order(order, result, None);
    }

    /// A command came again.
    pub(super) fn report_repeated(&mut self, order: &Order, repeated: Repeated, reason: &str) {
        self.publish_order(order, Err(reason), Some(repeated));
    }

    fn publish_order(&mut self, order: &Order, result: Result<(), &str>, repeated: Option<Repeated>) {
        let Order { nonce, command, .. } = order;
        let report = OrderReport {
            nonce: nonce.clone(),
            command: command.word().to_owned(),
            function: command.function().to_owned(),
            done: result.is_ok(),
            reason: result.err().map(str::to_owned),
            repeated,
        };
        if eyot_wire::control::is_nonce(nonce) {
            self.deployer.untold.push_back(report);
            self.tell_answers();
        }
    }

    /// Publishes answers to commands, as soon as somebody can hear them.
    pub(super) fn tell_answers(&mut self) {
        while self.deployer.untold.len() > WAITING_MAX {
            self.deployer.untold.pop_front();
        }
        if self.has_listener() {
            for report in std::mem::take(&mut self.deployer.untold) {
                self.publish_control(&format!("command/{}", report.nonce), &report, false);
            }
        }
    }

    /// Asks for what is missing, lets go of what nobody goes on with, and finds what may be whole.
    pub(super) fn look_after_pushes(&mut self) {
        let mono_us = self.now.mono_us;
        while let Some(push) = self.deployer.staging.next_expired(mono_us) {
            self.deployer.tasks.push_back(Task::Forget { push });
            self.reject(push, None, "nobody sent the rest of it; send it again");
        }
        while let Some((push, _)) = self.deployer.staging.next_to_ask(mono_us) {
            self.report_push(push, PushState::Receiving, None, None);
        }
        while let Some((push, parts)) = self.deployer.staging.next_whole(mono_us) {
            self.deployer.waiting.push_back(Request::Push(push, parts));
            self.report_push(push, PushState::Staged, None, None);
        }
        self.look_after_node_pushes();
        let tasks = self.deployer.tasks.drain(..);
        self.effects.extend(tasks.map(|task| Effect::Task(Box::new(task))));
    }
}

/// A part, or a push that came as one piece, is in the store, or could not be written there.
pub(super) fn note_kept(staging: &mut Staging, push: [u8; 32], number: u32, bytes: u64, is_kept: bool, mono_us: u64) {
    match (is_kept, staging.is_expecting(&push, number)) {
        (_, true) => staging.kept(&push, number, bytes, is_kept),
        (true, false) => staging.whole(push, bytes, mono_us),
        (false, false) => {}
    }
}

/// Forgets what a refused part belongs to; true if it was known. A number that no part has is none of a push that somebody else
/// may have begun.
pub(super) fn give_up(staging: &mut Staging, push: &[u8; 32], number: u32) -> bool {
    number < PARTS_MAX && staging.forget(push)
}

/// What became of a push, to the gateway or to this node, or what it waits for.
pub(super) fn push_report(
    staging: &Staging,
    node: Option<&str>,
    push: [u8; 32],
    state: PushState,
    release: Option<(&str, &str)>,
    reason: Option<&str>,
) -> PushReport {
    let Missing { bytes, numbers, next } = staging.missing(&push);
    PushReport {
        node: node.map(str::to_owned),
        sha256: hex::encode(push),
        state,
        name: release.map(|(name, _)| name.to_owned()),
        version: release.map(|(_, version)| version.to_owned()),
        reason: reason.map(str::to_owned),
        bytes,
        missing: numbers,
        next,
    }
}
