//! Random histories. `EYOT_SPOOL_SEEDS` sets how many, `EYOT_SPOOL_SEED` replays one with its last operations.

use eyot_spool::memory::{Fault, Operation};

use crate::model::Check;
use crate::world::World;

const STEPS: usize = 350;

pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn run(world: &mut World) -> Check {
    world.open()?;
    for _ in 0..STEPS {
        world.step()?;
    }
    world.crash()?;
    world.finish()
}

fn reported(seed: u64, result: Check, world: &World) {
    if let Err(reason) = result {
        panic!(
            "seed {seed}: {reason}\nafter\n  {}\nreproduce with: EYOT_SPOOL_SEED={seed} cargo test -p eyot-spool --test properties random::one_seed",
            world.history()
        );
    }
}

#[test]
fn nothing_promised_is_lost_and_nothing_is_invented() {
    let (mut crashes, mut commits, mut rewrites, mut acks_alone) = (0, 0, 0, 0);
    let count = number("EYOT_SPOOL_SEEDS").unwrap_or(700);
    for seed in 0..count {
        let mut world = World::new(seed);
        let result = run(&mut world);
        reported(seed, result, &world);
        crashes += u64::from(world.crashes);
        commits += u64::from(world.commits);
        rewrites += u64::from(world.rewrites);
        acks_alone += u64::from(world.acks_alone);
    }
    println!(
        "{count} histories, {crashes} power cuts, {commits} commits, {rewrites} rewrites, {acks_alone} last resorts"
    );
    let is_busy = crashes > 2 * count && commits > 10 * count && 2 * rewrites > count && acks_alone > 0;
    assert!(is_busy, "the histories are too quiet to show anything");
}

#[test]
fn one_seed() {
    if let Some(seed) = number("EYOT_SPOOL_SEED") {
        let mut world = World::new(seed);
        let result = run(&mut world);
        reported(seed, result, &world);
    }
}

/// Negative control: the same checks on a disk whose syncs do nothing must find it out.
#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let caught = |seed: &u64| {
        let mut world = World::new(*seed);
        world.storage.set_lying_sync(true);
        run(&mut world).is_err()
    };
    let caught = (0..60).filter(caught).count();
    assert!(caught >= 50, "only {caught} of 60 lying disks were caught");
}

/// Negative control: so must one sync of data, or of names, that is left out.
#[test]
fn one_sync_left_out_is_caught() {
    for operation in [Operation::SyncData, Operation::SyncDir] {
        let caught = |seed: &u64| {
            let mut world = World::calm(*seed);
            for nth in 1..6 {
                world.storage.fail(operation, 3 * nth, Fault::Silent);
            }
            run(&mut world).is_err()
        };
        let caught = (0..60).filter(caught).count();
        assert!(caught >= 1, "leaving out {operation:?} was never caught");
        println!("{operation:?} left out: caught in {caught} of 60 histories");
    }
}
