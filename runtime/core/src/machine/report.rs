//! Status and function documents: when and where they are published.

use eyot_wire::canary::CanaryReport;
use eyot_wire::control::ConfigReport;
use eyot_wire::shadow::ShadowReport;

use super::*;
use crate::capacity::Capacity;
use crate::deploy::plan::Document;
use crate::status::{
    AccountStatus, AuditLine, BacklogStatus, FinishedStatus, FunctionList, FunctionReport, InForce, LedgerStatus,
    LogLine, SpoolStatus, Status, Told, UplinkStatus,
};
use crate::task::Task;

impl<S: Storage> Core<S> {
    pub(super) fn publish_status(&mut self) {
        if self.has_listener() {
            self.publish_bytes("status", Bytes::from(self.status_json()), true);
            self.ask_system();
        }
    }

    /// Where control documents go.
    fn targets(&self) -> Vec<(LinkId, ConnId)> {
        let uplinks = self.lanes.iter().filter(|lane| lane.link != Some(LinkId::LOCAL));
        let conns = uplinks.map(|lane| (lane.link, lane.traffic.conn));
        let all = std::iter::once((Some(LinkId::INTAKE), self.intake_conn)).chain(conns);
        all.filter_map(|(link, conn)| Some((link?, conn?))).collect()
    }

    /// Whether there is a connection on which a control document goes.
    pub(super) fn has_listener(&self) -> bool {
        !self.targets().is_empty()
    }

    /// Publishes a document on a control topic of this gateway.
    pub(super) fn publish_control(&mut self, topic: &str, document: &impl serde::Serialize, retain: bool) {
        self.publish_bytes(topic, json(document), retain);
    }

    pub(super) fn publish_bytes(&mut self, topic: &str, payload: Bytes, retain: bool) {
        self.publish_to(self.targets(), topic, &payload, retain);
    }

    /// Publishes what an author follows, and can be much: where commands come from, and not on links that only deliver.
    pub(super) fn publish_traces(&mut self, topic: &str, payload: &Bytes, retain: bool) {
        let mut targets = self.targets();
        targets.retain(|(link, _)| self.takes_control(*link));
        self.publish_to(targets, topic, payload, retain);
    }

    fn publish_to(&mut self, targets: Vec<(LinkId, ConnId)>, topic: &str, payload: &Bytes, retain: bool) {
        let topic = self.topic_of(topic);
        let all = targets.into_iter().map(|(link, conn)| publish(link, conn, topic.clone(), payload.clone(), retain));
        self.effects.extend(all);
    }

    fn topic_of(&self, name: &str) -> Bytes {
        format!("eyot/{}/{name}", self.config.gateway_id).into()
    }

    /// What a function's topic says in place of what is in force, and what is in force besides.
    pub(super) fn publish_document(&mut self, document: &Document, retain: bool) {
        let told = self.told(document);
        self.publish_bytes(&format!("function/{}", document.name), told, retain);
    }

    fn told(&self, document: &Document) -> Bytes {
        let active = self.functions.get(&document.name).map(InForce::new);
        json(&Told { document, active })
    }

    /// A function is gone: nothing is retained on its topic any more.
    pub(super) fn clear_document(&mut self, name: &str) {
        self.publish_nothing(&format!("function/{name}"));
    }

    /// Nothing is retained on this topic any more.
    pub(super) fn publish_nothing(&mut self, topic: &str) {
        self.publish_bytes(topic, Bytes::new(), true);
    }

    /// What was captured of the last message.
    pub(super) fn publish_captures(&mut self) {
        for (function, capture) in self.functions.captures.take(self.now.mono_us) {
            self.publish_traces(&format!("capture/{function}"), &Bytes::from(capture), false);
        }
    }

    /// A line a function logged, for those who follow it.
    pub(super) fn publish_log(&mut self, function: &str, level: eyot_engine::Level, line: &str) {
        let line = LogLine { function, level: level.word(), line, unix_ms: self.now.unix_ms };
        let line = json(&line);
        self.publish_traces(&format!("log/{function}"), &line, false);
    }

    /// A line of the audit log: a control action and what came of it.
    pub(super) fn audit_line(
        &self,
        action: &str,
        function: &str,
        by: &str,
        push: Option<[u8; 32]>,
        result: Result<(), &str>,
    ) -> String {
        let line = AuditLine {
            unix_ms: self.now.unix_ms,
            action,
            function,
            by,
            sha256: push.map(hex::encode),
            done: result.is_ok(),
            reason: result.err().map(crate::deploy::registry::cut),
            left_out: self.deployer.refusals_left_out,
        };
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// A change that is in the log, for the audit log and for whoever listens.
    pub(super) fn audit_change(&mut self, number: u64) {
        if let Some(line) = self.deployer.audits.of(number).map(str::to_owned) {
            self.audit(Some(number), line);
        }
    }

    /// What was refused, the same; false if it is left out. Strangers must not wear out the flash with it.
    pub(super) fn audit_refusal(
        &mut self,
        action: &str,
        function: &str,
        by: &str,
        push: Option<[u8; 32]>,
        reason: &str,
    ) -> bool {
        let mono_us = self.now.mono_us;
        let Deployer { refusals, refusals_of_day, refusals_left_out, .. } = &mut self.deployer;
        if by.is_empty() && !(refusals.admit(mono_us) && refusals_of_day.admit(mono_us)) {
            *refusals_left_out += 1;
            return false;
        }
        let line = self.audit_line(action, function, by, push, Err(reason));
        self.deployer.refusals_left_out = 0;
        self.audit(None, line);
        true
    }

    fn audit(&mut self, change: Option<u64>, line: String) {
        self.publish_bytes("audit", Bytes::from(line.clone()), false);
        self.deployer.tasks.push_back(Task::Audit { change, line });
    }

    /// Tells all connections which functions were quarantined, or are not any more.
    pub(super) fn publish_changed_functions(&mut self) {
        while let Some(name) = self.notices.changed.pop() {
            let Some(active) = self.functions.get(&name).filter(|_| !self.deployer.documents.contains_key(&*name))
            else {
                continue;
            };
            let document = json(&FunctionReport::new(active));
            self.publish_bytes(&format!("function/{name}"), document, true);
            self.status_due_us = self.now.mono_us;
        }
    }

    /// Tells a new connection which functions are here, each on its topic.
    pub(super) fn publish_functions(&mut self, link: LinkId, conn: ConnId) {
        let is_told = |active: &&Active| !self.deployer.documents.contains_key(&*active.name);
        let plain = self.functions.iter().chain(&self.reducer).filter(is_told);
        let plain = plain.map(|active| (&*active.name, json(&FunctionReport::new(active))));
        let told = self.deployer.documents.values().map(|document| (document.name.as_str(), self.told(document)));
        let topic = |name: &str| self.topic_of(&format!("function/{name}"));
        let all = plain.chain(told).map(|(name, document)| publish(link, conn, topic(name), document, true));
        let shadow = |report: ShadowReport| {
            publish(link, conn, topic(&format!("{}/shadow", report.function)), json(&report), true)
        };
        let canary = |report: CanaryReport| {
            publish(link, conn, topic(&format!("{}/canary", report.function)), json(&report), true)
        };
        let all = all.chain(self.shadow_reports().into_iter().map(shadow));
        let config = |report: ConfigReport| {
            publish(link, conn, topic(&format!("{}/config", report.function)), json(&report), true)
        };
        let all = all.chain(self.canary_reports().into_iter().map(canary));
        let configs = if self.takes_control(link) { self.config_reports() } else { Vec::new() };
        let all: Vec<_> = all.chain(configs.into_iter().map(config)).collect();
        self.effects.extend(all);
    }

    /// The status document: see the README for its fields.
    pub fn status_json(&self) -> Vec<u8> {
        let usage = self.committer.spool.usage();
        let uplinks = self.streams.iter().filter_map(|stream| {
            let account = self.ledger.stream(stream.number)?;
            let lane = self.lanes.iter().find(|lane| lane.link == stream.link)?;
            let forwarder = lane.forwarders().find(|f| f.stream == stream.number)?;
            Some(UplinkStatus {
                name: &account.name,
                epoch: account.epoch,
                priority: stream.priority.word(),
                connected: lane.traffic.is_connected(),
                in_flight: forwarder.in_flight(),
                outputs: AccountStatus::new(&account.outputs),
                pending_bytes: account.pending_bytes,
                backlog: self
                    .quotas
                    .of(stream.link)
                    .map(|quota| BacklogStatus { max_bytes: quota.max_bytes, full: quota.is_full() }),
                next_seq: account.next_seq,
            })
        });
        let status = Status {
            gateway: &self.config.gateway_id,
            groups: &self.config.groups,
            online: true,
            subscribed: self.intake_conn.is_some(),
            version: self.config.version,
            system: self.deployer.system.as_deref(),
            unix_ms: self.now.unix_ms,
            uptime_s: (self.now.mono_us - self.started_us) / 1_000_000,
            functions: FunctionList(&self.functions, self.reducer.as_ref()),
            capacity: Capacity::new(self.max_bytes, self.config.fuel_budget_per_s),
            in_flight: self.in_flight(),
            spool: SpoolStatus {
                epoch: self.committer.spool.epoch(),
                bytes: usage.bytes,
                max_bytes: self.max_bytes,
                segments: usage.segments,
                state: match self.room {
                    _ if self.committer.failed => "failed",
                    Room::Full => "full",
                    _ => "ok",
                },
                rewrites: self.ledger.rewrites,
                damaged_frames: usage.damaged_frames,
                bytes_written: usage.bytes_written,
                commits: self.committer.commits,
                sync_failures: usage.sync_failures,
                removal_failures: usage.removal_failures,
            },
            wear: self.wear.report(),
            uplinks: uplinks.collect(),
            nodes: self.nodes.iter().map(|node| self.node_status(node)).collect(),
            sensors: &self.sensors,
            finished: self.ledger.finished().map(FinishedStatus::new).collect(),
            ledger: LedgerStatus::new(&self.ledger),
            pushes: &self.deployer.outcomes,
            log_lines_dropped: self.notices.log_lines_dropped,
            letters_dropped: self.ledger.letters_dropped,
            control_dropped: self.notices.control_dropped,
        };
        serde_json::to_vec(&status).unwrap_or_default()
    }
}

pub(super) fn json(document: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(document).unwrap_or_default().into()
}

/// Of a control message, for whose answer nobody waits.
fn publish<F>(link: LinkId, conn: ConnId, topic: Bytes, payload: Bytes, retain: bool) -> Effect<F> {
    Effect::Publish(Publish {
        link,
        conn,
        token: 0,
        topic,
        payload,
        retain,
        stamp: None,
        received_at_ms: 0,
        wakes: None,
    })
}
