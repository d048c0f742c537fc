//! Seeds, run one after another. `EYOT_SIM_SEEDS` sets how many, `EYOT_SIM_SEED` replays one.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::panic::{catch_unwind, resume_unwind};

use eyot_core::config::WhenFull;
use eyot_core::io::LinkId;
use eyot_test_sim::gateway::{Planted, Setup};
use eyot_test_sim::world::World;

const HOUR_MS: u64 = 3_600_000;
/// Busy time of one history. Without optimization the same costs ten times as much.
const BUSY_MS: u64 = if cfg!(debug_assertions) { HOUR_MS / 30 } else { HOUR_MS };
/// Histories of a run that asks for no other number.
const SEEDS: u64 = if cfg!(debug_assertions) { 20 } else { 100 };
/// Histories in which a planted mistake must show.
const PLANTED_SEEDS: u64 = 30;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn seeds() {
    let count = number("EYOT_SIM_SEEDS").unwrap_or(SEEDS);
    let (mut crashes, mut published) = (0, 0);
    for seed in 0..count {
        let run = catch_unwind(|| {
            let mut world = World::new(seed);
            world.run(BUSY_MS);
            (world.crashes, world.published())
        });
        match run {
            Ok((of_run, messages)) => {
                crashes += of_run;
                published += messages;
            }
            Err(panic) => {
                eprintln!("reproduce with: EYOT_SIM_SEED={seed} cargo test -p eyot-test-sim one_seed -- --nocapture");
                resume_unwind(panic);
            }
        }
    }
    println!("{count} seeds of {BUSY_MS} ms, {published} messages, {crashes} power cuts");
    assert!(count < 5 || crashes > 0, "no seed had a power cut: the faults are not armed");
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
        world.run(60_000);
        world.fingerprint()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

/// Gateways that make a mistake on purpose: if no check finds it, the checks are worth nothing.
#[track_caller]
fn is_found(planted: Planted) {
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..PLANTED_SEEDS).find(|seed| {
        let run = catch_unwind(|| World::with_planted(*seed, planted).run(HOUR_MS / 6));
        run.is_err()
    });
    std::panic::set_hook(silent);
    assert!(found.is_some(), "{planted:?} went unnoticed in {PLANTED_SEEDS} histories");
}

#[test]
fn planted_mistakes_are_found() {
    is_found(Planted::AckBeforeSync);
    is_found(Planted::ReorderOnReconnect);
    is_found(Planted::SkipSegment);
}

#[test]
fn a_month_without_the_cloud_arrives_afterwards() {
    let setup = Setup {
        when_full: WhenFull::Block,
        max_bytes: 64 << 20,
        traps: false,
        rate_max_per_s: None,
        ttl_ms: None,
        wear_budget_day_bytes: None,
        planted: None,
    };
    let mut world = World::quiet(1, setup, 20_000);
    world.cut_off(LinkId::uplink(0), 30 * 24 * HOUR_MS);
    world.advance(30 * 24 * HOUR_MS);
    assert_eq!(world.arrivals(), 0);
    assert!(world.published() > 100_000, "{}", world.published());
    world.heal();
    assert_eq!(world.arrivals() as u64, world.published());
}

/// Five messages a second, each in a commit of its own, would be twice the budget.
#[test]
fn a_wear_budget_is_kept_by_messages_that_wait_for_each_other() {
    const BUDGET_BYTES: u64 = 1 << 30;
    let setup = Setup {
        when_full: WhenFull::Block,
        max_bytes: 64 << 20,
        traps: false,
        rate_max_per_s: None,
        ttl_ms: None,
        wear_budget_day_bytes: Some(BUDGET_BYTES),
        planted: None,
    };
    let mut world = World::quiet(1, setup, 200);
    world.advance(6 * HOUR_MS);
    let status: serde_json::Value = serde_json::from_slice(&world.status()).unwrap();
    let wear = &status["wear"];
    assert_eq!(wear["state"], "stretched", "{wear}");
    assert!((11..1000).contains(&wear["commit_window_ms"].as_u64().unwrap()), "{wear}");
    let spent = wear["day_bytes"].as_u64().unwrap();
    assert!(spent > BUDGET_BYTES / 5 && spent < BUDGET_BYTES / 4 + BUDGET_BYTES / 24, "{wear}");
    assert!(wear["projected_day_bytes"].as_u64().unwrap() < BUDGET_BYTES, "{wear}");
    world.heal();
    assert_eq!(world.arrivals() as u64, world.published());
}

/// The disk fills up while nothing waits for it: no commit comes along that would find out that it has room again.
#[test]
fn room_on_the_disk_is_found_when_nothing_is_under_way() {
    for (seed, when_full) in (0..4).flat_map(|seed| [(seed, WhenFull::DropOldest), (seed, WhenFull::Block)]) {
        let setup = Setup {
            when_full,
            max_bytes: 1 << 20,
            traps: false,
            rate_max_per_s: None,
            ttl_ms: None,
            wear_budget_day_bytes: None,
            planted: None,
        };
        let mut world = World::quiet(seed, setup, 2000);
        world.limit_disk(Some(150_000));
        world.advance(HOUR_MS);
        assert!(world.arrivals() > 0, "the disk has room for one segment");
        world.heal();
        assert_eq!(world.arrivals() as u64, world.published());
    }
}
