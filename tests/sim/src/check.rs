//! What must hold: in every step, after every boot, and when everything has healed.

use std::collections::{BTreeMap, BTreeSet};

use eyot_core::config::WhenFull;
use eyot_core::io::Stamp;
use eyot_core::ledger::Ledger;
use eyot_core::Core;
use eyot_spool::Storage;
use eyot_wire::code::DropReason;

use crate::broker::{Broker, Published};
use crate::cloud::Arrival;
use crate::gateway::Setup;

/// The checkers' memory of one history.
#[derive(Debug, Default)]
pub struct Checks {
    epoch: Option<u64>,
    /// Deliveries the ledger had counted at most; they must not be counted away by a crash.
    received_before: u64,
}

/// The counter the simulation's function keeps in its state.
fn counter<S: Storage>(core: &Core<S>) -> u64 {
    core.states()
        .find(|(function, key, _)| *function == "pass" && *key == b"n")
        .map_or(0, |(_, _, value)| u64::from_le_bytes(value.try_into().expect("the counter has 8 bytes")))
}

/// Messages whose record holds a change of state: all that were handled and did not fail.
fn handled(ledger: &Ledger) -> u64 {
    let unhandled =
        [DropReason::DeadLetter, DropReason::IntakeFull, DropReason::SpoolFullNewest, DropReason::Malformed];
    ledger.messages.received - unhandled.iter().map(|r| ledger.messages.dropped(*r)).sum::<u64>()
}

impl Checks {
    /// After every step.
    pub fn always<S: Storage>(&self, setup: &Setup, core: &Core<S>, seed: u64) {
        let ledger = core.ledger();
        assert!(ledger.is_balanced(), "seed {seed}: the ledger does not balance: {ledger:?}");
        let used = core.spool().usage().bytes;
        assert!(used <= setup.max_bytes, "seed {seed}: spool uses {used} bytes of {}", setup.max_bytes);
        assert_eq!(counter(core), handled(ledger), "seed {seed}: state and ledger disagree");
    }

    /// After every boot: the log is the same log, and state and ledger are of one moment.
    pub fn booted<S: Storage>(&mut self, setup: &Setup, core: &Core<S>) {
        // A log that never had a durable frame may begin again.
        if core.spool().durable() > 0 {
            let epoch = *self.epoch.get_or_insert(core.epoch());
            assert_eq!(core.epoch(), epoch, "the log was made anew: {setup:?}");
        } else {
            assert_eq!(self.epoch, None, "the log is gone: {setup:?}");
        }
        assert_eq!(counter(core), handled(core.ledger()), "state and ledger disagree after recovery");
        self.received_before = self.received_before.max(core.ledger().messages.received);
    }

    /// After faults have ended and the backlog is gone.
    pub fn finally<S: Storage>(
        &self,
        setup: &Setup,
        core: &Core<S>,
        broker: &Broker,
        published: &[u64],
        arrivals: &[Arrival],
    ) {
        let ledger = core.ledger();
        let outputs = ledger.streams.iter().find(|s| s.name == "cloud").expect("there is a cloud stream");
        let lost_outputs = outputs.outputs.dropped_total();
        let mut by_stamp: BTreeMap<Stamp, &Arrival> = BTreeMap::new();
        let mut last_new: BTreeMap<u32, u64> = BTreeMap::new();
        let mut seen: BTreeSet<(u32, u64)> = BTreeSet::new();
        for arrival in arrivals {
            assert_eq!(arrival.stamp.epoch, outputs.epoch);
            let (topic, number) = Published::parse(&arrival.payload);
            assert!((1..=published[topic as usize]).contains(&number), "invented: {topic}:{number}");
            if let Some(earlier) = by_stamp.insert(arrival.stamp, arrival) {
                assert_eq!(earlier.payload, arrival.payload, "one stamp, two outputs: {:?}", arrival.stamp);
                continue;
            }
            if seen.insert((topic, number)) {
                let last = last_new.insert(topic, number).unwrap_or(0);
                // What was dropped the first time may arrive when it is sent again.
                if broker.repeated.contains(&(topic, number)) {
                    continue;
                }
                // A message given up for want of room, and delivered again because its acknowledgement was lost, finds
                // room when later ones have found it already.
                if ledger.messages.dropped(DropReason::SpoolFullNewest) > 0 {
                    continue;
                }
                assert!(number > last, "order of topic {topic}: {number} came new after {last}: {setup:?}");
            }
        }
        // Stamps count the outputs of the stream: what is missing is in the ledger.
        let seqs: BTreeSet<u64> = by_stamp.keys().map(|s| s.seq).collect();
        let missing = (1..outputs.next_seq).filter(|seq| !seqs.contains(seq)).count() as u64;
        assert!(missing <= lost_outputs, "{missing} sequence numbers never arrived, ledger says {lost_outputs}");
        // Every message the gateway acknowledged arrived, or is in the ledger as dropped.
        let absent = broker.acked.iter().filter(|p| !seen.contains(&(p.topic, p.number))).count() as u64;
        let dropped = ledger.messages.dropped_total();
        if absent > dropped {
            let examples: Vec<_> =
                broker.acked.iter().filter(|p| !seen.contains(&(p.topic, p.number))).take(5).collect();
            panic!(
                "{absent} acknowledged messages never arrived, ledger says {dropped} were dropped: {examples:?} {setup:?} \
                 {:?} {missing} sequence numbers missing",
                core.spool().usage()
            );
        }
        if setup.when_full == WhenFull::Block {
            if setup.ttl_ms.is_none() {
                assert_eq!(missing, 0, "outputs that never arrived, although nothing may be dropped under \"block\"");
            }
            if !setup.traps && setup.ttl_ms.is_none() {
                assert_eq!(absent, 0, "nothing may be dropped under \"block\"");
            }
        }
        assert_eq!((ledger.messages.pending, outputs.outputs.pending), (0, 0));
    }
}
