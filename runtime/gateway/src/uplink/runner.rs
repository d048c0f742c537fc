//! Keeps a [`Store`] up, and moves batches into it and answers back.
//!
//! A batch that could not be stored stays here until it is: the core is told that the link is down, so that it keeps the
//! rest in its log, and when the batch has arrived at last the link comes up and the core goes on behind it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flume::TrySendError;
use tokio::sync::mpsc::Receiver;
use tracing::{debug, info, warn};

use super::batch::{Gather, Limits, Record};
use super::work::{Memory, Work};
use super::{Failure, Retry, Store, Verdict};
use crate::mqtt::link::{while_away, Command, Events, LinkEvent, PublishAnswer};
use crate::mqtt::{backoff, Publish};

/// Longest wait after a failure that takes a person to mend; the shortest is half of it.
pub const SLOW_RETRY_MS: u64 = 30_000;
/// Shortest time between two lines about refused records.
const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(60);

/// An uplink before it runs.
pub struct Uplink {
    /// What it is called in logs.
    pub name: String,
    /// Number given with each event.
    pub id: u8,
    /// Where batches go.
    pub store: Store,
    /// When a batch is complete.
    pub limits: Limits,
    /// Where events go.
    pub events: Events,
    /// Where commands come from.
    pub commands: Receiver<Command>,
    /// Set to make it start anew.
    pub reset: Arc<AtomicBool>,
    /// For the jitter between attempts.
    pub seed: u64,
}

/// Why the work stops.
enum Stop {
    /// [`Command::Finish`], or nobody is left to talk to. What is not answered is sent again after the next start.
    Finished,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The core's side.
struct Port {
    name: String,
    id: u8,
    limits: Limits,
    events: Events,
    commands: Receiver<Command>,
    reset: Arc<AtomicBool>,
}

/// The other side: the batch on its way outlives what fails under it.
struct Delivery {
    name: String,
    store: Store,
    work: Option<Work>,
    state: State,
    refusal_told: Option<Instant>,
}

/// What is known of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It failed, or was not tried.
    Away,
    /// It can be reached; whether it stores anything is to be seen.
    Ready,
    /// It stored something since.
    Stores,
}

impl Uplink {
    /// Runs until [`Command::Finish`], or until the other ends of its queues are gone.
    pub async fn run(self) {
        let Self { name, id, store, limits, events, commands, reset, seed } = self;
        let mut delivery = Delivery { name: name.clone(), store, work: None, state: State::Away, refusal_told: None };
        let mut port = Port { name, id, limits, events, commands, reset };
        let (mut memory, mut jitter) = (Memory::default(), fastrand::Rng::with_seed(seed));
        let (mut conn, mut attempt, mut told) = (0, 0, String::new());
        loop {
            let failure = match while_away(&mut port.commands, delivery.catch_up(&mut memory)).await {
                None => return,
                Some(Err(failure)) => failure,
                Some(Ok(())) => {
                    delivery.say_up();
                    (conn, attempt) = (conn + 1, 0);
                    told.clear();
                    let Stop::Failed(failure) = port.serve(conn, &mut delivery, &mut memory).await else { return };
                    if port.tell(LinkEvent::Down { conn }).await.is_err() {
                        return;
                    }
                    failure
                }
            };
            delivery.state = State::Away;
            let Failure { reason, detail, retry } = failure;
            let detail = (!detail.is_empty()).then_some(detail);
            // One line per episode: as long as it fails in the same way, the first line stands.
            if told == reason {
                debug!(link = port.name, attempt, %reason, detail, "still not delivered");
            } else {
                warn!(link = port.name, %reason, detail, "not delivered; trying again until it is");
                told = reason;
            }
            let wait = wait(retry, attempt, jitter.u64(..));
            attempt = attempt.saturating_add(1);
            if while_away(&mut port.commands, tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }
}

fn wait(retry: Retry, attempt: u32, random: u64) -> Duration {
    let soon = backoff::wait(attempt, random);
    match retry {
        Retry::Soon => soon,
        // Not before the time named, and not all gateways at that time.
        Retry::After(least) => least + soon,
        Retry::Slowly => Duration::from_millis(SLOW_RETRY_MS / 2 + random % (SLOW_RETRY_MS / 2)),
    }
}

impl Delivery {
    /// Said once for each time it is reached.
    fn say_up(&mut self) {
        let address = self.store.address();
        if self.store.proves_itself() || self.state == State::Stores {
            info!(link = self.name, address, "connected");
        } else {
            info!(link = self.name, address, "ready; the first batch will show whether it is accepted");
            self.state = State::Ready;
        }
    }

    /// Reaches the store and stores what was left unstored.
    async fn catch_up(&mut self, memory: &mut Memory) -> Result<(), Failure> {
        self.store.open().await?;
        self.settle().await?;
        if let Some(work) = self.work.take() {
            memory.keep(&work);
        }
        Ok(())
    }

    /// Stores the batch on its way, as far as it goes. Cancelling it loses nothing.
    async fn settle(&mut self) -> Result<(), Failure> {
        let Some(work) = &mut self.work else { return Ok(()) };
        while let Some(part) = work.part() {
            let verdict = self.store.put(&part).await?;
            let found = work.answered(&verdict);
            if verdict == Verdict::Stored && std::mem::replace(&mut self.state, State::Stores) == State::Ready {
                info!(link = self.name, address = self.store.address(), "connected");
            }
            let silent = self.refusal_told.is_some_and(|at| at.elapsed() < REFUSALS_TOLD_EVERY);
            if let (true, false, Verdict::Refused(reason)) = (found, silent, &verdict) {
                let (stamp, _) = part.span();
                let topic = part.records().first().map(|r| String::from_utf8_lossy(&r.topic).into_owned());
                warn!(link = self.name, %reason, seq = stamp.seq, topic, "refused for good; it is counted as dropped");
                self.refusal_told = Some(Instant::now());
            }
        }
        Ok(())
    }
}

impl Port {
    /// Moves batches until something fails.
    async fn serve(&mut self, conn: u64, delivery: &mut Delivery, memory: &mut Memory) -> Stop {
        self.reset.store(false, Ordering::Relaxed);
        let mut gather = Gather::new(self.limits);
        let (inflight_max, inflight_max_bytes) = (self.limits.window(), self.limits.window_bytes());
        match self.tell(LinkEvent::Up { conn, inflight_max, inflight_max_bytes }).await {
            Ok(()) => self.batches(conn, delivery, memory, &mut gather).await.err().unwrap_or(Stop::Finished),
            Err(stop) => stop,
        }
    }

    async fn batches(
        &mut self,
        conn: u64,
        delivery: &mut Delivery,
        memory: &mut Memory,
        gather: &mut Gather,
    ) -> Result<(), Stop> {
        loop {
            delivery.work = Some(Work::new(self.batch(conn, &mut delivery.store, memory, gather).await?));
            {
                let settled = delivery.settle();
                tokio::pin!(settled);
                loop {
                    tokio::select! {
                        biased;
                        result = &mut settled => break result?,
                        command = self.commands.recv() => self.obey(conn, command, memory, gather).await?,
                    }
                }
            }
            if let Some(work) = delivery.work.take() {
                memory.keep(&work);
                let answer = |(record, accepted): (&Record, bool)| PublishAnswer { token: record.token, accepted };
                let answers = work.answers().map(answer).collect();
                self.tell(LinkEvent::Published { conn, answers }).await?;
            }
        }
    }

    /// Gathers the next batch.
    async fn batch(
        &mut self,
        conn: u64,
        store: &mut Store,
        memory: &Memory,
        gather: &mut Gather,
    ) -> Result<Vec<Record>, Stop> {
        loop {
            let now = Instant::now();
            if let Some(batch) = gather.take(now) {
                return Ok(batch);
            }
            if store.due().is_some_and(|due| due <= now) {
                store.tick().await?;
            }
            let due = gather.due().into_iter().chain(store.due()).min();
            tokio::select! {
                biased;
                command = self.commands.recv() => self.obey(conn, command, memory, gather).await?,
                () = sleep_until(due), if due.is_some() => {}
            }
        }
    }

    async fn obey(
        &self,
        conn: u64,
        command: Option<Command>,
        memory: &Memory,
        gather: &mut Gather,
    ) -> Result<(), Stop> {
        if self.reset.swap(false, Ordering::Relaxed) {
            return Err(Failure::soon("more commands than its queue holds").into());
        }
        let commands = match command {
            Some(Command::Finish) | None => return Err(Stop::Finished),
            Some(Command::Batch(commands)) => commands,
            Some(command) => vec![command],
        };
        let mut known = Vec::new();
        for command in commands {
            let Command::Publish { conn: meant, publish } = command else { continue };
            let Publish { token, topic, payload, stamp, received_at_ms, .. } = publish;
            let Some(stamp) = stamp.filter(|_| meant == conn) else { continue };
            if let Some(accepted) = memory.answer(stamp) {
                known.push(PublishAnswer { token, accepted });
            } else if !gather.push(Instant::now(), Record { token, stamp, topic, payload, received_at_ms }) {
                return Err(Failure::soon("more outputs than its window allows").into());
            }
        }
        if known.is_empty() {
            return Ok(());
        }
        self.tell(LinkEvent::Published { conn, answers: known }).await
    }

    async fn tell(&self, event: LinkEvent) -> Result<(), Stop> {
        match self.events.control.try_send((self.id, event)) {
            Ok(()) => {}
            Err(TrySendError::Full(event)) => {
                (self.events.wake)();
                self.events.control.send_async(event).await.map_err(|_| Stop::Finished)?;
            }
            Err(TrySendError::Disconnected(_)) => return Err(Stop::Finished),
        }
        (self.events.wake)();
        Ok(())
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_time_is_a_lower_bound_and_mistakes_are_retried_seldom() {
        for random in [0, 7_919, u64::MAX] {
            let after = wait(Retry::After(Duration::from_secs(60)), 3, random);
            assert!((60_000..=60_800).contains(&after.as_millis()), "{after:?}");
            let slow = wait(Retry::Slowly, 0, random);
            assert!((15_000..30_000).contains(&slow.as_millis()), "{slow:?}");
            assert!(wait(Retry::Soon, 0, random) <= Duration::from_millis(100));
        }
    }
}
