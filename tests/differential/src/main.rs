//! The engine beside another WebAssembly runtime: random functions do the same in both, message after message.
//!
//! What they emit, log and remember, what their memory, globals and tables hold at the end, how they fail: all of it to the bit,
//! NaNs included. Ours puts one instance back after each message, the other one makes a new one. A function that does not do the
//! same is kept, with its seed.
//!
//! `cargo test --manifest-path tests/differential/Cargo.toml`, from the top of the repository; `-- --nocapture` shows what came
//! of it. `EYOT_FUZZ_MODULES` is how many (1,000, some minutes), `EYOT_FUZZ_SEED` the first seed.
//!
//! In the order things pass: `smith` makes modules, with functions of `shell` around them; `ours` and `reference`, with its
//! `host`, run them; `seen` is what is compared.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)] // a mistake in a generator has nobody to report to

mod host;
mod ours;
mod reference;
mod seen;
mod shell;
mod smith;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use eyot_test_hostile::choices::Choices;
use eyot_test_hostile::generate;

use reference::Reference;
use seen::{End, Limits, Message, Refusal, Seen};

const MODULES: u64 = 1_000;
const MESSAGES: usize = 4;
/// Both runtimes need some for deep calls.
const STACK_BYTES: usize = 32 << 20;

/// What came of all modules.
#[derive(Debug, Default)]
struct Tally {
    modules: u64,
    /// Neither runtime loads them, by the same reason; or only ours does not.
    refused: BTreeMap<String, u64>,
    messages: u64,
    ends: BTreeMap<String, u64>,
    emits: u64,
    emitted_bytes: u64,
    state_ops: u64,
    logs: u64,
    host_calls: u64,
    /// Ended because a stack of one of the runtimes was full.
    stack: u64,
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The module of a seed, what made it, and its limits.
fn generated(seed: u64) -> Option<(Vec<u8>, Limits)> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let wasm = match rng.u8(..4) {
        0 => generate::module(&mut Choices::seeded(seed)),
        _ => smith::module(&mut rng)?,
    };
    let small = rng.u8(..8) == 0;
    let limits = Limits {
        memory_bytes: if small { 200 << 10 } else { 1 << 20 },
        output_bytes: if small { 4 << 10 } else { 8 << 20 },
        state_bytes: if small { 100 } else { 64 << 10 },
    };
    Some((wasm, limits))
}

fn round(reference: &Reference, seed: u64, tally: &mut Tally) {
    let Some((wasm, limits)) = generated(seed) else { return };
    tally.modules += 1;
    let (ours, theirs) = (ours::load(&wasm, &limits), reference.load(&wasm, &limits));
    let (mut ours, mut theirs) = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (ours, theirs) => return refused(seed, ours.err(), theirs.err(), tally),
    };
    let mut rng = fastrand::Rng::with_seed(!seed);
    for number in 0..MESSAGES {
        let mut payload = vec![0; rng.usize(..100)];
        rng.fill(&mut payload);
        let message = Message { payload, now_ms: rng.i64(..), seed: rng.u64(..) };
        let (seen, expected) = (ours::invoke(&mut ours, &message), theirs.invoke(&message));
        tally.messages += 1;
        if seen.end == End::Stack || expected.end == End::Stack {
            tally.stack += 1;
            // They may differ from here on, by what this message would have remembered.
            break;
        }
        count(&expected, tally);
        if seen != expected {
            let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("differential-{seed}.wasm"));
            std::fs::write(&file, &wasm).unwrap();
            panic!(
                "message {number} of {}\nEYOT_FUZZ_SEED={seed} EYOT_FUZZ_MODULES=1 cargo test --manifest-path tests/differential/Cargo.toml\n{}",
                file.display(),
                difference(&seen, &expected)
            );
        }
    }
    tally.host_calls += theirs.calls;
}

fn count(seen: &Seen, tally: &mut Tally) {
    let end = match &seen.end {
        End::Done { .. } => "done".to_owned(),
        End::Code(_) => "code".to_owned(),
        other => format!("{other:?}"),
    };
    *tally.ends.entry(end).or_default() += 1;
    tally.emits += seen.emits.len() as u64;
    tally.emitted_bytes += seen.emits.iter().map(|(_, payload)| payload.len() as u64).sum::<u64>();
    tally.state_ops += seen.state_ops.len() as u64;
    tally.logs += seen.logs.len() as u64;
}

fn refused(seed: u64, ours: Option<Refusal>, theirs: Option<Refusal>, tally: &mut Tally) {
    let reason = match (&ours, &theirs) {
        // A limit that only ours has.
        (Some(Refusal::Ours(reason)), _) => reason.chars().filter(|c| !c.is_ascii_digit()).collect(),
        (Some(ours), Some(theirs)) if ours == theirs => format!("{ours:?}"),
        (Some(Refusal::Start(End::Stack | End::Fuel)), _) | (_, Some(Refusal::Start(End::Stack))) => "stack".to_owned(),
        _ => panic!("EYOT_FUZZ_SEED={seed} EYOT_FUZZ_MODULES=1: ours {ours:?}, theirs {theirs:?}"),
    };
    *tally.refused.entry(reason).or_default() += 1;
}

/// Both, without what is the same in both.
fn difference(seen: &Seen, expected: &Seen) -> String {
    let mut text = format!("ended with {:?}, must end with {:?}\n", seen.end, expected.end);
    if seen.emits.len() != expected.emits.len() {
        text += &format!("{} emits, must be {}\n", seen.emits.len(), expected.emits.len());
    }
    for (number, (ours, theirs)) in seen.emits.iter().zip(&expected.emits).enumerate().filter(|(_, (a, b))| a != b) {
        let at = ours.1.iter().zip(&theirs.1).position(|(a, b)| a != b).unwrap_or_default();
        let around = |bytes: &[u8]| format!("{:02x?}", &bytes[at & !7..bytes.len().min((at & !7) + 16)]);
        text += &format!(
            "emit {number}, {:?} of {} bytes, must be {:?} of {}; from byte {at} on, around it {} and {}\n",
            ours.0,
            ours.1.len(),
            theirs.0,
            theirs.1.len(),
            around(&ours.1),
            around(&theirs.1)
        );
    }
    let rest = |seen: &Seen| format!("{:?}", Seen { emits: Vec::new(), ..seen.clone() });
    if rest(seen) != rest(expected) {
        text += &format!("{}\nmust be\n{}", rest(seen), rest(expected));
    }
    text
}

#[test]
fn random_functions_do_the_same_in_another_runtime() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let first = from_env("EYOT_FUZZ_SEED").unwrap_or(now >> 16);
    let modules = from_env("EYOT_FUZZ_MODULES").unwrap_or(MODULES);
    println!("EYOT_FUZZ_SEED={first} EYOT_FUZZ_MODULES={modules}");
    let run = move || {
        let (reference, mut tally) = (Reference::new(), Tally::default());
        (first..first + modules).for_each(|seed| round(&reference, seed, &mut tally));
        tally
    };
    let tally = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap().join().unwrap();
    println!("{tally:#?}");
    if modules >= 1000 {
        tells_enough(&tally);
    }
}

/// Functions that are refused, or fail at once, or call nothing, prove little.
fn tells_enough(tally: &Tally) {
    let done = tally.ends.get("done").copied().unwrap_or_default();
    assert!(tally.messages > 2 * tally.modules, "few functions are loaded");
    assert!(done > tally.messages / 2, "few messages end well");
    assert!(tally.ends.len() > 6, "there are few ways to fail");
    assert!(tally.stack < tally.messages / 50, "the stacks hide too much");
    assert!(tally.host_calls > 10 * tally.modules && tally.state_ops > tally.modules && tally.logs > tally.modules);
}
