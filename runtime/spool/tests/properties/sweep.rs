//! One fixed history, repeated with each call to the disk failing in turn; and others for the places in the log's source
//! that it does not call the disk from, until each of them has failed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use eyot_spool::memory::{Fault, MemoryStorage, Operation, Site};
use eyot_spool::{Spool, Storage};

use crate::full::{check, stuck};
use crate::model::{Check, Recorder, State};
use crate::world::World;

const SEED: u64 = 11;
const STEPS: usize = 160;

fn run(world: &mut World) -> Check {
    world.open()?;
    for _ in 0..STEPS {
        world.step()?;
    }
    world.crash()?;
    world.finish()
}

fn faults(operation: Operation) -> Vec<Fault> {
    let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem];
    let mut faults: Vec<Fault> = kinds.into_iter().map(Fault::Error).collect();
    match operation {
        Operation::WriteAt => faults.push(Fault::ShortWrite),
        Operation::SyncData => faults.push(Fault::FailedSync),
        _ => {}
    }
    faults
}

#[test]
fn any_one_failed_call_costs_nothing_that_was_promised() {
    let mut calm = World::calm(SEED);
    run(&mut calm).unwrap_or_else(|reason| panic!("without faults: {reason}\n  {}", calm.history()));
    let mut runs = 0;
    for operation in Operation::ALL {
        let calls = calm.storage.calls(operation);
        assert!(calls > 0, "the history never calls {operation:?}");
        for nth in 1..=calls {
            for fault in faults(operation) {
                let mut world = World::calm(SEED);
                world.arm_once(operation, nth, fault);
                let result = run(&mut world);
                runs += 1;
                if let Err(reason) = result {
                    panic!("{operation:?} call {nth} with {fault:?}: {reason}\nafter\n  {}", world.history());
                }
            }
        }
    }
    println!("{runs} runs");
}

/// Histories searched for places, first without faults, then with them.
const SEARCHED_SEEDS: u64 = 400;

/// Places in the log's source that call the disk.
fn places() -> BTreeSet<Site> {
    let calls = [
        (Operation::List, ".list("),
        (Operation::Create, ".create("),
        (Operation::Open, ".open("),
        (Operation::Rename, ".rename("),
        (Operation::Unlink, ".unlink("),
        (Operation::SyncDir, ".sync_dir("),
        (Operation::Len, ".len(&"),
        (Operation::Trim, ".trim(&"),
        (Operation::WriteAt, ".write_at("),
        (Operation::ReadAt, ".read_at("),
        (Operation::SyncData, ".sync_data("),
    ];
    let mut found = BTreeSet::new();
    for file in ["spool.rs", "spool/acks.rs", "spool/room.rs", "spool/rewrite.rs", "recover.rs", "reader.rs"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).unwrap();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let here = calls.iter().filter(|(_, call)| line.contains(call));
            found.extend(here.map(|(operation, _)| (*operation, file, number as u32 + 1)));
        }
    }
    found
}

/// The place, as [`places`] names it; none if it is not in the log.
fn place(places: &BTreeSet<Site>, site: &Site) -> Option<Site> {
    places
        .iter()
        .find(|(operation, file, line)| (*operation, *line) == (site.0, site.2) && site.1.ends_with(file))
        .copied()
}

/// A named segment of nothing comes about by damage only. One that cannot be removed is in nobody's way.
fn blank_segments_that_stay(places: &BTreeSet<Site>) -> BTreeSet<Site> {
    let mut failed = BTreeSet::new();
    for fault in faults(Operation::Unlink) {
        let mut world = World::calm(SEED);
        world.open().unwrap();
        (0..STEPS).try_for_each(|_| world.step()).unwrap();
        let (storage, _, options, _) = world.into_disk();
        let last = storage.file_names().into_iter().rfind(|name| name.starts_with("segment")).unwrap();
        let file = storage.open(&last).unwrap();
        storage.write_at(&file, 0, &vec![0; storage.written_len(&last)]).unwrap();
        let nth = storage.calls(Operation::Unlink) + 1;
        storage.fail(Operation::Unlink, 1, fault);
        let mut spool = Spool::open(storage.clone(), options, 1, &mut Recorder::default()).unwrap();
        assert!(storage.file_names().contains(&last), "{fault:?} did not keep it");
        spool.checkpoint(&State::default().encode(0));
        let lsn = spool.append(1, b"afterwards").unwrap();
        let commit = spool.begin_commit().unwrap().unwrap();
        spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
        storage.crash();
        let spool = Spool::open(storage.clone(), options, 2, &mut Recorder::default()).unwrap();
        assert_eq!(spool.durable(), lsn);
        let sites = storage.sites().into_iter();
        failed.extend(
            sites
                .filter(|(site, first)| (site.0, *first) == (Operation::Unlink, nth))
                .filter_map(|(s, _)| place(places, &s)),
        );
    }
    failed
}

/// What a last resort calls, and what it calls when that failed: [`crate::full`] says what must hold then.
fn last_resorts(places: &BTreeSet<Site>) -> BTreeSet<Site> {
    let mut failed = BTreeSet::new();
    // First those that are called if all goes well, then those after a failed rename.
    for before in [None, Some(Operation::Rename)] {
        let begin = |storage: &MemoryStorage, spool: &mut Spool<MemoryStorage>| {
            before.into_iter().for_each(|operation| storage.fail(operation, 1, Fault::Error(io::ErrorKind::Other)));
            let _ = spool.commit_acks(0x60, &[0; 8]);
        };
        for operation in Operation::ALL {
            let (scout, mut spool, _) = stuck(SEED);
            let earlier = scout.calls(operation);
            begin(&scout, &mut spool);
            let sites = scout.sites().into_iter().filter(|(site, first)| site.0 == operation && *first > earlier);
            for (site, first) in sites.filter_map(|(site, first)| Some((place(places, &site)?, first))) {
                for fault in faults(operation) {
                    let (storage, mut spool, delivered) = stuck(SEED);
                    storage.fail(operation, first - earlier, fault);
                    begin(&storage, &mut spool);
                    drop(spool);
                    check(&storage, delivered, false, &format!("{site:?} with {fault:?}"));
                }
                failed.insert(site);
            }
        }
    }
    failed
}

/// What is called only after a failure fails too: each place is made to fail where it is first called from, in a history
/// with the faults that led there.
#[test]
fn every_place_that_calls_the_disk_has_failed() {
    let places = places();
    let mut failed = blank_segments_that_stay(&places);
    failed.extend(last_resorts(&places));
    for seed in 0..2 * SEARCHED_SEEDS {
        let world = || if seed < SEARCHED_SEEDS { World::calm(seed) } else { World::new(seed) };
        let mut scout = world();
        let _ = run(&mut scout);
        for (site, nth) in scout.storage.sites() {
            let Some(place) = place(&places, &site).filter(|place| !failed.contains(place)) else { continue };
            for fault in faults(site.0) {
                let mut world = world();
                world.arm_once(site.0, nth, fault);
                let result = run(&mut world);
                if let Err(reason) = result {
                    panic!("seed {seed}, {site:?} with {fault:?}: {reason}\nafter\n  {}", world.history());
                }
            }
            failed.insert(place);
        }
        if failed == places {
            break;
        }
    }
    let left: Vec<&Site> = places.difference(&failed).collect();
    assert!(left.is_empty(), "never called, so never failed: {left:?}");
    println!("{} places", places.len());
}
