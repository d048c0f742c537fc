//! Every attack under a counting allocator: what it makes the process allocate is bounded, and given back.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

use eyot_engine::limits::GUEST_STACK_MIN_BYTES;
use eyot_test_hostile::attacks::{all, Attack};
use eyot_test_hostile::guest::{load, MESSAGE};
use eyot_wire::module::MODULE_MAX_BYTES;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Compiled code, and what the compiler keeps meanwhile, for each byte of the module.
const PER_MODULE_BYTE: usize = 40;
/// The linear memory, once more while it grows, and its snapshot.
const MEMORIES: usize = 3;
/// Engine, stacks, tables, effects, logs, whatever the module is.
const FIXED_BYTES: usize = 3 << 20;
/// What an allocator may keep, and a test's output.
const LEFT_BYTES: usize = 4096;

fn keeps_within_bounds(attack: &Attack) {
    let Attack { name, wasm, limits, .. } = attack;
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let mut most = FIXED_BYTES;
    // What is too large is not even looked at.
    if wasm.len() <= MODULE_MAX_BYTES {
        most += PER_MODULE_BYTE * wasm.len();
    }
    if let Ok(mut function) = load(wasm, limits) {
        most += MEMORIES * function.manifest().limits.memory_bytes as usize;
        for _ in 0..3 {
            let _ = function.invoke(&MESSAGE);
        }
    }
    let used = ALLOCATED.peak_usage() - before;
    assert!(used <= most, "{name}: {used} bytes, at most {most} are expected");
    let left = ALLOCATED.current_usage().saturating_sub(before);
    assert!(left <= LEFT_BYTES, "{name}: {left} bytes are left behind");
}

/// The only test of this program, as others would count here too.
#[test]
fn what_an_attack_allocates_is_bounded_and_given_back() {
    let thread = std::thread::Builder::new().stack_size(GUEST_STACK_MIN_BYTES);
    thread.spawn(|| all().iter().for_each(keeps_within_bounds)).unwrap().join().unwrap();
}
