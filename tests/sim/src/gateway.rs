//! The state machine on a simulated machine: memory storage, syncs that take time, an edge that does what it is told.

use std::collections::VecDeque;
use std::io;

use eyot_core::config::{Config, Reduce};
use eyot_core::io::{ConnId, Effect, Input, Job, LinkId, Message, Notice, Now, Publish};
use eyot_core::{Core, Loaded};
use eyot_spool::memory::MemoryStorage;
use eyot_spool::{Options, Storage};
use eyot_wire::manifest::Limits;

use crate::guest::{self, REDUCER};
use crate::planted::{overlook_oldest, Planted};
use crate::scenario::Scenario;

/// Most instances of the function.
const WORKERS: usize = 3;
/// What a job takes, from none to this.
const JOB_MAX_US: u64 = 300_000;

type File = <MemoryStorage as Storage>::File;

/// What an edge would do outside of the machine, and what the checks want to know.
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
    /// The machine took this message in.
    Taken(Message),
    /// The machine tells this.
    Notice(Notice),
}

/// A running gateway.
pub struct Gateway {
    /// The real thing.
    pub core: Core<MemoryStorage>,
    /// Version of the function that is active.
    pub version: u8,
    /// It has said that all is committed.
    pub drained: bool,
    storage: MemoryStorage,
    /// Sync under way: when it ends, and of what.
    syncing: Option<(u64, u64, File)>,
    /// Jobs on workers: when each comes back.
    jobs: Vec<(u64, Box<Job>)>,
    rng: fastrand::Rng,
    /// The edge's queue of messages the machine does not accept yet.
    pub inbox: VecDeque<Message>,
    outside: VecDeque<Outside>,
    planted: Option<Planted>,
    /// For [`Planted::ReorderOnReconnect`]: armed by a connection, and then the output that is to come second.
    held_back: Option<Option<Publish>>,
    /// For [`Planted::Overtake`].
    overtaken: Option<Message>,
    /// For [`Planted::AckUnseen`]: messages of this connection that the machine took in and has not acknowledged.
    unanswered: usize,
}

impl Gateway {
    /// Switches it on with a version of the function. `storage` is what the last life left.
    pub fn boot(scenario: &Scenario, version: u8, storage: &MemoryStorage, now: Now, seed: u64) -> io::Result<Self> {
        let setup = &scenario.setup;
        let mut config = Config {
            gateway_id: "sim".to_owned(),
            version: "0.0.0",
            uplinks: setup.uplinks(),
            when_full: setup.when_full,
            reduce: setup.reduce_at_percent.map(|at_percent| Reduce { at_percent, function: REDUCER.to_owned() }),
            commit_window_us: 10_000,
            wear_budget_day_bytes: setup.wear_budget_day_bytes,
            commit_window_max_us: 1_000_000,
            receive_max: 100,
            inflight_max: 20,
            payload_max_bytes: 256 << 10,
            workers: WORKERS,
            ceiling: Limits::CEILING,
            status_interval_us: 60_000_000,
            ack_flush_us: 500_000,
            ..Config::default()
        };
        let mut options = Options::for_quota(setup.max_bytes);
        if let Some(planted) = scenario.planted {
            planted.misconfigure(&mut config, &mut options);
        }
        if scenario.planted == Some(Planted::SkipSegment) {
            overlook_oldest(storage);
        }
        let core = Core::open(config, options, storage.clone(), functions(scenario, version), now, seed)
            .map_err(|e| io::Error::other(e.to_string()))?;
        Ok(Self {
            core,
            version,
            drained: false,
            storage: storage.clone(),
            syncing: None,
            jobs: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            inbox: VecDeque::new(),
            outside: VecDeque::new(),
            planted: scenario.planted,
            held_back: None,
            overtaken: None,
            unanswered: 0,
        })
    }

    /// Hands in an input and collects what comes of it. `sync_ms` is how long a sync started now will take.
    pub fn handle(&mut self, now: Now, input: Input, sync_ms: u64) {
        if let (Input::LinkUp { link, .. }, Some(Planted::ReorderOnReconnect)) = (&input, self.planted) {
            self.held_back = (*link == LinkId::uplink(0)).then_some(None);
        }
        if let Input::LinkUp { link: LinkId::INTAKE, .. } = input {
            self.unanswered = 0;
        }
        self.hand_in(now, input);
        self.drain(now, sync_ms);
    }

    /// Hands in what waits in the inbox, if the machine accepts it.
    pub fn take_in(&mut self, now: Now, sync_ms: u64) {
        self.drain(now, sync_ms);
    }

    fn hand_in(&mut self, now: Now, input: Input) {
        if let Input::Message(message) = &input {
            self.unanswered += usize::from(message.qos > 0);
            self.outside.push_back(Outside::Taken(message.clone()));
        }
        self.core.handle(now, input);
        let ledger = self.core.ledger();
        assert!(ledger.is_balanced(), "the ledger does not balance: {ledger:?}");
    }

    fn drain(&mut self, now: Now, sync_ms: u64) {
        loop {
            while let Some(effect) = self.core.poll() {
                match effect {
                    Effect::Ack { conn, packet_id, .. } => {
                        self.unanswered = self.unanswered.saturating_sub(1);
                        self.outside.push_back(Outside::Ack { conn, packet_id });
                    }
                    Effect::Publish(publish) => self.publish(publish),
                    Effect::Sync(commit) => {
                        assert!(self.syncing.is_none(), "two syncs at once");
                        self.syncing = Some((now.mono_us + sync_ms * 1000, commit.id, commit.file));
                    }
                    Effect::Run(job) => {
                        let takes_us = self.rng.u64(0..JOB_MAX_US) >> self.rng.u32(0..9);
                        self.jobs.push((now.mono_us + takes_us, job));
                    }
                    Effect::Drained => self.drained = true,
                    Effect::Task(_) | Effect::Subscribe(_) => {}
                    Effect::Notice(notice) => self.outside.push_back(Outside::Notice(notice)),
                    Effect::FunctionLog { .. } => {}
                }
            }
            let accepts = self.core.accepts_messages();
            // In their turn, or the broker is the one that finds it.
            if !accepts && self.unanswered == 0 && self.planted == Some(Planted::AckUnseen) {
                let unseen = self.inbox.drain(..).filter(|message| message.qos > 0);
                self.outside.extend(unseen.map(|m| Outside::Ack { conn: m.conn, packet_id: m.packet_id }));
            }
            let Some(mut message) = self.inbox.front().filter(|_| accepts).cloned() else { return };
            self.inbox.pop_front();
            if self.planted == Some(Planted::Overtake) && self.core.in_flight() > 0 {
                self.overtake(&mut message);
            }
            self.hand_in(now, Input::Message(message));
        }
    }

    /// The message takes the place of the last one, if it is of the same topic, and waits for the next one to do the same.
    fn overtake(&mut self, message: &mut Message) {
        let waiting = self.overtaken.get_or_insert_with(|| message.clone());
        if waiting.topic == message.topic && waiting.conn == message.conn {
            std::mem::swap(&mut waiting.payload, &mut message.payload);
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
        if let Some((_, commit, file)) = self.syncing.take_if(|(ends_us, ..)| now.mono_us >= *ends_us) {
            let result = match self.planted {
                Some(Planted::AckBeforeSync) => Ok(()),
                _ if fail => Err(io::Error::other("injected: fdatasync failed")),
                _ => self.storage.sync_data(&file),
            };
            self.handle(now, Input::Synced { commit, result }, sync_ms);
        }
        while let Some(index) = self.jobs.iter().position(|(ends_us, _)| now.mono_us >= *ends_us) {
            let (_, mut job) = self.jobs.swap_remove(index);
            while !job.step() {}
            self.handle(now, Input::Ran(job), sync_ms);
        }
        if self.core.deadline_us().is_some_and(|at| now.mono_us >= at) {
            self.handle(now, Input::Tick, sync_ms);
        }
    }

    /// When something happens here next by itself.
    pub fn next_us(&self) -> u64 {
        let sync = self.syncing.as_ref().map(|(ends_us, ..)| *ends_us);
        let job = self.jobs.iter().map(|(ends_us, _)| *ends_us).min();
        [sync, job, self.core.deadline_us()].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// What the edge has to do.
    pub fn outside(&mut self) -> VecDeque<Outside> {
        std::mem::take(&mut self.outside)
    }
}

fn functions(scenario: &Scenario, version: u8) -> Vec<Loaded> {
    let (failing, long) = (scenario.setup.failing, scenario.setup.long);
    let mut functions = vec![guest::load("pass", version, failing, long)];
    functions.extend(scenario.setup.reduce_at_percent.map(|_| guest::reducer()));
    if scenario.planted == Some(Planted::MixVersions) && version > 1 {
        functions.push(guest::load("pass-old", version - 1, failing, long));
    }
    functions
}
