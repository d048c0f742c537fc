//! Every reader of bytes from outside, with its corpus and with mutations of it, for some seconds.
//!
//! `EYOT_FUZZ_SECONDS` is the time for each (2), `EYOT_FUZZ_SEED` the first seed. With 0 seconds it is the only one.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

use std::panic::{catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use eyot_engine::limits::GUEST_STACK_MIN_BYTES;
use eyot_test_fuzz::{mutate, seeds, target, targets, Target};

const SECONDS: u64 = 2;
/// So many mutations show whether they come as far as to be taken, and as far as to be refused.
const ROUNDS_TELLING: u64 = 500;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn fuzz(target: &Target) {
    let corpus: Vec<Vec<u8>> = seeds::read(target).unwrap().into_iter().map(|(_, bytes)| bytes).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let first = from_env("EYOT_FUZZ_SEED").unwrap_or(now >> 16);
    let time = Duration::from_secs(from_env("EYOT_FUZZ_SECONDS").unwrap_or(SECONDS));
    let (start, mut rounds, mut taken) = (Instant::now(), 0, 0);
    for seed in first.. {
        let input = mutate::mutated(&mut fastrand::Rng::with_seed(seed), &corpus);
        match catch_unwind(|| (target.run)(&input)) {
            Ok(was_taken) => taken += u64::from(was_taken),
            Err(panic) => {
                let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{seed}", target.name));
                let _ = std::fs::write(&file, &input);
                println!("the input is in {}; to repeat it:", file.display());
                println!(
                    "EYOT_FUZZ_SEED={seed} EYOT_FUZZ_SECONDS=0 cargo test -p eyot-test-fuzz --test targets {}",
                    target.name
                );
                resume_unwind(panic);
            }
        }
        rounds += 1;
        if start.elapsed() >= time {
            break;
        }
    }
    println!("{}: EYOT_FUZZ_SEED={first}, {rounds} inputs, {taken} taken", target.name);
    let tells = rounds < ROUNDS_TELLING || taken > rounds / 100 && taken < rounds;
    assert!(tells, "mutations that are all taken, or all refused, show little: {taken} of {rounds}");
}

/// Functions run in it too.
fn on_a_guest_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 * GUEST_STACK_MIN_BYTES).spawn(work).unwrap();
    thread.join().unwrap_or_else(|panic| resume_unwind(panic));
}

macro_rules! fuzz {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            on_a_guest_stack(|| fuzz(target(stringify!($name)).unwrap()));
        })*

        #[test]
        fn every_target_has_a_test() {
            let names: Vec<_> = targets::ALL.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

fuzz! {
    manifest topics line record capture module signature command key segments config reply envelope session
}

/// `cargo fuzz` has a program for each, which nothing else builds.
#[test]
fn every_target_is_one_for_cargo_fuzz() {
    let guided = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("guided");
    let manifest = std::fs::read_to_string(guided.join("Cargo.toml")).unwrap();
    let programs: Vec<_> = manifest.lines().filter_map(|line| line.strip_prefix("name = ")).skip(1).collect();
    let names: Vec<_> = targets::ALL.iter().map(|target| format!("\"{}\"", target.name)).collect();
    assert_eq!(programs, names);
    for target in targets::ALL {
        let program = std::fs::read_to_string(guided.join(format!("src/bin/{}.rs", target.name))).unwrap();
        assert!(program.contains(&format!("reader!({});", target.name)), "{program}");
    }
}

/// What our writers made is taken, today and later; a file that is no seed is an input that went wrong once.
#[test]
fn the_corpus_is_read() {
    on_a_guest_stack(|| {
        for target in targets::ALL {
            let seeds: Vec<&str> = (target.seeds)().iter().map(|(name, _)| *name).collect();
            let files = seeds::read(target).unwrap();
            for name in &seeds {
                let path = seeds::folder(target).join(name);
                assert!(path.exists(), "cargo run -p eyot-test-fuzz --example seeds writes {}", path.display());
            }
            for (name, bytes) in files {
                let taken = (target.run)(&bytes);
                assert!(taken || !seeds.contains(&name.as_str()), "{}/{name} is not taken", target.name);
            }
        }
    });
}
