//! Letters: what an uplink refuses for good is kept as a dead letter, in a record of its own.

use super::*;
use crate::dead::{refusal, Refused};

impl<S: Storage> Core<S> {
    pub(super) fn published(&mut self, link: LinkId, conn: ConnId, token: u64, accepted: bool) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.link == Some(link)) else { return };
        let mut desk = Desk {
            outlets: Outlets { streams: &self.streams, quotas: &self.quotas, gateway_id: &self.config.gateway_id },
            committer: &mut self.committer,
            functions: &self.functions,
            orphans: &self.orphans,
            deployer: &self.deployer,
            record: &mut self.record,
            notices: &mut self.notices,
            now: self.now,
        };
        let mut keep = |refused: &Refused, ledger: &mut Ledger| desk.keep(refused, ledger);
        let was_connected = lane.traffic.is_connected();
        lane.answered(conn, token, accepted, &mut self.ledger, self.now, &mut keep);
        if lane.traffic.is_connected() != was_connected {
            self.status_due_us = self.now.mono_us;
        }
        self.room = self.committer.room();
        self.more = true;
    }
}

/// Where letters are written, with what that needs of the machine.
struct Desk<'a, S: Storage> {
    outlets: Outlets<'a>,
    committer: &'a mut Committer<S>,
    functions: &'a Functions,
    orphans: &'a States,
    deployer: &'a Deployer,
    record: &'a mut Builder,
    notices: &'a mut Notices,
    now: Now,
}

impl<S: Storage> Desk<'_, S> {
    fn keep(&mut self, refused: &Refused, ledger: &mut Ledger) {
        if refused.is_letter(self.outlets.gateway_id) {
            return;
        }
        let Some(account) = ledger.stream(refused.stream) else { return };
        let uplink = account.uplink().to_owned();
        let (topic, payload) = refusal(self.outlets.gateway_id, account, refused);
        if !self.write(&topic, &payload, ledger) {
            ledger.letters_dropped += 1;
            self.notices.letter_dropped(&uplink, self.now.mono_us);
        }
    }

    /// Adds the letter to the open batch, which the ledger goes with that has the output as dropped; false if it has no
    /// room there, or nowhere to go.
    fn write(&mut self, topic: &str, payload: &[u8], ledger: &mut Ledger) -> bool {
        if !self.committer.takes_letters() {
            return false;
        }
        self.committer.prepare(ledger, || kept(self.functions, self.orphans, self.deployer));
        let mut routes = Vec::new();
        // Whatever the ledger then has that is in no record is written with it when the stream passes the output.
        self.outlets.route(topic, payload, ledger, &mut routes);
        if routes.is_empty() {
            return false;
        }
        self.record.clear();
        self.record.output(topic, payload, &routes);
        let letter = self.record.finish_letter(self.now.unix_ms);
        if self.committer.append(letter, self.now.mono_us).is_ok() {
            return true;
        }
        if let Ok(letter) = Record::decode(letter) {
            ledger.withdraw(&letter);
        }
        false
    }
}
