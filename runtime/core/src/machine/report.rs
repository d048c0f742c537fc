//! Status and function documents: when and where they are published.

use super::*;
use crate::status::{
    AccountStatus, BacklogStatus, FinishedStatus, FunctionList, FunctionReport, LedgerStatus, SpoolStatus, Status,
    UplinkStatus,
};

impl<S: Storage> Core<S> {
    pub(super) fn publish_status(&mut self) {
        let targets = self.targets();
        if targets.is_empty() {
            return;
        }
        let payload = Bytes::from(self.status_json());
        let topic = Bytes::from(format!("eyot/{}/status", self.config.gateway_id));
        for (link, conn) in targets {
            self.effects.push_back(retained(link, conn, topic.clone(), payload.clone()));
        }
    }

    /// Where control documents go.
    fn targets(&self) -> Vec<(LinkId, ConnId)> {
        let uplinks = self.lanes.iter().filter(|lane| lane.link != Some(LinkId::LOCAL));
        let conns = uplinks.map(|lane| (lane.link, lane.traffic.conn));
        let all = std::iter::once((Some(LinkId::INTAKE), self.intake_conn)).chain(conns);
        all.filter_map(|(link, conn)| Some((link?, conn?))).collect()
    }

    /// Tells all connections which functions were quarantined, or are not any more.
    pub(super) fn publish_changed_functions(&mut self) {
        while let Some(name) = self.notices.changed.pop() {
            let Some(active) = self.functions.get(&name) else { continue };
            let (topic, document) = function_document(&self.config.gateway_id, active);
            for (link, conn) in self.targets() {
                self.effects.push_back(retained(link, conn, topic.clone(), document.clone()));
            }
            self.status_due_us = self.now.mono_us;
        }
    }

    /// Tells a new connection which functions are here, each on its topic.
    pub(super) fn publish_functions(&mut self, link: LinkId, conn: ConnId) {
        for active in self.functions.iter().chain(&self.reducer) {
            let (topic, document) = function_document(&self.config.gateway_id, active);
            self.effects.push_back(retained(link, conn, topic, document));
        }
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
            online: true,
            subscribed: self.intake_conn.is_some(),
            version: self.config.version,
            unix_ms: self.now.unix_ms,
            uptime_s: (self.now.mono_us - self.started_us) / 1_000_000,
            functions: FunctionList(&self.functions, self.reducer.as_ref()),
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
            },
            wear: self.wear.report(),
            uplinks: uplinks.collect(),
            finished: self.ledger.finished().map(FinishedStatus::new).collect(),
            ledger: LedgerStatus::new(&self.ledger),
            log_lines_dropped: self.notices.log_lines_dropped,
            letters_dropped: self.notices.letters_dropped,
        };
        serde_json::to_vec(&status).unwrap_or_default()
    }
}

/// Topic and payload.
fn function_document(gateway_id: &str, active: &Active) -> (Bytes, Bytes) {
    let topic = format!("eyot/{gateway_id}/function/{}", active.name);
    (topic.into(), serde_json::to_vec(&FunctionReport::new(active)).unwrap_or_default().into())
}

fn retained<F>(link: LinkId, conn: ConnId, topic: Bytes, payload: Bytes) -> Effect<F> {
    Effect::Publish(Publish { link, conn, token: 0, topic, payload, retain: true, stamp: None, received_at_ms: 0 })
}
