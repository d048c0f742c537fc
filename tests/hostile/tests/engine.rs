//! Every attack through the engine: it ends as it must, in the time that its fuel stands for, and a function beside it
//! notices nothing.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

use std::collections::BTreeSet;
use std::time::Duration;

use eyot_engine::limits::{GUEST_STACK_MIN_BYTES, INIT_FUEL};
use eyot_engine::{Function, LoadError, Usage};
use eyot_test_hostile::attacks::{all, Attack, End, SUBNORMAL};
use eyot_test_hostile::clock::{subnormal_penalty, timed};
use eyot_test_hostile::guest::{guest, load, MESSAGE};
use eyot_wire::code::Failure;
use eyot_wire::manifest::NAME_MAX_BYTES;

/// Long enough that the clock does not matter.
const FUEL: u64 = 10_000_000;
/// Of several runs the shortest counts: caches are warm, and nothing else ran.
const RUNS: usize = 3;
/// Of one that is too slow, so many: a neighbour on the machine may have had the memory meanwhile.
const RUNS_MAX: usize = 10;
/// Of what its fuel stands for, a message may take so much. On a machine of its own none takes more than twice; two and a half
/// times was seen of what moves memory in a virtual machine whose neighbours want the memory too.
const SLACK: u32 = 4;
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
/// work nor a processor that slows down counts. A message's time holds that of the reset after it. All that is too slow is
/// told of at once: processors differ in what they are slow at.
#[test]
#[cfg_attr(debug_assertions, ignore = "only optimised code keeps the times")]
fn every_attack_keeps_to_the_time_its_fuel_stands_for() {
    let late: Vec<String> = on_a_guest_stack(|| all().iter().filter_map(|attack| lateness(attack).err()).collect());
    assert!(late.is_empty(), "{late:#?}");
}

fn lateness(attack: &Attack) -> Result<(), String> {
    let price = price();
    // Fuel is the same on every processor, so it cannot charge for what few of them are slow at.
    let penalty = if attack.name == SUBNORMAL { subnormal_penalty() } else { Duration::ZERO };
    let (loading, loaded) = (0..RUNS).map(|_| timed(|| with_fuel(attack))).min_by_key(|(time, _)| *time).unwrap();
    let most = LOAD_AT_LEAST + LOAD_PER_BYTE * attack.wasm.len() as u32 + stands_for(price, INIT_FUEL) * SLACK;
    if loading > most {
        return Err(format!("{}: loading took {loading:?}, more than {most:?}", attack.name));
    }
    let Ok(mut function) = loaded else { return Ok(()) };
    let mut shortest = Duration::MAX;
    let mut most = Duration::ZERO;
    for run in 0..RUNS_MAX {
        let (took, result) = timed(|| {
            let result = function.invoke(&MESSAGE);
            function.reset();
            result
        });
        shortest = shortest.min(took);
        let fuel = result.map_or(FUEL, |usage| usage.fuel);
        // After a failure the function starts again, which has fuel of its own.
        most = (stands_for(price, fuel + INIT_FUEL) + penalty.mul_f64(fuel as f64)) * SLACK;
        if run + 1 >= RUNS && shortest <= most {
            return Ok(());
        }
    }
    Err(format!("{}: a message took {shortest:?}, more than {most:?}", attack.name))
}
