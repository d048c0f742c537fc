//! The state machine on a simulated machine: memory storage, syncs that take time, an edge that does what it is told.

use std::collections::VecDeque;
use std::io;

use eyot_core::config::{Config, Reduce};
use eyot_core::io::{ConnId, Effect, Input, Job, LinkId, Message, Notice, Now, Publish, Task};
use eyot_core::{Core, Loaded};
use eyot_spool::memory::MemoryStorage;
use eyot_spool::{Options, Storage};
use eyot_wire::manifest::Limits;

use crate::faults::strikes;
use crate::guest::{self, Build, REDUCER};
use crate::planted::{overlook_oldest, Planted};
use crate::scenario::Scenario;
use crate::shelf::Shelf;
use crate::tally::Met;

/// Most instances of the function.
const WORKERS: usize = 3;
/// What a job takes, from none to this.
const JOB_MAX_US: u64 = 300_000;
/// What a task of the store takes, from none to this.
const TASK_MAX_US: u64 = 100_000;
/// What a log may take beside what it was opened with, if that is more than its quota: two segments for notes, each with a
/// checkpoint, of which one replaces the other.
const NOTES_MAX_BYTES: u64 = 2 * (12 << 10);
/// The store fails so often where the disk does.
const SHELF_ERROR_PPM: u32 = 20_000;

type File = <MemoryStorage as Storage>::File;

/// What an edge would do outside of the machine, and what the checks want to know.
#[derive(Debug)]
pub enum Outside {
    /// Acknowledge to the local broker.
    Ack {
        /// Or to the broker at the other end of this link.
        link: LinkId,
        /// On this connection only.
        conn: ConnId,
        /// This message.
        packet_id: u16,
    },
    /// Send on a delivery link.
    Publish(Publish),
    /// The machine took this message in.
    Taken(Message),
    /// The machine took a message from the cloud in.
    TakenDown,
    /// The machine tells this.
    Notice(Notice),
}

/// A running gateway.
pub struct Gateway {
    /// The real thing.
    pub core: Core<MemoryStorage>,
    /// It has said that all is committed.
    pub drained: bool,
    storage: MemoryStorage,
    /// Sync under way: when it ends, and of what.
    syncing: Option<(u64, u64, File)>,
    /// Jobs on workers: when each comes back.
    jobs: Vec<(u64, Box<Job>)>,
    shelf: Shelf,
    /// Tasks for the store, one after the other, and when the first is done.
    tasks: VecDeque<Box<Task>>,
    task_ends_us: u64,
    shelf_fails: bool,
    /// Most bytes the log may take: it may have had a larger quota, and is as large as that still.
    pub max_bytes: u64,
    quota_bytes: u64,
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
    /// What befell it in this life.
    pub met: Met,
}

impl Gateway {
    /// Switches it on with a version of the function in its configuration file, and this quota. `storage` and `shelf` are
    /// what the last life left.
    pub fn boot(
        scenario: &Scenario,
        (version, quota_bytes): (u8, u64),
        storage: &MemoryStorage,
        shelf: &Shelf,
        now: Now,
        seed: u64,
    ) -> io::Result<Self> {
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
        let mut options = Options::for_quota(quota_bytes);
        if let Some(planted) = scenario.planted {
            planted.misconfigure(&mut config, &mut options);
        }
        if scenario.planted == Some(Planted::SkipSegment) {
            overlook_oldest(storage);
        }
        let functions = functions(scenario, version, shelf);
        let mut core = Core::open(config, options, storage.clone(), functions, now, seed)
            .map_err(|e| io::Error::other(e.to_string()))?;
        if scenario.planted != Some(Planted::ForgetPushes) {
            core.restore(&mut shelf.clone());
        }
        let opened_bytes = core.spool().usage().bytes + if setup.resizes { NOTES_MAX_BYTES } else { 0 };
        Ok(Self {
            core,
            shelf: shelf.clone(),
            tasks: VecDeque::new(),
            task_ends_us: u64::MAX,
            shelf_fails: scenario.faults.disk_error_mean_ms > 0,
            max_bytes: quota_bytes.max(opened_bytes),
            quota_bytes,
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
            met: Met::default(),
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

    /// Hands in a message that came down from the cloud; false if the machine accepts none.
    pub fn bring_down(&mut self, now: Now, link: LinkId, message: &Message, sync_ms: u64) -> bool {
        let accepts = self.core.accepts_messages();
        if accepts {
            self.outside.push_back(Outside::TakenDown);
            self.handle(now, Input::Down { link, message: message.clone() }, sync_ms);
        }
        accepts
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
                    Effect::Ack { link, conn, packet_id } => {
                        self.unanswered = self.unanswered.saturating_sub(usize::from(link == LinkId::INTAKE));
                        self.outside.push_back(Outside::Ack { link, conn, packet_id });
                    }
                    Effect::Publish(publish) => self.publish(publish),
                    Effect::Sync(commit) => {
                        assert!(self.syncing.is_none(), "two syncs at once");
                        self.syncing = Some((now.mono_us + sync_ms * 1000, commit.id, commit.file));
                    }
                    Effect::Run(job) => {
                        let takes_us = self.rng.u64(0..JOB_MAX_US) >> self.rng.u32(0..9);
                        self.met.add("long", u64::from(!job.is_shadow()));
                        self.jobs.push((now.mono_us + takes_us, job));
                    }
                    Effect::Drained => self.drained = true,
                    Effect::Task(task) => {
                        if self.tasks.is_empty() {
                            self.task_ends_us = now.mono_us + self.rng.u64(0..TASK_MAX_US);
                        }
                        self.tasks.push_back(task);
                    }
                    Effect::Subscribe(_) => {}
                    // There are no nodes.
                    Effect::Install { .. } => {}
                    Effect::Notice(mut notice) => {
                        if let (Some(planted), Notice::OnTrial { state, .. }) = (self.planted, &mut notice) {
                            *state = planted.word_for(state);
                        }
                        self.outside.push_back(Outside::Notice(notice));
                    }
                    Effect::FunctionLog { .. } => {}
                }
            }
            let accepts = self.core.accepts_messages();
            // In their turn, or the broker is the one that finds it.
            if !accepts && self.unanswered == 0 && self.planted == Some(Planted::AckUnseen) {
                let unseen = self.inbox.drain(..).filter(|message| message.qos > 0);
                self.outside.extend(unseen.map(|m| Outside::Ack {
                    link: LinkId::INTAKE,
                    conn: m.conn,
                    packet_id: m.packet_id,
                }));
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
            self.met.add("sync-error", u64::from(fail));
            self.handle(now, Input::Synced { commit, result }, sync_ms);
        }
        while let Some(index) = self.jobs.iter().position(|(ends_us, _)| now.mono_us >= *ends_us) {
            let (_, mut job) = self.jobs.swap_remove(index);
            while !job.step() {}
            self.handle(now, Input::Ran(job), sync_ms);
        }
        while now.mono_us >= self.task_ends_us {
            self.do_task(now, sync_ms);
        }
        if self.core.deadline_us().is_some_and(|at| now.mono_us >= at) {
            self.handle(now, Input::Tick, sync_ms);
        }
        if self.max_bytes > self.quota_bytes {
            let is_small = self.core.spool().usage().bytes <= self.quota_bytes - self.quota_bytes / 16;
            self.max_bytes = if is_small { self.quota_bytes } else { self.max_bytes };
        }
    }

    /// The first task is done.
    fn do_task(&mut self, now: Now, sync_ms: u64) {
        self.task_ends_us = u64::MAX;
        let Some(task) = self.tasks.pop_front() else { return };
        if !self.tasks.is_empty() {
            self.task_ends_us = now.mono_us + 1 + self.rng.u64(0..TASK_MAX_US);
        }
        let fails = self.shelf_fails && strikes(&mut self.rng, SHELF_ERROR_PPM);
        if let Some(answer) = self.shelf.work(*task, fails) {
            self.handle(now, Input::Answer(Box::new(answer)), sync_ms);
        }
    }

    /// Its life ends: the task under way is done, or it is not; nobody hears of it.
    pub fn end(&mut self) {
        if let Some(task) = self.tasks.pop_front().filter(|_| self.rng.bool()) {
            self.shelf.work(*task, false);
        }
    }

    /// When something happens here next by itself.
    pub fn next_us(&self) -> u64 {
        let sync = self.syncing.as_ref().map(|(ends_us, ..)| *ends_us);
        let job = self.jobs.iter().map(|(ends_us, _)| *ends_us).min();
        let all = [sync, job, self.core.deadline_us(), Some(self.task_ends_us)];
        all.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// What the edge has to do.
    pub fn outside(&mut self) -> VecDeque<Outside> {
        std::mem::take(&mut self.outside)
    }
}

fn functions(scenario: &Scenario, version: u8, shelf: &Shelf) -> Vec<Loaded> {
    let build = Build::new(version, &scenario.setup);
    let module = build.module();
    let mut functions = vec![guest::load(&module, &Vec::new())];
    shelf.configure(module);
    let keeps = scenario.planted != Some(Planted::ReduceTooMuch);
    functions.extend(scenario.setup.reduce_at_percent.map(|_| guest::reducer(keeps)));
    if scenario.planted == Some(Planted::MixVersions) && version > 1 {
        let old = Build::new(version - 1, &scenario.setup).called("pass-old");
        functions.push(guest::load(&old.module(), &Vec::new()));
    }
    functions
}
