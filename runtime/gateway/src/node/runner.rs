//! Keeps the line to a node up, and moves readings, acknowledgements and reports across it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_wire::link::SILENCE_MAX_MS;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::allowance::Allowance;
use super::peer::{Event, Peer, Wanted};
use super::port::Port;
use super::Module;
use crate::driver::unix_ms;
use crate::journal;
use crate::mqtt::link::{while_away, Command, Events, LinkEvent};
use crate::mqtt::transport::Io;
use crate::mqtt::{backoff, Message};

/// How often a node that is there hears of us, and one that is not is asked for.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// Bytes read at once.
const READ_BYTES: usize = 4096;
/// A serial port takes at once what fits its buffer; a line on which nothing moves for so long is broken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A node's link, before it runs.
pub struct Runner {
    /// The node's id.
    pub name: String,
    /// Number given with each event.
    pub id: u8,
    /// Where the node is.
    pub port: Port,
    /// What is known of it.
    pub peer: Peer,
    /// Where events go.
    pub events: Events,
    /// Where commands come from.
    pub commands: Receiver<Command>,
    /// What the node is to run, once that is told.
    pub wanted: watch::Receiver<Option<Wanted>>,
    /// The program it is to have, when there is another.
    pub program: watch::Receiver<Option<Module>>,
    /// Set to make it start its connection anew.
    pub reset: Arc<AtomicBool>,
    /// For sessions, and the jitter between attempts.
    pub seed: u64,
}

/// Why the work on a line stops.
enum Stop {
    /// [`Command::Finish`], or nobody is left to talk to.
    Finished,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// What belongs to all connections.
struct State {
    random: fastrand::Rng,
    /// Grows with each connection, and each start of the node.
    conn: u64,
    /// The core knows of the connection.
    told_up: bool,
    heard: Instant,
    allowance: Allowance,
}

impl Runner {
    /// Runs until [`Command::Finish`], or until the other ends of its queues are gone.
    pub async fn run(mut self) {
        let random = fastrand::Rng::with_seed(self.seed);
        let now = Instant::now();
        let mut state = State { random, conn: 0, told_up: false, heard: now, allowance: Allowance::new(now) };
        let (mut attempt, mut told) = (0, String::new());
        loop {
            let started = Instant::now();
            let Stop::Failed(error) = self.attempt(&mut state, &mut told).await else { return };
            self.peer.disconnected();
            if state.told_up {
                info!(node = self.name, "the node is away");
                if self.report().await.is_err() || self.down(&mut state).await.is_err() {
                    return;
                }
            }
            if started.elapsed() >= Duration::from_millis(backoff::BACKOFF_RESET_AFTER_MS) {
                attempt = 0;
            }
            let (reason, port) = (error.to_string(), &self.port);
            // One line per episode: as long as it fails in the same way, the first line stands.
            if told == reason {
                debug!(node = self.name, attempt, %reason, "still no line to the node");
            } else {
                warn!(node = self.name, %port, %reason, "no line to the node; trying again until there is. Check its cable and its port in [[node]]");
                told = reason;
            }
            let wait = backoff::wait(attempt, state.random.u64(..));
            attempt = attempt.saturating_add(1);
            if while_away(&mut self.commands, tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    async fn attempt(&mut self, state: &mut State, told: &mut String) -> Stop {
        let io = match while_away(&mut self.commands, self.port.open()).await {
            Some(Ok(io)) => io,
            Some(Err(error)) => return error.into(),
            None => return Stop::Finished,
        };
        debug!(node = self.name, port = %self.port, "the line is open");
        self.reset.store(false, Ordering::Relaxed);
        self.peer.connected();
        self.is_to_run();
        state.heard = Instant::now();
        match self.serve(io, state, told).await {
            Ok(never) => match never {},
            Err(stop) => stop,
        }
    }

    async fn serve(&mut self, io: Box<dyn Io>, state: &mut State, told: &mut String) -> Result<Never, Stop> {
        let (mut reader, mut writer) = tokio::io::split(io);
        let mut beat = tokio::time::interval(BEAT_EVERY);
        let mut buffer = vec![0; READ_BYTES];
        let mut pause: Option<Instant> = None;
        loop {
            self.send(&mut writer).await?;
            if self.reset.swap(false, Ordering::Relaxed) {
                return Err(io::Error::other("more commands than its queue holds").into());
            }
            tokio::select! {
                command = self.commands.recv() => self.obey(command, state)?,
                () = tokio::time::sleep_until(pause.unwrap_or(state.heard).into()), if pause.is_some() => pause = None,
                read = read(&mut reader, &mut buffer), if pause.is_none() => {
                    let len = read?;
                    pause = state.allowance.read(Instant::now(), len);
                    self.hear(buffer.get(..len).unwrap_or_default(), state, told).await?;
                }
                Ok(()) = self.wanted.changed() => {
                    self.is_to_run();
                    self.report().await?;
                }
                Ok(()) = self.program.changed() => {
                    self.renew();
                    self.report().await?;
                }
                _ = beat.tick() => {
                    if state.heard.elapsed() > Duration::from_millis(u64::from(SILENCE_MAX_MS)) {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "the node is silent").into());
                    }
                    match self.peer.is_up() {
                        true => self.peer.beat(unix_ms()),
                        false => self.peer.ask(),
                    }
                    self.peer.install();
                    self.catch_up(state).await?;
                }
            }
        }
    }

    /// What there was no time for when it came.
    async fn catch_up(&mut self, state: &mut State) -> Result<(), Stop> {
        let lines = state.allowance.take_dropped_log_lines();
        if lines > 0 {
            warn!(node = self.name, lines, "the node logs more than is passed on; these lines were dropped");
        }
        match state.allowance.take_owed_report() {
            true => self.report().await,
            false => Ok(()),
        }
    }

    fn is_to_run(&mut self) {
        if let Some(wanted) = self.wanted.borrow_and_update().clone() {
            self.peer.run(wanted);
        }
    }

    fn renew(&mut self) {
        if let Some(program) = self.program.borrow_and_update().clone() {
            self.peer.renew(Some(program));
        }
    }

    async fn send(&mut self, writer: &mut WriteHalf<Box<dyn Io>>) -> Result<(), Stop> {
        let out = self.peer.out();
        if !out.is_empty() {
            let written = tokio::time::timeout(WRITE_TIMEOUT, writer.write_all(out)).await;
            written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the line takes nothing"))??;
            out.clear();
        }
        Ok(())
    }

    /// Acknowledgements that came together are said together.
    fn obey(&mut self, command: Option<Command>, state: &State) -> Result<(), Stop> {
        let mut commands = match command {
            Some(Command::Batch(commands)) => commands,
            Some(command) => vec![command],
            None => return Err(Stop::Finished),
        };
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Batch(more) => commands.extend(more),
                command => commands.push(command),
            }
        }
        for command in commands {
            match command {
                Command::Ack { conn, packet_ids } if conn == state.conn => {
                    packet_ids.into_iter().for_each(|packet_id| self.peer.acknowledge(packet_id));
                }
                Command::Finish => return Err(Stop::Finished),
                _ => {}
            }
        }
        self.peer.beat(unix_ms());
        Ok(())
    }

    async fn hear(&mut self, mut bytes: &[u8], state: &mut State, told: &mut String) -> Result<(), Stop> {
        while !bytes.is_empty() {
            let fresh = state.random.u32(1..);
            let Some(event) = self.peer.hear(&mut bytes, unix_ms(), fresh) else { break };
            let now = Instant::now();
            state.heard = now;
            if matches!(event, Event::Up | Event::Again) && !state.allowance.greeting(now) {
                return Err(io::Error::other("the node says who it is again and again").into());
            }
            match event {
                Event::Again => {}
                Event::Log { level, text } => {
                    if state.allowance.log_line(now) {
                        journal::node_log(&self.name, level, &text);
                    }
                }
                Event::Report if !state.allowance.report(now) => {}
                Event::Up => {
                    told.clear();
                    self.down(state).await?;
                    (state.conn, state.told_up) = (state.conn + 1, true);
                    let up = LinkEvent::Up { conn: state.conn, inflight_max: 1, inflight_max_bytes: 1 };
                    self.tell(up).await?;
                    self.report().await?;
                }
                Event::Report => self.report().await?,
                Event::Reading { seq, age_ms, topic, payload } => {
                    let packet_id = seq as u16;
                    let sampled_at = now.checked_sub(Duration::from_millis(u64::from(age_ms))).or(Some(now));
                    let message = Message {
                        packet_id,
                        qos: 1,
                        dup: false,
                        retain: false,
                        topic,
                        payload,
                        wakes: None,
                        sampled_at,
                    };
                    // Without room it is not taken, and comes again.
                    let queue = &self.events.messages;
                    if queue.take_room(&message).is_ok() && queue.send(self.id, state.conn, vec![message]) {
                        self.peer.taken(seq);
                        (self.events.wake)();
                    }
                }
            }
        }
        Ok(())
    }

    async fn down(&mut self, state: &mut State) -> Result<(), Stop> {
        match std::mem::take(&mut state.told_up) {
            true => self.tell(LinkEvent::Down { conn: state.conn }).await,
            false => Ok(()),
        }
    }

    async fn report(&mut self) -> Result<(), Stop> {
        let report = Box::new(self.peer.report().clone());
        self.tell(LinkEvent::Node { report }).await
    }

    async fn tell(&mut self, event: LinkEvent) -> Result<(), Stop> {
        self.events.control.send_async((self.id, event)).await.map_err(|_| Stop::Finished)?;
        (self.events.wake)();
        Ok(())
    }
}

/// What [`Runner::serve`] returns when all goes well: it does not return.
enum Never {}

async fn read(reader: &mut ReadHalf<Box<dyn Io>>, buffer: &mut [u8]) -> io::Result<usize> {
    match reader.read(buffer).await? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed at the other end")),
        len => Ok(len),
    }
}
