//! `cargo run --release -p eyot-test-bench --bin micro`: what the steps of a message cost, each by itself.
#![allow(clippy::expect_used, reason = "there is nobody to report to")]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use eyot_engine::{Function, Invocation, LoadOptions};
use eyot_test_bench::gateway::MEMORY_DIR;
use eyot_test_bench::store::{Eyot, Store};
use eyot_test_e2e::guest;
use eyot_wire::filters::{Filters, Lookup};
use eyot_wire::topic::matches;

/// The best of so many counts.
const ROUNDS: usize = 7;
const FILTERS: u32 = 10_000;
const RECORD_BYTES: usize = 128;
const RECORDS_PER_COMMIT: usize = 50;

fn main() {
    println!("Nanoseconds, the best of {ROUNDS} rounds.\n\n| step | ns |\n|---|---|");
    invoke();
    route();
    append();
}

/// Nanoseconds that `step` takes.
fn nanoseconds(repeat: u32, mut step: impl FnMut()) -> f64 {
    let mut round = || {
        let start = Instant::now();
        (0..repeat).for_each(|_| step());
        start.elapsed().as_nanos() as f64 / f64::from(repeat)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn row(step: &str, ns: f64) {
    println!("| {step} | {ns:.0} |");
}

fn invoke() {
    let module = std::fs::read(guest::example("celsius")).expect("the example is checked in");
    let mut function = Function::load(&module, LoadOptions::default()).expect("the example loads");
    let payload = br#"{"device":"s042","t":17.5,"rh":63.5,"ts":1700000012345}"#;
    let message = Invocation { topic: "sensors/s042/raw", payload, now_ms: 1_700_000_012_345, seed: 1 };
    let whole = nanoseconds(20_000, || {
        black_box(function.invoke(black_box(&message))).expect("the example takes it");
    });
    let mut reset = f64::INFINITY;
    for _ in 0..ROUNDS {
        let mut spent = 0;
        for _ in 0..20_000 {
            black_box(function.invoke(black_box(&message))).expect("the example takes it");
            let start = Instant::now();
            function.reset();
            spent += start.elapsed().as_nanos();
        }
        reset = reset.min(spent as f64 / 20_000.0);
    }
    row("invoke: one message through `celsius`, reset included", whole);
    row("reset: its memory as it was, and two looks at the clock", reset);
}

fn route() {
    let filters: Vec<String> = (0..FILTERS).map(|sensor| format!("site/+/sensors/{sensor}/raw")).collect();
    let (mut tree, mut lookup) = (Filters::default(), Lookup::default());
    for (number, filter) in (0..).zip(&filters) {
        tree.insert(filter, number);
    }
    let topic = "site/7/sensors/1234/raw";
    row(
        "route: who of 10,000 subscriptions wants a topic",
        nanoseconds(100_000, || {
            black_box(tree.find(black_box(topic), &mut lookup));
        }),
    );
    row(
        "the same, one filter after the other",
        nanoseconds(50, || {
            black_box(filters.iter().filter(|filter| matches(filter, black_box(topic))).count());
        }),
    );
}

fn append() {
    let dir = tempfile::tempdir_in(Path::new(MEMORY_DIR)).expect("there is a file system in memory");
    let mut log = Eyot::open(dir.path(), true).expect("a new log opens");
    let record = [7; RECORD_BYTES];
    let commit = nanoseconds(2_000, || log.commit(black_box(&record), RECORDS_PER_COMMIT).expect("there is room"));
    row("append: a record of 128 bytes, 50 for each commit, log in memory", commit / RECORDS_PER_COMMIT as f64);
}
