//! The thread that runs the core: takes inputs from the links, the disk and the clock, and sees that effects happen.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use eyot_core::io::{Answer, Effect, Input, Job, LinkId, Message, Now};
use eyot_core::Core;
use eyot_spool::Storage;
use flume::{Receiver, Sender};

use crate::journal;
use crate::mqtt;
use crate::mqtt::link::{LinkEvent, PublishAnswer};
use crate::mqtt::queue::{Delivered, MessageReceiver};
use crate::outbox::Outbox;
use crate::store::Store;
use crate::sync::Syncer;
use crate::tasks::Tasks;
use crate::workers::Workers;

/// Inputs taken before effects are looked after.
const BATCH: usize = 64;

/// What the thread is asked to do: 0 for nothing. What is asked once stays asked.
#[derive(Clone, Debug, Default)]
pub struct Orders(Arc<AtomicU8>);

const DRAIN: u8 = 1;
const DIE: u8 = 2;

impl Orders {
    /// Commit what is here, say goodbye, end.
    pub fn drain(&self) {
        self.0.fetch_max(DRAIN, Ordering::Release);
    }

    /// End at once, as if the process had.
    pub fn die(&self) {
        self.0.store(DIE, Ordering::Release);
    }

    fn now(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }
}

/// Where inputs come from.
pub struct Inbox {
    /// Everything but messages.
    pub control: Receiver<(u8, LinkEvent)>,
    /// Messages of the intake.
    pub messages: MessageReceiver,
    /// Messages of uplinks.
    pub down: MessageReceiver,
    /// Who wants the status document.
    pub questions: Receiver<Sender<Vec<u8>>>,
}

impl Inbox {
    /// Whether there is nothing to do but to wait.
    fn is_empty(&self) -> bool {
        self.control.is_empty() && self.messages.is_empty() && self.down.is_empty()
    }
}

/// What is done away from the core's thread, and how.
pub struct Help {
    /// Threads for functions that take long, at most.
    pub workers: usize,
    /// For what is pushed.
    pub store: Store,
}

/// The clock as the core sees it.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at 0.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Both times.
    pub fn now(&self) -> Now {
        Now { mono_us: micros(self.0.elapsed()), unix_ms: unix_ms() }
    }

    /// Both times a little after `looked`, with one look at a clock: that is a part of what a small message costs.
    fn since(&self, looked: Now) -> Now {
        let mono_us = micros(self.0.elapsed());
        let ms = mono_us.saturating_sub(looked.mono_us) / 1000;
        Now { mono_us, unix_ms: looked.unix_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)) }
    }
}

/// Unix time in milliseconds, as the system's clock has it.
pub fn unix_ms() -> i64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(unix.as_millis()).unwrap_or(i64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Runs `core` on this thread until it is told to end. Whoever puts something into `inbox` or changes `orders` unparks
/// the thread.
pub struct Driver<S: Storage> {
    core: Core<S>,
    clock: Clock,
    orders: Orders,
    inbox: Inbox,
    outbox: Outbox,
    syncer: Syncer<S>,
    workers: Workers,
    ran: Receiver<Box<Job>>,
    tasks: Tasks,
    answers: Receiver<Box<Answer>>,
    /// Came down, and must wait: nothing may overtake it.
    waiting_down: Option<Delivered>,
    /// Link and connection of the last message: what happened before the first of a connection is in the other queue.
    last_from: (u8, u64),
    draining: bool,
    drained: bool,
}

impl<S: Storage> Driver<S> {
    /// Starts the thread that syncs files of `storage` for `core`.
    pub fn new(
        core: Core<S>,
        storage: S,
        clock: Clock,
        orders: Orders,
        inbox: Inbox,
        outbox: Outbox,
        help: Help,
    ) -> io::Result<Self> {
        let syncer = Syncer::start(storage)?;
        let (workers, ran) = Workers::new(help.workers, thread::current());
        let (tasks, answers) = Tasks::new(help.store, thread::current());
        Ok(Self {
            core,
            clock,
            orders,
            inbox,
            outbox,
            syncer,
            workers,
            ran,
            tasks,
            answers,
            waiting_down: None,
            last_from: (0, 0),
            draining: false,
            drained: false,
        })
    }

    /// Until drained or dead.
    pub fn run(mut self) {
        while !self.drained {
            match self.orders.now() {
                DIE => return self.end(false),
                DRAIN if !self.draining => {
                    self.draining = true;
                    self.core.handle(self.clock.now(), Input::Drain);
                }
                _ => {}
            }
            let busy = self.take_control() | self.take_messages();
            self.effects();
            for answer in self.inbox.questions.try_iter() {
                // Whoever asked may have gone away.
                let _ = answer.try_send(self.core.status_json());
            }
            if !busy && !self.drained {
                self.rest();
            }
        }
        self.end(true);
    }

    fn end(self, goodbye: bool) {
        if goodbye {
            self.outbox.finish();
        }
        drop(self.core);
        self.workers.end();
        self.tasks.end(goodbye);
        self.syncer.end();
    }

    fn take_control(&mut self) -> bool {
        let mut busy = false;
        while let Some((commit, result)) = self.syncer.try_recv() {
            self.core.handle(self.clock.now(), Input::Synced { commit, result });
            busy = true;
        }
        for _ in 0..self.ran.len() {
            let Ok(job) = self.ran.try_recv() else { break };
            self.core.handle(self.clock.now(), Input::Ran(job));
            busy = true;
        }
        for _ in 0..self.answers.len() {
            let Ok(answer) = self.answers.try_recv() else { break };
            self.core.handle(self.clock.now(), Input::Answer(answer));
            busy = true;
        }
        // Bounded by what the queue holds at most: this must not go on as long as links are busy.
        for _ in 0..self.inbox.control.len() {
            let Ok((link, event)) = self.inbox.control.try_recv() else { break };
            self.take_event(LinkId(link), event);
            busy = true;
        }
        busy
    }

    fn take_event(&mut self, link: LinkId, event: LinkEvent) {
        let now = self.clock.now();
        let input = match event {
            LinkEvent::Published { conn, answers } => {
                for PublishAnswer { token, accepted } in answers {
                    self.core.handle(now, Input::Published { link, conn, token, accepted });
                }
                return;
            }
            LinkEvent::Up { conn, inflight_max, inflight_max_bytes } => {
                Input::LinkUp { link, conn, inflight_max, inflight_max_bytes }
            }
            LinkEvent::Down { conn } => Input::LinkDown { link, conn },
            LinkEvent::Sensor { place, report } => Input::Sensor { place, report },
            LinkEvent::Node { report } => Input::Node { link, report },
            LinkEvent::Dropped { messages } => Input::IntakeDropped { messages },
        };
        self.core.handle(now, input);
    }

    fn take_messages(&mut self) -> bool {
        let looked = self.clock.now();
        let busy = self.take_down(looked);
        for taken in 0..BATCH {
            if !self.core.accepts_messages() {
                return busy || taken > 0;
            }
            let Some(delivered) = self.inbox.messages.try_recv() else { return busy || taken > 0 };
            self.take_message(looked, delivered);
        }
        true
    }

    /// Their queue is their own, and commands are taken from it also while no message is: when it is full, the link is not
    /// read, and what the cloud acknowledges on it is what makes room.
    fn take_down(&mut self, looked: Now) -> bool {
        for taken in 0..BATCH {
            let next = self.waiting_down.take().or_else(|| self.inbox.down.try_recv());
            let Some(delivered) = next else { return taken > 0 };
            if !self.core.accepts(LinkId(delivered.0), &delivered.2.topic) {
                self.waiting_down = Some(delivered);
                return taken > 0;
            }
            self.take_message(looked, delivered);
        }
        true
    }

    fn take_message(&mut self, looked: Now, (link, conn, message): Delivered) {
        if (link, conn) != self.last_from {
            self.last_from = (link, conn);
            self.take_control();
        }
        let mqtt::Message { packet_id, qos, dup, retain: _, topic, payload, wakes, sampled_at } = message;
        let message = Message { conn, packet_id, qos, dup, wakes, topic, payload };
        let age_ms = sampled_at.map(|at| u32::try_from(at.elapsed().as_millis()).unwrap_or(u32::MAX));
        let input = match (LinkId(link), age_ms) {
            (LinkId::INTAKE, _) => Input::Message(message),
            (link, Some(age_ms)) => Input::Reading { link, age_ms, message },
            (link, None) => Input::Down { link, message },
        };
        self.core.handle(self.clock.since(looked), input);
    }

    fn effects(&mut self) {
        let mut to_sync = None;
        loop {
            if !self.core.has_effects() {
                self.outbox.flush();
                // What goes out is on its way meanwhile.
                if let Some(commit) = to_sync.take() {
                    let (commit, result) = self.syncer.sync(&commit);
                    self.core.handle(self.clock.now(), Input::Synced { commit, result });
                }
            }
            let Some(effect) = self.core.poll() else { break };
            match effect {
                Effect::Ack { link, conn, packet_id } => self.outbox.ack(link, conn, packet_id),
                Effect::Publish(publish) => self.outbox.publish(publish),
                Effect::Sync(commit) => {
                    let waits = to_sync.is_none() && self.syncer.is_quick() && self.inbox.is_empty();
                    match waits {
                        true => to_sync = Some(commit),
                        false => self.syncer.give(commit),
                    }
                }
                Effect::Run(job) => {
                    // Without a thread to spare, the core's own will do: it stands still meanwhile.
                    if let Err(job) = self.workers.run(job) {
                        self.core.handle(self.clock.now(), Input::Ran(job));
                    }
                }
                Effect::FunctionLog { function, level, line } => journal::function_log(&function, level, &line),
                Effect::Notice(notice) => journal::notice(&notice),
                Effect::Drained => self.drained = true,
                Effect::Task(task) => self.tasks.give(task),
                Effect::Subscribe(filters) => self.outbox.subscribe(filters),
                Effect::Install { link, module } => self.outbox.install(link, module),
            }
        }
        self.outbox.flush();
    }

    /// Sleeps until something is put into a queue or the core's deadline. An unpark before the sleep ends it at once, so
    /// nothing is missed between looking and sleeping.
    fn rest(&mut self) {
        let now = self.clock.now();
        match self.core.deadline_us().map(|due_us| due_us.saturating_sub(now.mono_us)) {
            Some(0) => self.core.handle(now, Input::Tick),
            Some(left_us) => thread::park_timeout(Duration::from_micros(left_us)),
            None => thread::park(),
        }
    }
}
