//! Seeds, run one after another. `EYOT_SIM_SEEDS` sets how many, `EYOT_SIM_SEED` replays one.
#![allow(clippy::unwrap_used, clippy::panic)]

use eyot_test_sim::world::World;

/// Busy time of one history.
const BUSY_MS: u64 = 20_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn seeds() {
    let count = number("EYOT_SIM_SEEDS").unwrap_or(60);
    let mut crashes = 0;
    for seed in 0..count {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run(BUSY_MS);
            world.crashes
        });
        match run {
            Ok(of_run) => crashes += of_run,
            Err(panic) => {
                eprintln!("reproduce with: EYOT_SIM_SEED={seed} cargo test -p eyot-test-sim one_seed -- --nocapture");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{count} seeds, {crashes} power cuts");
    assert!(count < 20 || crashes > 0, "no seed had a power cut: the faults are not armed");
}

#[test]
fn one_seed() {
    if let Some(seed) = number("EYOT_SIM_SEED") {
        World::new(seed).run(BUSY_MS);
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    let run = |seed| {
        let mut world = World::new(seed);
        world.run(2_000);
        world.fingerprint()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
