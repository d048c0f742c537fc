//! Random functions that have run cannot be told from fresh ones by the next message.
//!
//! `EYOT_HOSTILE_SEED` repeats one seed, `EYOT_HOSTILE_ROUNDS` runs longer.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

use eyot_engine::limits::GUEST_STACK_MIN_BYTES;
use eyot_engine::{Function, Invocation, Step, Usage};
use eyot_test_hostile::choices::Choices;
use eyot_test_hostile::generate::{module, text};
use eyot_test_hostile::guest::{load, MESSAGE};
use eyot_wire::code::Failure;

const ROUNDS: u64 = 500;
const MESSAGES: u64 = 6;
const LIMITS: &str = "fuel = 20_000_000\nmemory = \"1MiB\"\noutput = \"64KiB\"";

/// All that can be seen of a message.
#[derive(Debug, PartialEq)]
struct Seen {
    result: Result<Usage, Failure>,
    emits: Vec<(String, Vec<u8>)>,
    state_ops: Vec<String>,
    logs: Vec<String>,
    refused: String,
}

fn see(function: &mut Function, message: &Invocation<'_>) -> Seen {
    let result = function.invoke(message);
    let effects = function.effects();
    Seen {
        result,
        emits: effects.emits().map(|emit| (emit.topic.to_owned(), emit.payload.to_vec())).collect(),
        state_ops: effects.state_ops().map(|op| format!("{op:?}")).collect(),
        logs: effects.logs().map(|line| format!("{line:?}")).collect(),
        refused: format!("{:?}, {} logs", effects.refused_emits(), effects.logs_dropped()),
    }
}

/// What a round was good for.
#[derive(Debug, Default)]
struct Tally {
    loaded: u64,
    ended_well: u64,
    failed: u64,
}

fn round(seed: u64, tally: &mut Tally) {
    let choices = &mut Choices::seeded(seed);
    let wasm = module(choices);
    let Ok(mut used) = load(&wasm, LIMITS) else { return };
    tally.loaded += 1;
    for number in 0..MESSAGES {
        // What came before: messages that end by themselves, and one that is given up where it yields.
        for _ in 0..=choices.below(2) {
            let payload = choices.bytes(40);
            let before = Invocation { payload: &payload, seed: choices.number(), ..MESSAGE };
            if choices.once_in(4) && used.begin(&before) == Step::Yield {
                used.abort();
            } else {
                let _ = used.invoke(&before);
            }
        }
        let mut fresh = load(&wasm, LIMITS).unwrap();
        fresh.state_mut().clone_from(used.state());
        let payload = choices.bytes(40);
        let message = Invocation { payload: &payload, seed: choices.number(), ..MESSAGE };
        let (seen, expected) = (see(&mut used, &message), see(&mut fresh, &message));
        match &expected.result {
            Ok(_) => tally.ended_well += 1,
            Err(_) => tally.failed += 1,
        }
        assert!(
            seen == expected && used.state() == fresh.state(),
            "EYOT_HOSTILE_SEED={seed}, message {number}: {seen:#?}\nbut a fresh instance: {expected:#?}\n{}",
            text(&mut Choices::seeded(seed))
        );
    }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_functions_cannot_be_told_from_fresh_ones() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let first = from_env("EYOT_HOSTILE_SEED").unwrap_or(now >> 16);
    let rounds =
        from_env("EYOT_HOSTILE_ROUNDS").unwrap_or(if from_env("EYOT_HOSTILE_SEED").is_some() { 1 } else { ROUNDS });
    println!("EYOT_HOSTILE_SEED={first} EYOT_HOSTILE_ROUNDS={rounds}");
    let run = move || {
        let mut tally = Tally::default();
        (first..first + rounds).for_each(|seed| round(seed, &mut tally));
        tally
    };
    let thread = std::thread::Builder::new().stack_size(GUEST_STACK_MIN_BYTES);
    let tally = thread.spawn(run).unwrap().join().unwrap();
    println!("{tally:?}");
    // A generator that makes only functions that fail proves little.
    assert!(rounds < 100 || tally.loaded > rounds / 2 && tally.ended_well > tally.failed / 2, "{tally:?}");
}
