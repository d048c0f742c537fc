//! Random histories of one log against a model of what it promised. Each history has a seed; a failure prints it, and
//! `EYOT_SPOOL_SEED=<seed> cargo test -p eyot-spool --test model one_seed` repeats it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io;

use eyot_spool::memory::{Fault, MemoryStorage, Operation};
use eyot_spool::{Commit, Lsn, OpenError, Options, Replay, Spool, Storage};

type File = <MemoryStorage as Storage>::File;

const STREAMS: [u8; 2] = [0, 7];
const KIND: u8 = 3;
const NOTE: u8 = 0x41;

/// Small segments, so that histories meet their ends.
fn options() -> Options {
    Options { segment_bytes: 64 << 10, max_bytes: 640 << 10, frame_max_bytes: 100 << 10 }
}

/// Sums up all frames so far: what a checkpoint must restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Digest {
    lsn: Lsn,
    sum: u64,
}

impl Digest {
    fn add(&mut self, lsn: Lsn, body: &[u8]) {
        self.lsn = lsn;
        self.sum = self.sum.rotate_left(5) ^ u64::from(crc32c::crc32c(body)) ^ lsn;
    }

    fn encode(self) -> Vec<u8> {
        [self.lsn.to_le_bytes(), self.sum.to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        Self { lsn: number(0), sum: number(8) }
    }
}

#[derive(Default)]
struct Recovered {
    digest: Digest,
    frames: Vec<(Lsn, Vec<u8>)>,
    notes: Vec<Vec<u8>>,
}

impl Replay for Recovered {
    fn checkpoint(&mut self, bytes: &[u8]) {
        assert!(self.frames.is_empty(), "the checkpoint comes first");
        self.digest = Digest::decode(bytes);
    }

    fn frame(&mut self, lsn: Lsn, kind: u8, body: &[u8]) {
        assert_eq!(kind, KIND);
        assert!(lsn > self.digest.lsn, "frame {lsn} comes after {}", self.digest.lsn);
        self.digest.add(lsn, body);
        self.frames.push((lsn, body.to_vec()));
    }

    fn note(&mut self, kind: u8, body: &[u8]) {
        assert_eq!(kind, NOTE);
        self.notes.push(body.to_vec());
    }
}

/// What was appended and promised.
struct Model {
    /// Every frame ever appended in the present line of history, with the digest after it.
    frames: BTreeMap<Lsn, (Vec<u8>, Digest)>,
    durable: Lsn,
    digest: Digest,
    acks: BTreeMap<u8, Lsn>,
    acks_durable: BTreeMap<u8, Lsn>,
    acks_in_flight: BTreeMap<u8, Lsn>,
    /// Frames up to here may be gone: acknowledged by all streams, or evicted.
    released: Lsn,
    damaged: bool,
}

impl Model {
    fn new() -> Self {
        let none: BTreeMap<u8, Lsn> = STREAMS.iter().map(|s| (*s, 0)).collect();
        Self {
            frames: BTreeMap::new(),
            durable: 0,
            digest: Digest::default(),
            acks: none.clone(),
            acks_durable: none.clone(),
            acks_in_flight: none,
            released: 0,
            damaged: false,
        }
    }

    /// After an open: what was promised is there, what was not may be, and nothing else is.
    fn reopened(&mut self, recovered: &Recovered, spool: &Spool<MemoryStorage>) {
        let last = spool.next_lsn() - 1;
        assert!(last >= self.durable, "durable up to {}, found up to {last}", self.durable);
        assert_eq!(recovered.digest.lsn, last, "recovery shows everything up to the end");
        for (lsn, body) in &recovered.frames {
            assert_eq!(Some(body), self.frames.get(lsn).map(|(b, _)| b), "frame {lsn} is not what was appended");
        }
        let expected = self.frames.get(&last).map_or(Digest::default(), |(_, digest)| *digest);
        assert_eq!(recovered.digest, expected, "checkpoint and frames give the state as of {last}");
        self.frames.split_off(&(last + 1));
        self.durable = last;
        self.digest = expected;
        for stream in STREAMS {
            let acked = spool.acked(stream);
            assert!(acked >= self.acks_durable[&stream], "acknowledgements of {stream} went backwards");
            assert!(acked <= self.acks[&stream], "acknowledgements of {stream} were invented");
            self.acks.insert(stream, acked);
        }
        self.acks_durable = self.acks.clone();
        self.acks_in_flight = self.acks.clone();
    }

    fn release_acked(&mut self) {
        let all = STREAMS.iter().map(|s| self.acks[s]).min().unwrap();
        self.released = self.released.max(all);
    }
}

struct History {
    rng: fastrand::Rng,
    storage: MemoryStorage,
    spool: Option<Spool<MemoryStorage>>,
    commit: Option<Commit<File>>,
    model: Model,
    lying: bool,
    crashes: u32,
}

impl History {
    fn new(seed: u64, lying: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let storage = MemoryStorage::new(rng.u64(..));
        storage.set_lying_sync(lying);
        let mut history = Self { rng, storage, spool: None, commit: None, model: Model::new(), lying, crashes: 0 };
        history.open();
        history
    }

    fn open(&mut self) {
        // Now and then the disk fails while the log is opened, and power is cut before the next try.
        while self.rng.u32(0..4) == 0 {
            let operation = *self.rng.choice(&Operation::ALL).unwrap();
            self.storage.fail(operation, self.rng.u64(1..20), Fault::Error(io::ErrorKind::Other));
            let _ = Spool::open(self.storage.clone(), options(), self.rng.u64(1..), &mut Recovered::default());
            self.storage.disarm();
            self.storage.crash();
        }
        let mut recovered = Recovered::default();
        let opened = Spool::open(self.storage.clone(), options(), self.rng.u64(1..), &mut recovered);
        let mut spool = opened.expect("a log that was only crashed opens");
        self.model.reopened(&recovered, &spool);
        spool.set_streams(&STREAMS);
        self.spool = Some(spool);
        self.check_reading();
    }

    fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..45 => self.append(),
            45..50 => self.note(),
            50..60 => self.ack(),
            60..75 => self.begin(),
            75..90 => self.end(),
            90..92 => self.evict(),
            92..94 => self.check_reading(),
            94 => self.arm(),
            95 => self.storage.set_capacity(Some(self.storage.used_bytes())),
            96 => self.storage.set_capacity(None),
            97 => self.crash(),
            _ => self.check_limits(),
        }
    }

    fn spool(&mut self) -> &mut Spool<MemoryStorage> {
        self.spool.as_mut().unwrap()
    }

    fn prepare(&mut self) -> bool {
        let digest = self.model.digest.encode();
        let spool = self.spool();
        if spool.wants_checkpoint() {
            if spool.is_full() {
                spool.refresh_spare();
                return false;
            }
            spool.checkpoint(&digest);
        }
        spool.batch_has_room()
    }

    fn append(&mut self) {
        if !self.prepare() {
            return;
        }
        let length = if self.rng.u32(0..50) == 0 { self.rng.usize(0..40_000) } else { self.rng.usize(0..600) };
        let body: Vec<u8> = std::iter::repeat_with(|| self.rng.u8(..)).take(length).collect();
        let lsn = self.spool().append(KIND, &body).unwrap();
        assert_eq!(lsn, self.model.digest.lsn + 1, "numbers are contiguous");
        self.model.digest.add(lsn, &body);
        self.model.frames.insert(lsn, (body, self.model.digest));
    }

    fn note(&mut self) {
        if self.prepare() {
            self.spool().note(NOTE, b"a note").unwrap();
        }
    }

    fn ack(&mut self) {
        let stream = *self.rng.choice(&STREAMS).unwrap();
        let durable = self.model.durable;
        let lsn = self.rng.u64(self.model.acks[&stream].min(durable)..=durable);
        self.spool().ack(stream, lsn);
        let acked = self.model.acks.get_mut(&stream).unwrap();
        *acked = lsn.max(*acked);
    }

    fn begin(&mut self) {
        if self.commit.is_some() {
            return;
        }
        match self.spool().begin_commit() {
            Ok(Some(commit)) => {
                self.commit = Some(commit);
                self.model.acks_in_flight = self.model.acks.clone();
            }
            Ok(None) => {}
            // The last resort of a full log releases what all streams have acknowledged.
            Err(_) => self.model.release_acked(),
        }
        self.model.release_acked();
    }

    fn end(&mut self) {
        let Some(commit) = self.commit.take() else { return };
        let result = self.storage.sync_data(&commit.file);
        let failed = result.is_err();
        match self.spool().end_commit(commit.id, result) {
            Ok(durable) => {
                assert!(!failed && durable >= self.model.durable);
                self.model.durable = durable;
                self.model.acks_durable = self.model.acks_in_flight.clone();
                self.model.release_acked();
            }
            // Giving a new segment its name may fail as well.
            Err(_) => {}
        }
    }

    fn evict(&mut self) {
        let mut last = 0;
        let frames = &self.model.frames;
        let evicted = self.spool.as_mut().unwrap().evict_oldest(&mut |lsn, kind, body| {
            assert_eq!((kind, body), (KIND, frames[&lsn].0.as_slice()));
            last = lsn;
        });
        if let Ok(true) = evicted {
            let oldest = self.spool().usage().oldest_lsn;
            self.model.released = self.model.released.max(oldest - 1).max(last);
        }
    }

    fn arm(&mut self) {
        let (operation, fault) = match self.rng.u32(0..5) {
            0 => (Operation::SyncData, Fault::FailedSync),
            1 => (Operation::WriteAt, Fault::ShortWrite),
            2 => (Operation::Create, Fault::Error(io::ErrorKind::StorageFull)),
            3 => (Operation::SyncDir, Fault::Error(io::ErrorKind::Other)),
            _ => (Operation::Rename, Fault::Error(io::ErrorKind::Other)),
        };
        self.storage.fail(operation, self.rng.u64(1..4), fault);
    }

    fn crash(&mut self) {
        self.spool = None;
        self.commit = None;
        self.storage.disarm();
        self.storage.crash();
        self.storage.set_capacity(None);
        self.crashes += 1;
        self.open();
    }

    /// From any place that is not released, a reader sees every durable frame once, in order.
    fn check_reading(&mut self) {
        let from = self.rng.u64(0..=self.model.durable);
        let (durable, released) = (self.model.durable, self.model.released);
        let spool = self.spool.as_mut().unwrap();
        let mut reader = spool.reader(from);
        let mut next = from + 1;
        while let Some(frame) = spool.read(&mut reader).unwrap() {
            assert!(frame.lsn >= next && frame.lsn <= durable, "{} after {next}, durable {durable}", frame.lsn);
            assert!(frame.lsn == next || frame.lsn <= released + 1 || next <= released, "{next} is missing");
            assert_eq!((frame.kind, frame.body), (KIND, self.model.frames[&frame.lsn].0.as_slice()));
            next = frame.lsn + 1;
        }
        assert!(next == durable + 1 || durable <= released, "reading ends at {next}, durable {durable}");
    }

    fn check_limits(&mut self) {
        let used = self.storage.used_bytes();
        let usage = self.spool().usage();
        assert!(usage.bytes <= options().max_bytes + (100 << 10), "{usage:?}");
        // A disk that fails may refuse to remove what is no longer needed; the next open does.
        assert!(used <= usage.bytes + options().segment_bytes * 4, "{used} bytes on disk, {usage:?}");
        assert!(self.model.damaged || usage.damaged_frames == 0, "damage without a cause: {usage:?}");
    }
}

fn run(seed: u64, lying: bool) -> u32 {
    let mut history = History::new(seed, lying);
    for _ in 0..600 {
        history.step();
    }
    history.crash();
    assert_eq!(history.lying, lying);
    history.crashes
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn every_history_keeps_its_promises() {
    let mut crashes = 0;
    for seed in 0..number("EYOT_SPOOL_SEEDS").unwrap_or(1500) {
        match std::panic::catch_unwind(|| run(seed, false)) {
            Ok(of_run) => crashes += of_run,
            Err(panic) => {
                eprintln!("repeat with EYOT_SPOOL_SEED={seed} cargo test -p eyot-spool --test model one_seed");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(crashes > 1000, "{crashes} crashes: too few to mean anything");
}

#[test]
fn one_seed() {
    if let Some(seed) = number("EYOT_SPOOL_SEED") {
        run(seed, false);
    }
}

/// The negative control: on a disk whose syncs do nothing, the same checks must fail.
#[test]
fn a_disk_that_lies_is_found_out() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..50).filter(|seed| std::panic::catch_unwind(|| run(*seed, true)).is_err()).count();
    std::panic::set_hook(hook);
    assert!(found > 25, "only {found} of 50 histories noticed");
}

/// Whatever stands in the files: no panic, and nothing is read that was not written.
#[test]
fn damage_is_passed_over_and_never_believed() {
    for seed in 0..300 {
        let mut history = History::new(seed, false);
        for _ in 0..300 {
            history.step();
        }
        history.spool = None;
        history.commit = None;
        history.storage.disarm();
        history.storage.set_capacity(None);
        history.model.damaged = true;
        for name in history.storage.list().unwrap() {
            for _ in 0..history.rng.u32(0..4) {
                let at = history.rng.usize(0..history.storage.written_len(&name).max(1));
                history.storage.corrupt(&name, at, history.rng.u8(1..));
            }
        }
        let frames = &history.model.frames;
        let mut recovered = Recovered::default();
        match Spool::open(history.storage.clone(), options(), 99, &mut recovered) {
            Ok(mut spool) => {
                let mut reader = spool.reader(0);
                let mut last = 0;
                while let Some(frame) = spool.read(&mut reader).unwrap() {
                    assert!(frame.lsn > last, "seed {seed}");
                    assert_eq!(Some(frame.body), frames.get(&frame.lsn).map(|(b, _)| b.as_slice()), "seed {seed}");
                    last = frame.lsn;
                }
            }
            Err(error) => assert!(matches!(error, OpenError::Unreadable { .. }), "seed {seed}: {error}"),
        }
        for (lsn, body) in &recovered.frames {
            assert_eq!(Some(body), frames.get(lsn).map(|(b, _)| b), "seed {seed}");
        }
    }
}
