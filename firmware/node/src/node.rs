//! All of it together: one turn takes what the line has, samples what is due, and says what there is to say.

use embedded_io::{Read, ReadReady, Write};
use eyot_engine::{Invocation, State};
use eyot_wire::link::{encode, FromNode, Hello, Ledger, Status, ToNode, LINE_MAX_BYTES, WINDOW};
use heapless::Deque;

use crate::install::{cut, Installer, Text};
use crate::invoke::{NodeLimits, Program};
use crate::keep::{Keeper, KEEP_EVERY_MS};
use crate::link::{Heard, Link};
use crate::queue::{Output, Queue};
use crate::sample::{Channel, Sample};
use crate::update::{Slots, Updater};
use crate::Board;

/// Bytes taken from the line at once.
const READ_BYTES: usize = 64;
/// Reads of one turn: a gateway that talks without end must not keep the node from its sensors.
const READS_MAX: usize = 2 * LINE_MAX_BYTES / READ_BYTES;
/// Messages said in one turn.
const MESSAGES_MAX: u32 = WINDOW;
/// Log lines that wait; more are counted.
const LOGS_MAX: usize = 4;

/// What a node is told when it is built.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Its program, for people: name and version.
    pub program: &'static str,
    /// What functions may use.
    pub limits: NodeLimits,
    /// Where `random` begins. From the chip's own randomness, or its number: two nodes should not have the same.
    pub seed: u64,
}

/// A node with a queue of `QUEUE` outputs, of some 540 bytes each, over the board `B` and the serial line `S`.
pub struct Node<'a, B, S, const QUEUE: usize> {
    options: Options,
    board: B,
    serial: S,
    channels: &'a mut [Channel<'a>],
    program: Program,
    queue: Queue<QUEUE>,
    link: Link,
    installer: Installer,
    updater: Updater<'a>,
    ledger: Ledger,
    logs: Deque<(u8, Text), LOGS_MAX>,
    /// The function failed on the last sample: said once, not each time.
    is_failing: bool,
    keeper: Option<&'a mut dyn Keeper>,
    keep_due_ms: u64,
    /// What is kept, or could not be: of which function, which state.
    kept: Option<([u8; 32], State)>,
}

/// SHA-256 of no module.
const NOBODY: [u8; 32] = [0; 32];
/// Levels of log lines.
const ERROR: u8 = 0;
const WARN: u8 = 1;

impl<'a, B: Board, S: Read + ReadReady + Write, const QUEUE: usize> Node<'a, B, S, QUEUE> {
    /// With a table of what is sampled. Nothing is read or said yet.
    pub fn new(options: Options, board: B, serial: S, channels: &'a mut [Channel<'a>]) -> Self {
        Self {
            options,
            board,
            serial,
            channels,
            program: Program::new(options.limits),
            queue: Queue::default(),
            link: Link::default(),
            installer: Installer::default(),
            updater: Updater::default(),
            ledger: Ledger::default(),
            logs: Deque::new(),
            is_failing: false,
            keeper: None,
            keep_due_ms: KEEP_EVERY_MS,
            kept: None,
        }
    }

    /// The state of its function survives a reset, as it was up to [`KEEP_EVERY_MS`] before.
    pub fn with_keeper(mut self, keeper: &'a mut dyn Keeper) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// Its own program can be renewed over the link.
    pub fn with_slots(mut self, slots: &'a mut dyn Slots) -> Self {
        self.updater = Updater::new(slots);
        self
    }

    /// The account as it stands.
    pub fn ledger(&self) -> Ledger {
        Ledger { pending: self.queue.len(), ..self.ledger }
    }

    /// The function.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The gateway's other end.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The board.
    pub fn board_mut(&mut self) -> &mut B {
        &mut self.board
    }

    /// One turn; call it again after a millisecond or so, or when the line has something.
    ///
    /// # Errors
    /// What the line said; bytes may be lost, and the next turn goes on as if nothing had happened.
    pub fn turn(&mut self) -> Result<(), S::Error> {
        self.board.alive();
        let heard = self.listen();
        self.sample();
        self.keep();
        let spoken = self.speak();
        self.renew();
        heard.and(spoken)
    }

    /// Starts anew when another program is ready; what its function keeps goes with it.
    fn renew(&mut self) {
        let now_ms = self.board.uptime_ms();
        if self.updater.tend(now_ms, self.link.is_welcome(), self.queue.is_empty()) {
            self.keep_due_ms = 0;
            self.keep();
            self.updater.restart();
        }
    }

    fn keep(&mut self) {
        let now_ms = self.board.uptime_ms();
        let Some(keeper) = self.keeper.as_mut().filter(|_| now_ms >= self.keep_due_ms) else { return };
        self.keep_due_ms = now_ms + KEEP_EVERY_MS;
        let Some((sha256, state)) = self.program.state() else { return };
        if self.kept.as_ref().is_some_and(|(of, kept)| (of, kept) == (sha256, state)) {
            return;
        }
        let is_kept = keeper.keep(sha256, state).is_ok();
        self.kept = Some((*sha256, state.clone()));
        if !is_kept {
            self.log(WARN, cut(format_args!("the function's state is not kept: the flash failed, or it is too large")));
        }
    }

    /// What a function kept goes with it.
    fn forget(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            // If the flash fails, it waits for a function that may never come back.
            let _ = keeper.keep(&NOBODY, &State::default());
            self.kept = None;
        }
    }

    /// A function that was here before a reset goes on with its state.
    fn restore(&mut self, sha256: [u8; 32]) {
        let Some(state) = self.keeper.as_mut().and_then(|keeper| keeper.load(&sha256)) else { return };
        self.kept = Some((sha256, state.clone()));
        self.program.restore(state);
    }

    fn listen(&mut self) -> Result<(), S::Error> {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..READS_MAX {
            if !self.serial.read_ready()? {
                break;
            }
            let len = self.serial.read(&mut buffer)?;
            let mut bytes = buffer.get(..len).unwrap_or_default();
            while !bytes.is_empty() {
                self.hear(&mut bytes);
            }
        }
        Ok(())
    }

    fn hear(&mut self, bytes: &mut &[u8]) {
        let now_ms = self.board.uptime_ms();
        let module = match self.link.hear(now_ms, bytes) {
            None => None,
            Some(Heard::Bad(_)) => {
                self.ledger.bad_lines = self.ledger.bad_lines.saturating_add(1);
                None
            }
            Some(Heard::Acked(seq)) => {
                let count = self.queue.acknowledge(seq);
                self.ledger.acked = self.ledger.acked.saturating_add(count);
                self.link.acked(now_ms, count);
                None
            }
            Some(Heard::Module(ToNode::Begin { sha256, bytes })) => {
                let max_bytes = self.module_max_bytes();
                self.installer.begin(sha256, bytes, self.program.sha256(), max_bytes);
                None
            }
            Some(Heard::Module(ToNode::BeginProgram { sha256, bytes })) => {
                self.updater.begin(sha256, bytes);
                None
            }
            Some(Heard::Module(ToNode::Chunk { sha256, offset, bytes })) => {
                if self.updater.chunk(now_ms, sha256, offset, bytes) {
                    return;
                }
                self.installer.chunk(sha256, offset, bytes).map(|module| (sha256, module))
            }
            Some(Heard::Module(ToNode::Remove)) => {
                self.program.remove();
                self.forget();
                self.installer.removed();
                None
            }
            Some(Heard::Module(_)) => None,
        };
        if let Some((sha256, module)) = module {
            self.install(sha256, &module);
        }
    }

    /// A heap that is full would start the node anew: so where two functions might not fit at a time, the one that runs goes
    /// before the other is loaded.
    fn install(&mut self, sha256: [u8; 32], module: &[u8]) {
        let (used, whole) = self.board.heap();
        let free = whole.saturating_sub(used) as u64;
        let gave_way = self.program.sha256().is_some() && self.program.limits().heap_bytes(module.len()) > free;
        if gave_way {
            self.program.remove();
        }
        match self.program.load(module, sha256) {
            Ok(()) => {
                self.is_failing = false;
                self.restore(sha256);
                // What the account has until now is of the function before: said first, and then that there is another.
                self.link.status_soon();
                self.installer.done(sha256);
            }
            Err(error) => {
                if gave_way {
                    // The gateway, which has it, sends it again.
                    self.installer.removed();
                }
                self.installer.refuse(sha256, cut(format_args!("{error}")));
            }
        }
    }

    /// Largest module that can be loaded: by the limits, and into a heap that holds nothing else.
    fn module_max_bytes(&self) -> usize {
        let (_, whole) = self.board.heap();
        self.program.limits().module_max_bytes(whole)
    }

    fn sample(&mut self) {
        let mut sample = Sample::new();
        for index in 0..self.channels.len() {
            let now_ms = self.board.uptime_ms();
            let Some(channel) = self.channels.get_mut(index) else { return };
            let topic = channel.topic();
            let was_failing = channel.is_failing();
            match channel.poll(now_ms, &mut sample) {
                None => {}
                Some(Ok(())) => {
                    self.ledger.samples = self.ledger.samples.saturating_add(1);
                    self.invoke(now_ms, topic, &sample);
                }
                Some(Err(error)) => {
                    self.ledger.sensor_errors = self.ledger.sensor_errors.saturating_add(1);
                    if !was_failing {
                        self.log(WARN, cut(format_args!("no sample for {topic}: {}", error.reason())));
                    }
                }
            }
        }
    }

    fn invoke(&mut self, now_ms: u64, topic: &str, sample: &str) {
        let seed = self.options.seed.wrapping_add(u64::from(self.ledger.samples));
        let payload = sample.as_bytes();
        let message = Invocation { topic, payload, now_ms: self.link.unix_ms(now_ms), seed };
        let Some(result) = self.program.run(&message, &mut self.board) else {
            return keep(&mut self.queue, &mut self.ledger, now_ms, topic, payload);
        };
        if let Some(effects) = self.program.effects() {
            for emit in effects.emits() {
                keep(&mut self.queue, &mut self.ledger, now_ms, emit.topic, emit.payload);
            }
            for log in effects.logs() {
                push(&mut self.logs, &mut self.ledger, log.level as u8, cut(format_args!("{}", log.text)));
            }
        }
        match result {
            Ok(_) => {
                self.ledger.invoked = self.ledger.invoked.saturating_add(1);
                self.is_failing = false;
            }
            Err(failure) => {
                self.ledger.failed = self.ledger.failed.saturating_add(1);
                if !core::mem::replace(&mut self.is_failing, true) {
                    self.log(ERROR, cut(format_args!("the function failed on {topic}: {failure}")));
                }
            }
        }
    }

    fn log(&mut self, level: u8, text: Text) {
        push(&mut self.logs, &mut self.ledger, level, text);
    }

    fn speak(&mut self) -> Result<(), S::Error> {
        let now_ms = self.board.uptime_ms();
        let first = self.queue.first();
        let (options, sha256, max_bytes) = (&self.options, self.program.sha256(), self.module_max_bytes());
        let hello = self.link.hello(now_ms, first, || Hello {
            session: 0,
            first: 0,
            program: options.program,
            module_max_bytes: u32::try_from(max_bytes).unwrap_or(u32::MAX),
            function: sha256,
        });
        if let Some(hello) = hello {
            // Whatever stands on the line from before the start ends here.
            self.serial.write_all(&[0])?;
            say(&mut self.serial, &hello)?;
        }
        if self.link.status_is_due(now_ms) {
            let status = self.status(now_ms);
            say(&mut self.serial, &FromNode::Status(status))?;
        }
        if !self.link.is_welcome() {
            return Ok(());
        }
        let serial = &mut self.serial;
        self.installer.poll(now_ms, |install| say(serial, &FromNode::Install(install))).transpose()?;
        self.updater.poll(now_ms, |install| say(serial, &FromNode::Install(install))).transpose()?;
        while let Some((level, text)) = self.logs.pop_front() {
            say(&mut self.serial, &FromNode::Log { level, text: &text })?;
        }
        for _ in 0..MESSAGES_MAX {
            let Some((reading, is_again)) = self.link.reading(now_ms, &self.queue) else { break };
            self.ledger.resent = self.ledger.resent.saturating_add(u32::from(is_again));
            say(&mut self.serial, &reading)?;
        }
        Ok(())
    }

    fn status(&self, now_ms: u64) -> Status {
        let (used, whole) = self.board.heap();
        let [heap_used_bytes, heap_bytes] = [used, whole].map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        Status {
            session: self.link.session(),
            uptime_ms: now_ms,
            ledger: self.ledger(),
            heap_used_bytes,
            heap_bytes,
            fuel: self.program.fuel(),
        }
    }
}

/// Queues an output, and counts it whatever becomes of it.
fn keep<const N: usize>(queue: &mut Queue<N>, ledger: &mut Ledger, now_ms: u64, topic: &str, payload: &[u8]) {
    ledger.outputs = ledger.outputs.saturating_add(1);
    let dropped = match Output::new(now_ms, topic, payload) {
        Some(output) => match queue.push(output) {
            Ok(()) => return,
            Err(_) => &mut ledger.dropped_full,
        },
        None => &mut ledger.dropped_large,
    };
    *dropped = dropped.saturating_add(1);
}

fn push<const N: usize>(logs: &mut Deque<(u8, Text), N>, ledger: &mut Ledger, level: u8, text: Text) {
    if logs.push_back((level, text)).is_err() {
        ledger.logs_dropped = ledger.logs_dropped.saturating_add(1);
    }
}

fn say<S: Write>(serial: &mut S, message: &FromNode<'_>) -> Result<(), S::Error> {
    let mut buffer = [0; LINE_MAX_BYTES];
    // What may be said has limits that fit a line.
    let line = encode(message, &mut buffer).unwrap_or_default();
    serial.write_all(line)
}
