//! What a function takes of the heap, for the budgets of nodes: `cargo run --release -p eyot-engine --example heap -- FILE…`
//!
//! Prints, for each module under a node's limits, its size, the most that was allocated while it was loaded, and what stays,
//! both without the module's own bytes. Pointers of this machine are larger than a node's, so a node needs less.

#![allow(clippy::expect_used)] // there is nobody to report to

use allocation_counter::measure;
use eyot_engine::{Function, LoadOptions, OverCeiling, StackLimits};
use eyot_wire::manifest::Limits;

fn main() {
    let limits = Limits {
        fuel: 1_000_000,
        memory_bytes: 64 << 10,
        output_bytes: 4 << 10,
        state_bytes: 4 << 10,
        deadline_ms: 1000,
    };
    let stack = StackLimits { calls: 64, values_bytes: 8 << 10 };
    println!("{:>9} {:>9} {:>9}  module", "bytes", "peak", "kept");
    for path in std::env::args().skip(1) {
        let module = std::fs::read(&path).expect("the file can be read");
        let options =
            LoadOptions { ceiling: limits, over_ceiling: OverCeiling::Lower, stack, ..LoadOptions::default() };
        let mut loaded = None;
        let taken = measure(|| loaded = Some(Function::load(&module, options)));
        match loaded {
            Some(Ok(_)) => println!("{:>9} {:>9} {:>9}  {path}", module.len(), taken.bytes_max, taken.bytes_current),
            Some(Err(error)) => println!("{:>9} {error}  {path}", module.len()),
            None => {}
        }
    }
}
