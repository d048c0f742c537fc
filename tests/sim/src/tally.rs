//! What histories came to, and how many of them met each kind of trouble: what nothing meets is not tested.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use eyot_core::io::Notice;
use eyot_spool::Storage;
use eyot_wire::code::DropReason;

use crate::check::Checks;
use crate::guest::Failing;
use crate::scenario::KINDS;
use crate::world::World;

/// A log without room; no kind of trouble by itself, as several lead to it.
const FULL: &str = "full";
/// A command took a version back: no kind by itself either, as commands come with pushes.
pub(crate) const ROLLED_BACK: &str = "rollback";
/// A command put a version in force.
pub(crate) const PROMOTED: &str = "promote";

/// How often each kind of trouble struck, by its name in [`KINDS`].
#[derive(Clone, Debug, Default)]
pub struct Met(BTreeMap<&'static str, u64>);

impl Met {
    /// It struck.
    pub fn strike(&mut self, kind: &'static str) {
        self.add(kind, 1);
    }

    /// It struck so many times.
    pub fn add(&mut self, kind: &'static str, times: u64) {
        if times > 0 {
            *self.0.entry(kind).or_default() += times;
        }
    }

    /// What befell another part of the same history.
    pub fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|(kind, times)| self.add(kind, times));
    }

    /// The gateway tells something.
    pub fn noticed(&mut self, notice: &Notice) {
        match notice {
            Notice::SpoolFull => self.strike(FULL),
            Notice::UplinkFull { .. } => self.strike("backlog"),
            _ => {}
        }
    }

    /// How often it struck.
    pub fn times(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or(0)
    }
}

/// What one history came to, or many.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many there were.
    pub histories: u64,
    /// Messages the sensors sent.
    pub published: u64,
    /// Outputs that arrived, repetitions included.
    pub arrivals: u64,
    /// Times the gateway was started.
    pub boots: u64,
    /// Times another version or configuration of the function came in force while it ran.
    pub swaps: u64,
    /// What befell it.
    pub met: Met,
    /// By kind of trouble, how many histories met it.
    pub histories_with: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Adds what another history came to.
    pub fn add(&mut self, other: Self) {
        self.histories += other.histories;
        self.published += other.published;
        self.arrivals += other.arrivals;
        self.boots += other.boots;
        self.swaps += other.swaps;
        self.met.merge(other.met);
        for (kind, histories) in other.histories_with {
            *self.histories_with.entry(kind).or_default() += histories;
        }
    }

    /// The kinds of trouble that fewer than `permille` of a thousand histories met.
    pub fn hardly_met(&self, permille: u64) -> Vec<&'static str> {
        let names = KINDS.iter().map(|(kind, _)| *kind).chain([FULL, ROLLED_BACK, PROMOTED]);
        let histories = |kind: &&str| self.histories_with.get(*kind).copied().unwrap_or(0);
        names.filter(|kind| histories(kind) * 1000 < permille * self.histories).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { histories, published, arrivals, boots, swaps, .. } = self;
        writeln!(
            f,
            "{histories} histories: {published} messages, {arrivals} arrivals, {boots} starts, {swaps} swaps; how often \
             each kind of trouble struck, and in how many histories:"
        )?;
        for (kind, times) in &self.met.0 {
            let met = self.histories_with.get(kind).copied().unwrap_or(0);
            writeln!(f, "  {kind}: {times} in {met}")?;
        }
        Ok(())
    }
}

impl World {
    /// What happened so far.
    pub fn tally(&self) -> Tally {
        let mut met = self.met.clone();
        met.add("qos0", self.qos0);
        met.add("rate", self.checks.paced);
        met.add("down", self.downs.acks);
        met.add("push", self.checks.force.swaps);
        met.merge(self.checks.force.met.clone());
        met.add("live-first", self.checks.successions());
        if let Some(gateway) = &self.gateway {
            met.merge(gateway.met.clone());
            let ledger = gateway.core.ledger();
            let dropped = |reason| ledger.streams.iter().map(|s| s.total().dropped(reason)).sum();
            met.add("ttl", dropped(DropReason::Expired));
            met.add("reduce", dropped(DropReason::Reduced));
            if self.scenario.setup.failing == Failing::AtRandom {
                met.add("traps", ledger.messages.dropped(DropReason::DeadLetter));
            }
            met.add("alarms", self.checks.arrivals(ledger, "cloud/alarms"));
            met.add("archive", self.checks.arrivals(ledger, "archive"));
            met.add("wear", u64::from(is_stretched(&gateway.core)));
        }
        Tally {
            histories: 1,
            published: self.published(),
            arrivals: self.checks.all_arrivals(),
            boots: self.boots,
            swaps: self.checks.force.swaps,
            histories_with: met.0.keys().map(|kind| (*kind, 1)).collect(),
            met,
        }
    }
}

impl Checks {
    /// Outputs that arrived in any stream there ever was, repetitions included.
    fn all_arrivals(&self) -> u64 {
        self.streams.values().map(|seen| seen.arrivals).sum()
    }

    /// Streams that took the place of another one.
    fn successions(&self) -> u64 {
        let bases: BTreeSet<&String> = self.routes.iter().map(|(_, base)| base).collect();
        (self.routes.len() - bases.len()) as u64
    }
}

/// Whether messages wait for each other for the sake of the flash.
fn is_stretched<S: Storage>(core: &eyot_core::Core<S>) -> bool {
    let status: serde_json::Value = serde_json::from_slice(&core.status_json()).expect("the status is a document");
    status["wear"]["state"].as_str().is_some_and(|state| state != "ok")
}
