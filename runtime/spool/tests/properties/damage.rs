//! Arbitrary damage to the files of a log: nothing panics, and nothing is read that was never written.

use eyot_spool::memory::MemoryStorage;
use eyot_spool::{Lsn, OpenError, Options, Spool, Storage, KIND_GONE};

use crate::model::{ensure, Check, Event, Model, Recorder, State};
use crate::random::number;
use crate::world::World;

const SEEDS: u64 = 250;

/// Some bytes of `name` are changed: flipped, wiped, scribbled over, or replaced by those of another place.
fn damage(storage: &MemoryStorage, rng: &mut fastrand::Rng, name: &str, names: &[String]) {
    let file = storage.open(name).unwrap();
    let length = storage.written_len(name);
    if length == 0 {
        return;
    }
    let at = match rng.u8(0..4) {
        0 => rng.usize(0..length.min(1100)),
        _ => rng.usize(0..length),
    };
    let mut bytes = vec![0; rng.usize(1..1500).min(length - at)];
    match rng.u8(0..5) {
        0 | 1 => {
            assert!(storage.corrupt(name, at, rng.u8(1..)));
            return;
        }
        2 => {}
        3 => rng.fill(&mut bytes),
        _ => {
            // A misdirected write: whole frames in a wrong place.
            let from = storage.open(rng.choice(names).unwrap()).unwrap();
            let start = rng.u64(0..length as u64) & !7;
            storage.read_at(&from, start, &mut bytes).unwrap();
            storage.write_at(&file, at as u64 & !7, &bytes).unwrap();
            return storage.sync_data(&file).unwrap();
        }
    }
    storage.write_at(&file, at as u64, &bytes).unwrap();
    storage.sync_data(&file).unwrap();
}

struct Damaged {
    storage: MemoryStorage,
    model: Model,
    options: Options,
    rng: fastrand::Rng,
}

impl Damaged {
    /// None if the log says that nothing is readable.
    fn open(&mut self) -> Result<Option<Spool<MemoryStorage>>, String> {
        let mut found = Recorder { keep: true, ..Recorder::default() };
        let spool = match Spool::open(self.storage.clone(), self.options, self.rng.u64(1..), &mut found) {
            Ok(spool) => spool,
            Err(OpenError::Unreadable { .. }) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if let Some(disorder) = found.disorder {
            return Err(disorder);
        }
        for checkpoint in &found.checkpoints {
            let state = State::decode(checkpoint);
            ensure!(
                state == State::default() || self.model.passed.contains(&state),
                "checkpoint {state:?} is invented"
            );
        }
        for frame in found.frames {
            ensure!(self.model.written.contains(&frame), "frame {} is invented by recovery", frame.0);
        }
        Ok(Some(spool))
    }

    fn read(&self, spool: &mut Spool<MemoryStorage>, after: Lsn) -> Check {
        let mut reader = spool.reader(after);
        let mut last = after;
        while let Some(frame) = spool.read(&mut reader).map_err(|error| error.to_string())? {
            let is_gone = frame.kind == KIND_GONE;
            ensure!(frame.lsn > last || is_gone && frame.lsn == last, "{} is read after {last}", frame.lsn);
            last = frame.lsn;
            if is_gone {
                continue;
            }
            let known = self.model.written.contains(&(frame.lsn, frame.kind, frame.body.to_vec()));
            ensure!(known, "frame {last} is invented");
        }
        ensure!(last <= spool.durable(), "{last} is read and not durable");
        Ok(())
    }

    /// Opens what is left, reads it, and goes on with it.
    fn live(&mut self) -> Check {
        let Some(mut spool) = self.open()? else { return Ok(()) };
        self.read(&mut spool, 0)?;
        let middle = self.rng.u64(0..=spool.durable());
        self.read(&mut spool, middle)?;
        spool.set_streams(&[0]);
        for round in 0..20u64 {
            if spool.wants_checkpoint() {
                spool.checkpoint(&State::default().encode(0));
            }
            let body = [&b"after the damage"[..], &round.to_le_bytes()].concat();
            let lsn = spool.append(5, &body).map_err(|error| error.to_string())?;
            self.model.written.insert((lsn, 5, body));
            if let Ok(Some(commit)) = spool.begin_commit() {
                let synced = self.storage.sync_data(&commit.file);
                spool.end_commit(commit.id, synced).map_err(|error| error.to_string())?;
            }
            if round == 10 {
                let mut invented = 0;
                let written = &self.model.written;
                let lsns = spool.oldest_to_go();
                spool
                    .show_oldest(&mut |lsn, kind, body| {
                        let is_known = kind == KIND_GONE || written.contains(&(lsn, kind, body.to_vec()));
                        invented += u32::from(!is_known);
                    })
                    .map_err(|error| error.to_string())?;
                ensure!(invented == 0, "{invented} invented frames are shown of {lsns:?}");
                spool.ack(0, lsns.map_or(0, |lsns| *lsns.end()));
            }
        }
        self.read(&mut spool, 0)
    }
}

fn run(seed: u64) -> Check {
    let mut world = World::new(seed);
    world.open()?;
    for _ in 0..200 {
        world.step()?;
    }
    let (storage, model, options, rng) = world.into_disk();
    let mut damaged = Damaged { storage, model, options, rng };
    for _ in 0..3 {
        let names = damaged.storage.list().unwrap();
        for name in &names {
            for _ in 0..damaged.rng.u8(0..4) {
                damage(&damaged.storage, &mut damaged.rng, name, &names);
            }
        }
        damaged.live()?;
        damaged.storage.crash();
    }
    Ok(())
}

#[test]
fn damage_is_passed_over_and_never_believed() {
    let seeds = number("EYOT_SPOOL_SEED").map_or(0..SEEDS, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(reason) = run(seed) {
            panic!(
                "seed {seed}: {reason}\nreproduce with: EYOT_SPOOL_SEED={seed} cargo test -p eyot-spool --test properties damage"
            );
        }
    }
}

/// One bad frame in the middle costs that frame, is counted, and nothing after it.
#[test]
fn a_bad_frame_in_the_middle_costs_itself_alone() {
    let options = Options { segment_bytes: 64 << 10, ..Options::for_quota(Options::MAX_BYTES_MIN) };
    let storage = MemoryStorage::new(1);
    let mut model = Model::new(&[0]);
    let mut spool = Spool::open(storage.clone(), options, 1, &mut Recorder::default()).unwrap();
    spool.checkpoint(&State::default().encode(0));
    for number in 0..10u8 {
        let lsn = spool.append(1, &[number; 40]).unwrap();
        model.push(Event::Frame { lsn, kind: 1, body: vec![number; 40] });
        let commit = spool.begin_commit().unwrap().unwrap();
        spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
    }
    drop(spool);
    let name = storage.list().unwrap().into_iter().find(|name| name.starts_with("segment")).unwrap();
    // Header, checkpoint of 24 bytes, four frames, and into the fifth.
    storage.corrupt(&name, 1024 + 48 + 4 * 64 + 30, 0x40);
    let mut found = Recorder { keep: true, ..Recorder::default() };
    let mut spool = Spool::open(storage.clone(), options, 2, &mut found).unwrap();
    assert_eq!(found.frames.iter().map(|f| f.0).collect::<Vec<_>>(), [1, 2, 3, 4, 6, 7, 8, 9, 10]);
    assert!(found.frames.iter().all(|frame| model.written.contains(frame)));
    assert_eq!(spool.usage().damaged_frames, 1);
    let mut reader = spool.reader(0);
    let mut seen = Vec::new();
    while let Some(frame) = spool.read(&mut reader).unwrap() {
        seen.push(frame.lsn);
    }
    assert_eq!(seen, [1, 2, 3, 4, 6, 7, 8, 9, 10]);
    assert_eq!(spool.usage().damaged_frames, 1, "damage that recovery saw is not counted twice");
}
