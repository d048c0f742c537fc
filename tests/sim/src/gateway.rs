//! The state machine on a simulated machine: memory storage, syncs that take time, power that fails.

use std::collections::VecDeque;
use std::io;

use eyot_core::config::{Config, Uplink, WhenFull};
use eyot_core::io::{ConnId, Effect, Input, LinkId, Message, Now, Publish};
use eyot_core::Core;
use eyot_spool::memory::MemoryStorage;
use eyot_spool::{Options, Storage};
use eyot_wire::manifest::Limits;

use crate::guest;

type File = <MemoryStorage as Storage>::File;

/// What an edge would do outside of the machine.
#[derive(Debug)]
pub enum Outside {
    /// Acknowledge to the local broker.
    Ack {
        /// On this connection only.
        conn: ConnId,
        /// This message.
        packet_id: u16,
    },
    /// Send on a delivery link.
    Publish(Publish),
}

/// A running gateway.
pub struct Gateway {
    /// The real thing.
    pub core: Core<MemoryStorage>,
    storage: MemoryStorage,
    /// Sync under way: when it ends, and of what.
    syncing: Option<(u64, u64, File)>,
    /// The edge's queue of messages the machine does not accept yet.
    pub inbox: VecDeque<Message>,
    outside: VecDeque<Outside>,
    planted: Option<Planted>,
    /// For [`Planted::ReorderOnReconnect`]: armed by a connection, and then the output that is to come second.
    held_back: Option<Option<Publish>>,
}

/// What stays the same over restarts.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Policy at the quota.
    pub when_full: WhenFull,
    /// Quota.
    pub max_bytes: u64,
    /// Most bytes the flash should take in a day.
    pub wear_budget_day_bytes: Option<u64>,
    /// Whether the function traps now and then.
    pub traps: bool,
    /// Most publishes a second to the cloud.
    pub rate_max_per_s: Option<u32>,
    /// How long outputs are of use to the cloud.
    pub ttl_ms: Option<u64>,
    /// A mistake made on purpose, to see that the checks find it.
    pub planted: Option<Planted>,
}

/// Mistakes a gateway could make, made between the machine and its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A sync is reported done that never happens: messages are acknowledged before they are durable.
    AckBeforeSync,
    /// The first two outputs after a reconnect change places.
    ReorderOnReconnect,
    /// A restart overlooks the oldest segment of the log.
    SkipSegment,
}

impl Gateway {
    /// Switches it on. `storage` is what the last life left.
    pub fn boot(setup: &Setup, storage: &MemoryStorage, now: Now, seed: u64) -> io::Result<Self> {
        let config = Config {
            gateway_id: "sim".to_owned(),
            version: "0.0.0",
            uplinks: vec![Uplink {
                name: "cloud".to_owned(),
                topics: vec!["cloud/#".to_owned()],
                rate_max_per_s: setup.rate_max_per_s,
                ttl_ms: setup.ttl_ms,
                ..Uplink::default()
            }],
            when_full: setup.when_full,
            reduce: None,
            commit_window_us: 10_000,
            wear_budget_day_bytes: setup.wear_budget_day_bytes,
            commit_window_max_us: 1_000_000,
            receive_max: 100,
            inflight_max: 20,
            payload_max_bytes: 256 << 10,
            ceiling: Limits::CEILING,
            status_interval_us: 10_000_000,
            ack_flush_us: 500_000,
        };
        let options = Options::for_quota(setup.max_bytes);
        if setup.planted == Some(Planted::SkipSegment) {
            overlook_oldest(storage);
        }
        let functions = guest::load(setup.traps);
        let core = Core::open(config, options, storage.clone(), functions, now, seed)
            .map_err(|e| io::Error::other(e.to_string()))?;
        Ok(Self {
            core,
            storage: storage.clone(),
            syncing: None,
            inbox: VecDeque::new(),
            outside: VecDeque::new(),
            planted: setup.planted,
            held_back: None,
        })
    }

    /// Hands in an input and collects what comes of it. `sync_ms` is how long a sync started now will take.
    pub fn handle(&mut self, now: Now, input: Input, sync_ms: u64) {
        if let (Input::LinkUp { link, .. }, Some(Planted::ReorderOnReconnect)) = (&input, self.planted) {
            self.held_back = (*link == LinkId::uplink(0)).then_some(None);
        }
        self.core.handle(now, input);
        self.drain(now, sync_ms);
    }

    fn drain(&mut self, now: Now, sync_ms: u64) {
        loop {
            while let Some(effect) = self.core.poll() {
                match effect {
                    Effect::Ack { conn, packet_id, .. } => self.outside.push_back(Outside::Ack { conn, packet_id }),
                    Effect::Publish(publish) => self.publish(publish),
                    Effect::Sync(commit) => {
                        assert!(self.syncing.is_none(), "two syncs at once");
                        self.syncing = Some((now.mono_us + sync_ms * 1000, commit.id, commit.file));
                    }
                    Effect::FunctionLog { .. } | Effect::Notice(_) | Effect::Drained => {}
                }
            }
            if !self.core.accepts_messages() {
                return;
            }
            let Some(message) = self.inbox.pop_front() else { return };
            self.core.handle(now, Input::Message(message));
        }
    }

    fn publish(&mut self, publish: Publish) {
        let armed = self.held_back.is_some() && publish.stamp.is_some() && publish.link == LinkId::uplink(0);
        match self.held_back.take_if(|_| armed) {
            Some(None) => self.held_back = Some(Some(publish)),
            Some(Some(first)) => self.outside.extend([Outside::Publish(publish), Outside::Publish(first)]),
            None => self.outside.push_back(Outside::Publish(publish)),
        }
    }

    /// Lets time pass: ends the sync if it is over, and ticks if a deadline passed. `fail` makes the sync fail.
    pub fn step(&mut self, now: Now, sync_ms: u64, fail: bool) {
        if let Some((ends_us, commit, file)) = self.syncing.take() {
            if now.mono_us >= ends_us {
                let result = match self.planted {
                    Some(Planted::AckBeforeSync) => Ok(()),
                    _ if fail => Err(io::Error::other("injected: fdatasync failed")),
                    _ => self.storage.sync_data(&file),
                };
                self.handle(now, Input::Synced { commit, result }, sync_ms);
            } else {
                self.syncing = Some((ends_us, commit, file));
            }
        }
        if self.core.deadline_us().is_some_and(|at| now.mono_us >= at) {
            self.handle(now, Input::Tick, sync_ms);
        }
    }

    /// When something happens here next by itself.
    pub fn next_us(&self) -> u64 {
        let sync = self.syncing.as_ref().map(|(ends_us, ..)| *ends_us);
        [sync, self.core.deadline_us()].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// What the edge has to do.
    pub fn outside(&mut self) -> impl Iterator<Item = Outside> + '_ {
        self.outside.drain(..)
    }
}

/// Removes the oldest segment, as long as there is another one.
fn overlook_oldest(storage: &MemoryStorage) {
    let mut names = storage.file_names();
    names.retain(|name| name.starts_with("segment"));
    if let [oldest, _, ..] = names.as_slice() {
        storage.unlink(oldest).expect("it is there");
    }
}
