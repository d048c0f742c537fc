//! Every attack through the engine: it ends as it must, in the time that its fuel stands for, and a function beside it
//! notices nothing.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

use std::collections::BTreeSet;
use std::time::Duration;

use eyot_engine::limits::{GUEST_STACK_MIN_BYTES, INIT_FUEL};
use eyot_engine::{Function, LoadError, Usage};
use eyot_test_hostile::attacks::{all, Attack, End};
use eyot_test_hostile::clock::timed;
use eyot_test_hostile::guest::{guest, load, MESSAGE};
use eyot_wire::code::Failure;
use eyot_wire::manifest::NAME_MAX_BYTES;

/// Long enough that the clock does not matter.
const FUEL: u64 = 10_000_000;
/// Of several runs the shortest counts: caches are warm, and nothing else ran.
const RUNS: usize = 3;
/// Of what its fuel stands for, a message may take so much.
const SLACK: u32 = 2;
/// Loading may take so long for each byte of the module, on top of what the fuel of its start stands for.
const LOAD_PER_BYTE: Duration = Duration::from_nanos(250);
/// Whatever there is to load.
const LOAD_AT_LEAST: Duration = Duration::from_millis(20);

fn on_a_guest_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(GUEST_STACK_MIN_BYTES);
        thread.spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

fn with_fuel(attack: &Attack) -> Result<Function, LoadError> {
    let fuel = if attack.limits.contains("fuel") { String::new() } else { format!("\nfuel = {FUEL}") };
    load(&attack.wasm, &(attack.limits.clone() + &fuel))
}

#[track_caller]
fn ends_as_it_must(attack: &Attack, result: &Result<Usage, Failure>) {
    match (attack.end, result) {
        (End::Nothing, Ok(_)) => {}
        (End::Fails(word, text), Err(failure)) if failure.word() == word && failure.to_string().contains(text) => {}
        (end, result) => panic!("{}: must end with {end:?}, not {result:?}", attack.name),
    }
}

/// What a message of a function that behaves comes to.
fn honest(function: &mut Function) -> (Usage, Vec<u8>) {
    let usage = function.invoke(&MESSAGE).unwrap();
    let payloads = function.effects().emits().flat_map(|emit| emit.payload.to_vec()).collect();
    (usage, payloads)
}

fn honest_function() -> Function {
    let body = "(i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
                (drop (call $emit (i32.const 16) (i32.const 5) (i32.const 64) (i32.const 4)))
                (call $emit (i32.const 16) (i32.const 5) (local.get $p) (local.get $pl))";
    load(&guest(r#"(data (i32.const 16) "out/a")"#, body), "").unwrap()
}

#[test]
fn the_names_of_attacks_are_names_of_functions() {
    let attacks = all();
    assert_eq!(attacks.iter().map(|attack| &attack.name).collect::<BTreeSet<_>>().len(), attacks.len());
    for Attack { name, .. } in &attacks {
        assert!(name.len() <= NAME_MAX_BYTES, "{name}");
        assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')), "{name}");
    }
}

#[test]
fn every_attack_ends_as_it_must_and_a_function_beside_it_goes_on() {
    on_a_guest_stack(|| {
        let mut beside = honest_function();
        let expected = honest(&mut beside);
        assert_eq!(expected.1, b"\x01\0\0\0payload");
        for attack in all() {
            match with_fuel(&attack) {
                Ok(mut function) => (0..RUNS).for_each(|_| {
                    let result = function.invoke(&MESSAGE);
                    ends_as_it_must(&attack, &result);
                    if result.is_err() {
                        let effects = function.effects();
                        assert_eq!(effects.emit_count() + effects.state_ops().count(), 0, "{}", attack.name);
                    }
                }),
                Err(error) => match attack.end {
                    End::Refused(reason) if error.to_string().contains(reason) => {}
                    end => panic!("{}: must end with {end:?}, not {error}", attack.name),
                },
            }
            assert_eq!(honest(&mut beside), expected, "beside {}", attack.name);
        }
    });
}

/// What a unit of fuel takes in a loop of branches: of all ordinary instructions they are the slowest.
fn price() -> Duration {
    let mut function = load(&guest("", "(loop $again (br $again)) unreachable"), &format!("fuel = {FUEL}")).unwrap();
    (0..RUNS).map(|_| timed(|| function.invoke(&MESSAGE)).0).min().unwrap_or_default()
}

/// Time that `fuel` stands for.
fn stands_for(price: Duration, fuel: u64) -> Duration {
    price.mul_f64(fuel as f64 / FUEL as f64)
}

/// The clock is the thread's own, and what a unit of fuel takes is measured anew beside each attack, so that neither other
/// work nor a processor that slows down counts. A message's time holds that of the reset after it.
#[test]
#[cfg_attr(debug_assertions, ignore = "only optimised code keeps the times")]
fn every_attack_keeps_to_the_time_its_fuel_stands_for() {
    on_a_guest_stack(|| {
        for attack in all() {
            let price = price();
            let (loading, loaded) =
                (0..RUNS).map(|_| timed(|| with_fuel(&attack))).min_by_key(|(time, _)| *time).unwrap();
            let most = LOAD_AT_LEAST + LOAD_PER_BYTE * attack.wasm.len() as u32 + stands_for(price, INIT_FUEL) * SLACK;
            assert!(loading <= most, "{}: loading took {loading:?}, more than {most:?}", attack.name);
            let Ok(mut function) = loaded else { continue };
            let mut fuel = FUEL;
            let run = || {
                let (time, result) = timed(|| {
                    let result = function.invoke(&MESSAGE);
                    function.reset();
                    result
                });
                if let Ok(usage) = result {
                    fuel = usage.fuel;
                }
                time
            };
            let took = std::iter::repeat_with(run).take(RUNS).min().unwrap_or_default();
            // After a failure the function starts again, which has fuel of its own.
            let most = stands_for(price, fuel + INIT_FUEL) * SLACK;
            assert!(took <= most, "{}: a message took {took:?}, more than {most:?}", attack.name);
        }
    });
}
