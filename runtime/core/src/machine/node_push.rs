//! Pushes to nodes: parts to the store, and what the store answers. As [`control`](super::control) does it for the gateway's
//! own functions, with parts of their own for each node.

use eyot_wire::control::{ControlTopic, PushState};

use super::control::{give_up, note_kept, push_report};
use super::*;
use crate::deploy::nodes::{key, NODE_PIECES_MAX};
use crate::deploy::plan::{Document, Origin, Receipt};
use crate::deploy::registry::{build, cut, Entry};
use crate::deploy::staging::{Missing, Verdict};
use crate::node::NODE_MODULE_MAX_BYTES;
use crate::task::{Answer, Candidate, Refusal, Taken, Task};
use eyot_trust::release::Admission;

impl<S: Storage> Core<S> {
    /// What a message asks of a node behind this gateway, if it does; and the node's place, if there is one of that name.
    pub(super) fn node_control_topic(&self, from: LinkId, topic: &[u8]) -> Option<(Option<usize>, ControlTopic)> {
        if self.nodes.is_empty() || !topic.starts_with(b"eyot/") || !self.takes_control(from) {
            return None;
        }
        let topic = std::str::from_utf8(topic).ok()?;
        let (id, topic) = self.deployer.ids.iter().find_map(|id| ControlTopic::parse_for_node(id, topic))?;
        Some((self.node_place(id), topic))
    }

    /// The place of the node with this name.
    pub(super) fn node_place(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id() == id)
    }

    /// Takes a push to a node, or a part of one. It is acknowledged as the gateway's own are.
    pub(super) fn node_control(&mut self, from: LinkId, place: Option<usize>, topic: ControlTopic, message: &Message) {
        self.more = true;
        let line = (message.qos > 0).then(|| self.line_up(from, message)).flatten();
        let (bytes, is_one_piece) = (message.payload.len() as u64, topic == ControlTopic::Push);
        let receipt = Receipt { link: from, place: line, bytes, is_one_piece };
        let Some((place, node)) = place.and_then(|place| Some((place, self.nodes.get_mut(place)?))) else {
            self.note_refused_push(None, None, "no node here has the name it is for; see `eyot status`");
            return self.acknowledge_control(receipt);
        };
        let is_full = is_one_piece && node.staging.one_piece().0 >= NODE_PIECES_MAX;
        match topic {
            ControlTopic::Push if message.payload.is_empty() => self.acknowledge_control(receipt),
            _ if is_full || !self.deployer.has_room_for(&receipt, self.config.staging_max_bytes) => {
                self.notices.control_dropped(self.now.mono_us);
                self.status_soon();
                if let (ControlTopic::Part { sha256, number }, Some(node)) = (topic, self.nodes.get_mut(place)) {
                    node.staging.expect(sha256, number, self.now.mono_us);
                }
                self.acknowledge_control(receipt);
            }
            ControlTopic::Push if message.payload.len() > NODE_MODULE_MAX_BYTES => {
                self.note_refused_push(None, None, &too_large());
                self.acknowledge_control(receipt);
            }
            ControlTopic::Push => match node.staging.admit_whole(bytes, self.now.mono_us) {
                Ok(()) => self.keep_for_node(place, None, 0, message, receipt),
                Err(reason) => {
                    self.note_refused_push(None, None, &reason);
                    self.acknowledge_control(receipt);
                }
            },
            ControlTopic::Part { sha256, number } => self.node_part(place, sha256, number, message, receipt),
            ControlTopic::Command | ControlTopic::UpdatePart { .. } => self.acknowledge_control(receipt),
        }
    }

    fn keep_for_node(
        &mut self,
        place: usize,
        push: Option<[u8; 32]>,
        number: u32,
        message: &Message,
        receipt: Receipt,
    ) {
        let ticket = self.issue(receipt);
        self.node_task(place, Task::Keep { ticket, push, number, bytes: message.payload.clone() });
    }

    /// A task of the node's own.
    pub(super) fn node_task(&mut self, place: usize, task: Task) {
        let node = u8::try_from(place).unwrap_or(u8::MAX);
        self.deployer.tasks.push_back(Task::Node { node, task: Box::new(task) });
    }

    fn node_part(&mut self, place: usize, push: [u8; 32], number: u32, message: &Message, receipt: Receipt) {
        let mono_us = self.now.mono_us;
        let Some(node) = self.nodes.get_mut(place) else { return };
        let standing = self.deployer.registry.standing(&node.configuration);
        let in_force = standing.filter(|standing| standing.wanted().is_some_and(|build| build.sha256 == push));
        if let Some(standing) = in_force {
            // After a kill a broker delivers parts again of what has come: they would wait for the others.
            self.acknowledge_control(receipt);
            if number == 0 {
                self.report_standing(place, push, &standing.entry, &standing.function);
            }
            return;
        }
        let is_too_large =
            node.staging.missing(&push).bytes.saturating_add(receipt.bytes) > NODE_MODULE_MAX_BYTES as u64;
        let (verdict, forgotten) = match is_too_large {
            true => (Verdict::Refused(too_large()), None),
            false => node.staging.admit(push, number, receipt.bytes, mono_us),
        };
        let refused = matches!(verdict, Verdict::Refused(_)) && give_up(&mut node.staging, &push, number);
        let is_begun = node.staging.has(&push);
        for push in forgotten.into_iter().chain(refused.then_some(push)) {
            self.node_task(place, Task::Forget { push });
        }
        match verdict {
            Verdict::Keep => return self.keep_for_node(place, Some(push), number, message, receipt),
            Verdict::Known => {}
            Verdict::Refused(_) if is_begun => {}
            Verdict::Refused(reason) => self.reject_on_node(place, push, None, &reason),
        }
        self.acknowledge_control(receipt);
    }

    /// The store has done something for a node.
    pub(super) fn node_answered(&mut self, place: usize, answer: Answer) {
        let mono_us = self.now.mono_us;
        let Some(node) = self.nodes.get_mut(place) else { return };
        match answer {
            Answer::Kept { ticket, push, number, bytes, result } => {
                note_kept(&mut node.staging, push, number, bytes, result.is_ok(), mono_us);
                if let Err(error) = result {
                    let reason = format!("the gateway cannot keep it: {error}; check its disk, and send it again");
                    self.report_node_push(place, push, PushState::Rejected, None, Some(&reason));
                }
                self.acknowledge_ticket(ticket);
            }
            Answer::Refused { ticket, push, refusal } => {
                if let Some(receipt) = self.deployer.receipts.get(&ticket) {
                    node.staging.not_written(receipt.bytes);
                }
                self.acknowledge_ticket(ticket);
                self.turn_down_for_node(place, push, &refusal);
            }
            Answer::Taken { push, result } => self.taken_for_node(place, push, result),
            Answer::Fetched { sha256, result } => self.fetched_for_node(place, sha256, result),
            // No others are asked for.
            _ => {}
        }
    }

    fn taken_for_node(&mut self, place: usize, push: [u8; 32], result: Taken) {
        let Some(node) = self.nodes.get_mut(place) else { return };
        match result {
            Taken::Incomplete => {
                node.staging.incomplete(&push);
                let Missing { numbers, next, .. } = node.staging.missing(&push);
                let reason =
                    format!("the {next} parts here are not the whole; send those behind them, or all of them again");
                let reason = numbers.is_empty().then_some(reason.as_str());
                self.report_node_push(place, push, PushState::Receiving, None, reason);
            }
            Taken::Ready(candidate) => self.consider_for_node(place, push, candidate),
            Taken::Refused(refusal) => {
                node.staging.forget(&push);
                self.turn_down_for_node(place, push, &refusal);
            }
            Taken::Failed(error) => {
                node.staging.failed(&push);
                let reason = format!("the gateway cannot read or keep it: {error}; it tries again, check its disk");
                self.report_node_push(place, push, PushState::Receiving, None, Some(&reason));
            }
        }
    }

    /// A verified module that the node could run: may it come?
    fn consider_for_node(&mut self, place: usize, push: [u8; 32], candidate: Candidate) {
        let Candidate { manifest, content_sha256, signers } = candidate;
        let Some(node) = self.nodes.get(place) else { return };
        let (function, version) = (manifest.name.clone(), manifest.version.to_string());
        let key = key(node.id(), &function);
        let build = build(&manifest, push, content_sha256);
        let by = if signers.is_empty() { "unsigned".to_owned() } else { signers.join(", ") };
        let origin = Origin { push: Some(push), order: None, by };
        let entry = match self.deployer.registry.standing(&node.configuration) {
            Some(standing) if standing.function != function => Err(format!(
                "is called \"{function}\", and the node runs \"{other}\", a node one function: remove that first, with \
                 `eyot remove {other} --node {id}`",
                other = standing.function,
                id = node.id()
            )),
            Some(standing) => Ok(standing.entry),
            None if !self.deployer.registry.has_room_on_node(&key) => {
                Err("is one function too many for the nodes of this gateway; remove another with `eyot remove`"
                    .to_owned())
            }
            None => Ok(self.deployer.registry.nodes.get(&key).cloned().unwrap_or_default()),
        };
        let admitted = entry.and_then(|entry| {
            let is_staged = entry.trial.as_ref().is_some_and(|trial| trial.build.content_sha256 == content_sha256);
            let back = entry.taken_back.as_ref().filter(|back| back.build.content_sha256 == content_sha256);
            if let Some(back) = back {
                return Err(format!("was taken back: {}; push a higher version", back.reason));
            }
            match entry.history().admit(&build.release()) {
                Ok(admission) => Ok((entry, is_staged || admission == Admission::Unchanged)),
                Err(error) => Err(error.to_string()),
            }
        });
        let staged = admitted.and_then(|(entry, is_known)| match is_known {
            true => {
                self.put_away_on_node(place, push);
                self.report_standing(place, push, &entry, &function);
                Ok(())
            }
            false => self.stage_on_node(place, &function, entry, build, origin),
        });
        if let Err(reason) = staged {
            self.put_away_on_node(place, push);
            self.reject_on_node(place, push, Some((&function, &version)), &reason);
        }
    }

    /// A push of what the node is to run already changes nothing.
    fn report_standing(&mut self, place: usize, push: [u8; 32], entry: &Entry, function: &str) {
        let (state, build) = match (&entry.trial, &entry.active) {
            (Some(trial), _) => (PushState::Staged, &trial.build),
            (None, Some(active)) => (PushState::Unchanged, active),
            (None, None) => return,
        };
        self.report_node_push(place, push, state, Some((function, &build.version.to_string())), None);
    }

    /// Parts and module of a push that led to nothing.
    fn put_away_on_node(&mut self, place: usize, push: [u8; 32]) {
        if let Some(node) = self.nodes.get_mut(place) {
            node.staging.forget(&push);
        }
        self.node_task(place, Task::Forget { push });
        if !self.is_needed(&push) {
            self.deployer.tasks.push_back(Task::Discard { sha256: push });
        }
    }

    /// The store refuses a push to a node: those who watch it hear why, and so does the node's topic if it is authorized.
    fn turn_down_for_node(&mut self, place: usize, push: [u8; 32], refusal: &Refusal) {
        if refusal.is_authorized {
            return self.reject_on_node(place, push, refusal.release(), &refusal.reason);
        }
        self.note_refused_push(Some(push), refusal.release(), &refusal.reason);
        self.report_node_push(place, push, PushState::Rejected, refusal.release(), Some(&refusal.reason));
    }

    /// A push to a node is refused: those who watch it and the node's topic hear why.
    pub(super) fn reject_on_node(&mut self, place: usize, push: [u8; 32], release: Option<(&str, &str)>, reason: &str) {
        self.note_refused_push(Some(push), release, reason);
        self.report_node_push(place, push, PushState::Rejected, release, Some(reason));
        if let (Some((name, version)), Some(node)) = (release, self.nodes.get_mut(place)) {
            node.rejected = Some(Document {
                name: name.to_owned(),
                version: version.to_owned(),
                sha256: hex::encode(push),
                state: "rejected",
                reason: Some(cut(reason).to_owned()),
            });
            self.publish_node(place);
        }
    }

    /// Publishes what became of a push to a node, or what it waits for.
    pub(super) fn report_node_push(
        &mut self,
        place: usize,
        push: [u8; 32],
        state: PushState,
        release: Option<(&str, &str)>,
        reason: Option<&str>,
    ) {
        let Some(node) = self.nodes.get(place) else { return };
        let report = push_report(&node.staging, Some(node.id()), push, state, release, reason);
        let topic = format!("node/{}/push/{}", node.id(), report.sha256);
        self.publish_push(&topic, report);
    }

    /// As [`look_after_pushes`](Self::look_after_pushes).
    pub(super) fn look_after_node_pushes(&mut self) {
        let mono_us = self.now.mono_us;
        for place in 0..self.nodes.len() {
            while let Some(push) = self.nodes.get_mut(place).and_then(|node| node.staging.next_expired(mono_us)) {
                self.node_task(place, Task::Forget { push });
                self.reject_on_node(place, push, None, "nobody sent the rest of it; send it again");
            }
            while let Some((push, _)) = self.nodes.get_mut(place).and_then(|node| node.staging.next_to_ask(mono_us)) {
                self.report_node_push(place, push, PushState::Receiving, None, None);
            }
            while let Some((push, parts)) = self.nodes.get_mut(place).and_then(|node| node.staging.next_whole(mono_us))
            {
                self.node_task(place, Task::Take { push, parts });
            }
        }
    }
}

fn too_large() -> String {
    format!("a module for a node has at most {NODE_MODULE_MAX_BYTES} bytes; build it smaller")
}
