//! One log on one disk that fails, its readers, and the model it is held to.

// Long because every step of a history and its check against the model stand side by side.

use std::collections::VecDeque;
use std::io;

use eyot_spool::memory::{Fault, MemoryFile, MemoryStorage, Operation};
use eyot_spool::{Commit, CommitError, Fate, Lsn, Options, Reader, Rewrite, RewriteStep, Spool, Storage, KIND_GONE};

use crate::model::{ensure, Check, Event, Model, Recorder, Variant};

/// Operations a failure shows.
const TRACE_LENGTH: usize = 60;
/// A segment's header; an upper bound for the acknowledgements of one commit.
const OVERHEAD_BYTES: u64 = 1024 + 400;

struct Flight {
    commit: Commit<MemoryFile>,
    events: usize,
    acks: std::collections::BTreeMap<u8, Lsn>,
}

/// Drops, replaces and keeps frames by a number of its own, and leaves a list of what it dropped.
struct Thinning {
    key: u64,
    gone: Vec<u8>,
    decided: Vec<(Lsn, Variant)>,
    written: Vec<(Lsn, u8, Vec<u8>)>,
}

impl Rewrite for Thinning {
    fn frame(&mut self, lsn: Lsn, kind: u8, body: &[u8], replacement: &mut Vec<u8>) -> Fate {
        // Some drop nearly everything, some nearly nothing.
        let luck = (lsn ^ self.key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let most = self.key % 256;
        if luck < most {
            self.gone.extend_from_slice(&lsn.to_le_bytes());
            self.decided.push((lsn, Variant::Gone));
            return Fate::Drop;
        }
        if !luck.is_multiple_of(3) {
            return Fate::Keep;
        }
        replacement.extend_from_slice(&body[..body.len() / 2]);
        self.decided.push((lsn, Variant::Body(replacement.clone())));
        self.written.push((lsn, kind, replacement.clone()));
        Fate::Replace
    }

    fn gone(&mut self, body: &[u8]) {
        self.gone.extend_from_slice(body);
    }

    fn take_gone(&mut self, body: &mut Vec<u8>) {
        body.append(&mut self.gone);
    }

    fn boundary(&mut self, note: &mut Vec<u8>) {
        note.extend_from_slice(&self.key.to_le_bytes());
    }
}

/// Whether a frame that stands for others lists them, and no more.
pub fn lists(first: Lsn, last: Lsn, body: &[u8]) -> bool {
    let listed: Vec<Lsn> = body.chunks(8).map(|b| Lsn::from_le_bytes(b.try_into().unwrap())).collect();
    listed == (first..=last).collect::<Vec<_>>()
}

struct Position {
    after: Lsn,
    reader: Option<Reader<MemoryFile>>,
}

pub struct World {
    pub rng: fastrand::Rng,
    pub storage: MemoryStorage,
    pub options: Options,
    pub model: Model,
    streams: Vec<u8>,
    spool: Option<Spool<MemoryStorage>>,
    flight: Option<Flight>,
    thinning: Option<Thinning>,
    rewrite_sync: Option<Commit<MemoryFile>>,
    positions: Vec<Position>,
    epoch: Option<u64>,
    /// How far batches larger than a segment may lead over the quota.
    over_bytes: u64,
    /// The same, without what a larger quota left.
    frames_over_bytes: u64,
    /// Calls to the disk may fail in this life.
    may_fail: bool,
    /// A removal may have failed in this life, and left a file the log does not count.
    may_leak: bool,
    /// The same, in any life so far.
    has_leaked: bool,
    /// Armed from outside.
    outer_fault: Option<Operation>,
    next_body: u64,
    big_frames: bool,
    pub faults: bool,
    pub trace: VecDeque<String>,
    pub crashes: u32,
    pub commits: u32,
    pub rewrites: u32,
    pub acks_alone: u32,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let segment_bytes = rng.choice([8 << 10, 12 << 10, 64 << 10]).unwrap();
        let options = Options { segment_bytes, max_bytes: Options::MAX_BYTES_MIN, frame_max_bytes: 100 << 10 };
        let streams = rng.choice([&[][..], &[0], &[0, 7], &[3, 1, 255]]).unwrap().to_vec();
        let big_frames = rng.u8(0..4) == 0;
        let positions = (0..3).map(|_| Position { after: 0, reader: None }).collect();
        Self {
            storage: MemoryStorage::new(rng.u64(..)),
            options,
            model: Model::new(&streams),
            streams,
            spool: None,
            flight: None,
            thinning: None,
            rewrite_sync: None,
            positions,
            epoch: None,
            over_bytes: 0,
            frames_over_bytes: 0,
            may_fail: false,
            may_leak: false,
            has_leaked: false,
            outer_fault: None,
            next_body: 0,
            big_frames,
            faults: true,
            trace: VecDeque::new(),
            crashes: 0,
            commits: 0,
            rewrites: 0,
            acks_alone: 0,
            rng,
        }
    }

    /// A calm world of small segments for sweeps: nothing fails but what the sweep arms.
    pub fn calm(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.options.segment_bytes = 8 << 10;
        world.streams = vec![0, 7];
        world.model = Model::new(&world.streams);
        world.big_frames = false;
        world.faults = false;
        world
    }

    /// Arms one fault for a history that is calm otherwise.
    pub fn arm_once(&mut self, operation: Operation, nth: u64, fault: Fault) {
        self.outer_fault = Some(operation);
        self.storage.fail(operation, nth, fault);
    }

    pub fn spool(&mut self) -> &mut Spool<MemoryStorage> {
        self.spool.as_mut().expect("the log is open")
    }

    fn log(&mut self, text: String) {
        if self.trace.len() == TRACE_LENGTH {
            self.trace.pop_front();
        }
        self.trace.push_back(text);
    }

    /// One random operation, and what must hold after any.
    pub fn step(&mut self) -> Check {
        if self.rng.u8(0..4) == 0 {
            self.rewrite()?;
        }
        let choice = self.rng.u32(0..if self.faults { 110 } else { 97 });
        match choice {
            0..34 => self.append(),
            34..40 => self.note(),
            40..48 => self.ack(),
            48..66 => self.begin(),
            66..84 => self.end()?,
            84..92 => self.read_some()?,
            92..94 => self.give_up()?,
            94 => self.spool().refresh_spare(),
            95 => self.crash()?,
            96 => self.kill()?,
            97..103 => self.arm(),
            103..105 => {
                let most = self.rng.choice([1, 3 * self.options.segment_bytes]).unwrap();
                let room = self.rng.u64(0..most);
                self.storage.set_capacity(Some(self.storage.used_bytes() + room));
                self.log(format!("the disk has {room} bytes left"));
            }
            105..107 => self.heal(),
            107 => {
                (self.may_fail, self.may_leak) = (true, true);
                self.storage.set_read_only(true);
                self.log("read-only".to_owned());
            }
            _ => {
                self.storage.set_read_only(false);
                self.storage.set_capacity(None);
            }
        }
        self.invariants()
    }

    /// The disk works again.
    pub fn heal(&mut self) {
        self.storage.disarm();
        self.storage.set_capacity(None);
        self.storage.set_read_only(false);
        self.log("healed".to_owned());
    }

    fn arm(&mut self) {
        let operation = self.rng.choice(Operation::ALL).unwrap();
        let fault = match self.rng.u8(0..4) {
            0 => Fault::Error(io::ErrorKind::Other),
            1 => Fault::Error(io::ErrorKind::StorageFull),
            2 => Fault::ShortWrite,
            _ => Fault::FailedSync,
        };
        let nth = self.rng.u64(1..5);
        self.storage.fail(operation, nth, fault);
        self.may_fail = true;
        self.may_leak |= operation == Operation::Unlink;
        self.log(format!("arm {operation:?} {nth} {fault:?}"));
    }

    fn prepare(&mut self) -> bool {
        let checkpoint = self.model.state().encode(self.options.segment_bytes / 8);
        let heedless = self.rng.u8(0..8) == 0;
        let spool = self.spool();
        if spool.wants_checkpoint() {
            if spool.is_full() && !heedless {
                return false;
            }
            spool.checkpoint(&checkpoint);
        }
        spool.batch_has_room()
    }

    fn append(&mut self) {
        for _ in 0..self.rng.u32(1..4) {
            if !self.prepare() {
                return;
            }
            let length = match self.rng.u32(0..40) {
                0 if self.big_frames => self.rng.usize(0..3 * self.options.segment_bytes as usize).min(100 << 10),
                1..4 => self.rng.usize(0..self.options.segment_bytes as usize / 32),
                _ => self.rng.usize(0..100),
            };
            self.next_body += 1;
            let mut body = self.next_body.to_le_bytes().to_vec();
            body.resize(8 + length.min((100 << 10) - 8), self.next_body as u8);
            let kind = self.rng.u8(0..0x40);
            let lsn = self.spool().append(kind, &body).expect("a frame within the limits is taken");
            self.log(format!("append {lsn}, {} bytes", body.len()));
            self.model.push(Event::Frame { lsn, kind, body });
        }
    }

    fn note(&mut self) {
        if self.prepare() {
            let number = self.model.next_note();
            self.log(format!("note {number}"));
            self.spool().note(0x40, &number.to_le_bytes()).expect("a note within the limits is taken");
            self.model.push(Event::Note { number });
        }
    }

    fn ack(&mut self) {
        let durable = self.model.durable_lsn();
        let Some(stream) = self.rng.choice(self.streams.clone()) else { return };
        let lsn = self.rng.u64(self.model.acks[&stream].min(durable)..=durable);
        self.acknowledge(stream, lsn);
    }

    fn acknowledge(&mut self, stream: u8, lsn: Lsn) {
        self.spool().ack(stream, lsn);
        let asked = self.model.acks.get_mut(&stream).unwrap();
        *asked = lsn.max(*asked);
        self.log(format!("ack {stream} {lsn}"));
    }

    fn begin(&mut self) {
        let bytes = self.spool().batch_bytes() as u64 + OVERHEAD_BYTES + self.options.segment_bytes / 8;
        let mut result = self.spool().begin_commit();
        if result.as_ref().is_err_and(CommitError::is_full) {
            for _ in 0..2 * self.streams.len() {
                self.ack();
            }
            if self.commit_acks() {
                result = self.spool().begin_commit();
            }
        }
        self.log(format!("begin {result:?}"));
        if let Ok(Some(commit)) = result {
            assert!(self.flight.is_none(), "a second commit while one was under way");
            self.over_bytes += bytes.saturating_sub(self.options.segment_bytes);
            self.frames_over_bytes += bytes.saturating_sub(self.options.segment_bytes);
            let (events, acks) = (self.model.events.len(), self.model.acks.clone());
            self.flight = Some(Flight { commit, events, acks });
        }
    }

    /// Acknowledgements by themselves, with a note that says what is so already.
    fn commit_acks(&mut self) -> bool {
        let known = self.model.states[self.model.durable_events].note;
        let committed = self.spool().commit_acks(0x60, &known.to_le_bytes());
        self.log(format!("acknowledgements by themselves: {committed:?}"));
        let is_done = matches!(committed, Ok(true));
        if is_done {
            self.acks_alone += 1;
            self.model.acks_durable.clone_from(&self.model.acks);
        }
        is_done
    }

    fn end(&mut self) -> Check {
        let Some(flight) = self.flight.take() else { return Ok(()) };
        let result = self.storage.sync_data(&flight.commit.file);
        let failed = result.is_err();
        let ended = self.spool().end_commit(flight.commit.id, result);
        self.log(format!("end {ended:?}"));
        // What is synced must then be named, which may fail too.
        let expected = if ended.is_ok() { !failed } else { failed || self.may_fail };
        ensure!(expected, "sync failed: {failed}, yet the commit ends with {ended:?}");
        if let Ok(durable) = ended {
            self.commits += 1;
            self.model.durable_events = flight.events;
            self.model.acks_durable = flight.acks;
            ensure!(durable == self.model.durable_lsn(), "durable is {durable}, not {}", self.model.durable_lsn());
        }
        Ok(())
    }

    /// Begins a rewrite, goes on with it, or ends a sync of it.
    fn rewrite(&mut self) -> Check {
        if let Some(commit) = self.rewrite_sync.take() {
            let result = self.storage.sync_data(&commit.file);
            let ended = self.spool().end_rewrite_sync(commit.id, result);
            self.log(format!("rewrite sync {ended:?}"));
            let Ok(Some(rewritten)) = ended else { return Ok(()) };
            let thinning = self.thinning.take().expect("a rewrite that ends was begun");
            self.rewrites += 1;
            let range = rewritten.first_lsn..=rewritten.last_lsn;
            ensure!(self.may_fail || rewritten.is_durable, "nothing failed, and a rewrite is not durable");
            for (lsn, variant) in thinning.decided.into_iter().filter(|(lsn, _)| range.contains(lsn)) {
                self.model.rewrite(lsn, variant, rewritten.is_durable);
            }
            return Ok(());
        }
        if self.spool().rewriting().is_none() {
            let sealed: Vec<_> = self.spool().sealed().collect();
            let Some(index) = self.rng.choice(0..sealed.len()) else { return Ok(()) };
            let last = sealed.len().min(index + self.rng.usize(1..5)) - 1;
            let (first, last, mark) = (sealed[index].id, sealed[last].id, self.rng.u64(1..3));
            let begun = self.spool().begin_rewrite(first, last, mark);
            self.log(format!("rewrite {first} to {last}, {begun:?}"));
            let (gone, decided, written) = (Vec::new(), Vec::new(), Vec::new());
            self.thinning = Some(Thinning { key: self.rng.u64(..), gone, decided, written });
            return Ok(());
        }
        let (mut spool, mut thinning) = (self.spool.take().unwrap(), self.thinning.take().unwrap());
        let mut end = "goes on".to_owned();
        for _ in 0..self.rng.u32(1..200) {
            match spool.step_rewrite(&mut thinning) {
                Ok(RewriteStep::More) => continue,
                Ok(RewriteStep::Sync(commit)) => self.rewrite_sync = Some(commit),
                other => end = format!("ends: {other:?}"),
            }
            break;
        }
        self.log(format!("rewrite {end}, sync {:?}", self.rewrite_sync));
        self.model.written.extend(thinning.written.drain(..));
        (self.spool, self.thinning) = (Some(spool), Some(thinning));
        Ok(())
    }

    /// The oldest segment is given up: it goes when that is durable.
    fn give_up(&mut self) -> Check {
        let Some(spool) = self.spool.as_mut() else { return Ok(()) };
        let Some(lsns) = spool.oldest_to_go() else { return Ok(()) };
        let before = spool.usage().oldest_lsn;
        let mut shown = Vec::new();
        let result = spool.show_oldest(&mut |lsn, kind, body| shown.push((lsn, kind, body.to_vec())));
        self.log(format!("give up {lsns:?}: {result:?}"));
        shown.retain(|(_, kind, _)| *kind != KIND_GONE);
        for (lsn, kind, body) in &shown {
            ensure!(self.model.allows(*lsn, *kind, body), "of what is to go, {lsn} is not what was appended");
        }
        ensure!(result.is_ok() || self.may_fail, "showing it failed without a fault: {result:?}");
        ensure!(*lsns.end() <= self.model.durable_lsn(), "{lsns:?} is to go, more than is durable");
        let shown: Vec<Lsn> = shown.iter().map(|(lsn, ..)| *lsn).collect();
        let is_whole = self.model.may_be(*lsns.start(), &shown, *lsns.end() + 1);
        ensure!(self.may_fail || self.has_leaked || is_whole, "of {lsns:?}, {shown:?} was shown");
        for stream in self.streams.clone() {
            self.acknowledge(stream, *lsns.end());
        }
        let after = self.spool().usage().oldest_lsn;
        ensure!(after == before, "what is given up is gone before that is durable");
        Ok(())
    }

    fn read_some(&mut self) -> Check {
        let index = self.rng.usize(0..self.positions.len());
        let most = self.rng.usize(1..60);
        if self.rng.u8(0..30) == 0 {
            // Another reader, from any place.
            let after = self.rng.u64(0..=self.model.durable_lsn());
            self.positions[index] = Position { after, reader: None };
        }
        self.read(index, most)
    }

    /// Every durable frame once, in order, but for those that are gone.
    fn read(&mut self, index: usize, most: usize) -> Check {
        let spool = self.spool.as_mut().expect("the log is open");
        let position = &mut self.positions[index];
        let mut reader = position.reader.take().unwrap_or_else(|| spool.reader(position.after));
        let oldest = spool.usage().oldest_lsn.min(self.model.durable_lsn() + 1);
        for _ in 0..most {
            let next = (position.after + 1).max(oldest);
            match spool.read(&mut reader) {
                Ok(Some(frame)) if frame.kind == KIND_GONE => {
                    ensure!(lists(frame.first, frame.lsn, frame.body), "{frame:?} does not list what it stands for");
                    let is_missing = (frame.first.max(next)..=frame.lsn).all(|lsn| self.model.may_be_gone(lsn));
                    ensure!(frame.first <= next && is_missing, "{frame:?} stands for frames from {next} on");
                    position.after = position.after.max(frame.lsn);
                }
                Ok(Some(frame)) => {
                    // A file that could not be removed comes back with the next open; its neighbours stay away.
                    let passes_gone = self.has_leaked && frame.lsn > next && frame.lsn <= self.model.gone + 1;
                    ensure!(frame.lsn == next || passes_gone, "reader {index} sees {}, not {next}", frame.lsn);
                    ensure!(frame.lsn <= self.model.durable_lsn(), "{} is read and not durable", frame.lsn);
                    let is_known = self.model.allows(frame.lsn, frame.kind, frame.body);
                    ensure!(is_known, "{} is not what was appended or rewritten", frame.lsn);
                    position.after = frame.lsn;
                }
                Ok(None) => {
                    let durable = self.model.durable_lsn();
                    ensure!(next == durable + 1, "reader {index} stops before {next}, durable is {durable}");
                    break;
                }
                Err(error) => {
                    ensure!(self.may_fail, "reading failed without a fault: {error}");
                    break;
                }
            }
        }
        position.reader = Some(reader);
        Ok(())
    }

    fn close(&mut self) {
        self.spool = None;
        self.flight = None;
        self.rewrite_sync = None;
        for position in &mut self.positions {
            position.reader = None;
        }
    }

    /// Cuts the power, and opens what is left.
    pub fn crash(&mut self) -> Check {
        self.close();
        self.storage.crash();
        self.crashes += 1;
        self.log("power cut".to_owned());
        self.open()
    }

    /// The process dies; the operating system lives on, with all it holds for the disk.
    fn kill(&mut self) -> Check {
        self.close();
        self.log("killed".to_owned());
        self.open()
    }

    /// At times the log is opened with other sizes. What it holds may be more than they allow, with two segments for notes, each
    /// as large as its first batch.
    fn resize(&mut self) {
        if self.rng.u8(0..5) == 0 {
            self.options.max_bytes = Options::MAX_BYTES_MIN << self.rng.u8(0..4);
            self.options.segment_bytes = self.rng.choice([8 << 10, 12 << 10, 64 << 10]).unwrap();
            let excess_bytes = self.storage.used_bytes().saturating_sub(self.options.max_bytes);
            let notes_bytes = OVERHEAD_BYTES + self.options.segment_bytes / 8 + self.options.segment_bytes / 4;
            self.over_bytes = self.over_bytes.max(excess_bytes) + 2 * notes_bytes.next_multiple_of(4096);
            self.log(format!("{:?}", self.options));
        }
    }

    /// Opens the log; things may go wrong on the way, and the power may be cut before the next try.
    pub fn open(&mut self) -> Check {
        self.may_fail = self.outer_fault.is_some();
        self.may_leak = self.outer_fault == Some(Operation::Unlink);
        if self.faults {
            self.storage.disarm();
            self.resize();
        }
        for _ in 0..8 {
            if self.faults && self.rng.u8(0..3) == 0 {
                let operation = self.rng.choice(Operation::ALL).unwrap();
                let fault = self.rng.choice([Fault::Error(io::ErrorKind::Other), Fault::FailedSync]).unwrap();
                self.storage.fail(operation, self.rng.u64(1..12), fault);
                self.may_leak |= operation == Operation::Unlink;
            }
            let mut found = Recorder::default();
            match Spool::open(self.storage.clone(), self.options, self.rng.u64(1..), &mut found) {
                Ok(spool) => {
                    if self.faults {
                        self.storage.disarm();
                    }
                    return self.opened(spool, &found);
                }
                Err(error) => {
                    self.log(format!("{error}; power cut"));
                    self.heal();
                    self.storage.crash();
                }
            }
        }
        Err("a log on a sound disk does not open".to_owned())
    }

    fn opened(&mut self, mut spool: Spool<MemoryStorage>, found: &Recorder) -> Check {
        self.log(format!("opened at {:?}, {} checkpoints", found.state, found.checkpoints.len()));
        self.model.adopt(found, |stream| spool.acked(stream))?;
        let last = self.model.last_lsn();
        ensure!(spool.next_lsn() == last + 1, "next is {}, after {last}", spool.next_lsn());
        ensure!(spool.durable() == last, "durable is {}, not {last}", spool.durable());
        if last > 0 {
            let epoch = *self.epoch.get_or_insert(spool.epoch());
            ensure!(spool.epoch() == epoch, "the log was made anew");
        }
        spool.set_streams(&self.streams);
        self.spool = Some(spool);
        self.invariants()
    }

    /// What holds between any two operations.
    fn invariants(&mut self) -> Check {
        let spool = self.spool.as_ref().expect("the log is open");
        let model = &mut self.model;
        let usage = spool.usage();
        ensure!(spool.next_lsn() == model.last_lsn() + 1, "next is {}, after {}", spool.next_lsn(), model.last_lsn());
        ensure!(spool.durable() == model.durable_lsn(), "durable is {}", spool.durable());
        for (stream, asked) in &model.acks {
            ensure!(spool.acked(*stream) == *asked, "stream {stream} is not done up to {asked}");
        }
        model.gone = model.gone.max(model.acked_durably_by_all());
        // A log without a segment says its oldest is the next, durable or not.
        let oldest = usage.oldest_lsn.min(model.durable_lsn() + 1);
        ensure!(oldest <= model.gone + 1, "frames before {oldest} are gone, and only {} may be", model.gone);
        ensure!(usage.damaged_frames == 0, "{} frames count as damaged", usage.damaged_frames);
        let limit = self.options.max_bytes + self.over_bytes;
        ensure!(usage.bytes <= limit, "{} bytes are used of {limit}", usage.bytes);
        let real = self.storage.used_bytes();
        self.has_leaked |= self.may_leak;
        ensure!(self.may_leak || real == usage.bytes, "{real} bytes on disk, {} known", usage.bytes);
        Ok(())
    }

    /// Once the disk works and everything is acknowledged, the log takes, commits and reads again.
    pub fn finish(&mut self) -> Check {
        self.heal();
        for _ in 0..12 {
            self.end()?;
            for stream in self.streams.clone() {
                let durable = self.model.durable_lsn();
                self.spool().ack(stream, durable);
                self.model.acks.insert(stream, durable);
            }
            self.spool().refresh_spare();
            // A full log is for acknowledgements, which make room.
            let checkpoint = self.model.state().encode(0);
            let spool = self.spool();
            if spool.wants_checkpoint() && (spool.has_unwritten_acks() || spool.awaits_checkpoint() || !spool.is_full())
            {
                spool.checkpoint(&checkpoint);
            }
            if !self.spool().wants_checkpoint() {
                self.note();
            }
            self.begin();
            self.invariants()?;
        }
        self.end()?;
        let (durable, last) = (self.model.durable_lsn(), self.model.last_lsn());
        let usage = self.spool().usage();
        ensure!(durable == last, "all is well, but only {durable} of {last} is durable");
        ensure!(usage.has_spare && !self.spool().is_full(), "all is well, but there is no reserve: {usage:?}");
        let in_quota = usage.bytes <= self.options.max_bytes + self.frames_over_bytes;
        ensure!(in_quota, "all is well, but {} bytes are used of {}", usage.bytes, self.options.max_bytes);
        self.read_all()?;
        self.crash()?;
        self.read_all()
    }

    /// All readers, and one from the beginning, see everything.
    pub fn read_all(&mut self) -> Check {
        self.heal();
        self.positions[0] = Position { after: 0, reader: None };
        (0..self.positions.len()).try_for_each(|index| self.read(index, usize::MAX))
    }

    /// What the last operations were.
    pub fn history(&self) -> String {
        self.trace.iter().cloned().collect::<Vec<_>>().join("\n  ")
    }

    /// Leaves the log closed, for those who look at the disk.
    pub fn into_disk(mut self) -> (MemoryStorage, Model, Options, fastrand::Rng) {
        self.close();
        self.heal();
        (self.storage, self.model, self.options, self.rng)
    }
}
