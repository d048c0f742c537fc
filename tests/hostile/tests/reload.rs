//! A function that is loaded again and again: what a process keeps of it.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

use eyot_engine::limits::GUEST_STACK_MIN_BYTES;
use eyot_test_hostile::guest::{load, resident_bytes, small, MESSAGE};

/// Loads of the same function.
const RELOADS: u32 = 10_000;
/// What an allocator may do with the rest of a process meanwhile.
const FLAT_BYTES: u64 = 1 << 20;

/// The only test of this program, as others would count here too.
#[test]
fn ten_thousand_reloads_leave_memory_as_it_was() {
    let wasm = small();
    assert!((4000..6000).contains(&wasm.len()), "{}", wasm.len());
    let reload = move || {
        let mut after_some = 0;
        for number in 0..RELOADS {
            load(&wasm, "").unwrap().invoke(&MESSAGE).unwrap();
            if number == RELOADS / 10 {
                after_some = resident_bytes(std::process::id());
            }
        }
        let grown = resident_bytes(std::process::id()).saturating_sub(after_some);
        assert!(grown <= FLAT_BYTES, "{grown} bytes more");
    };
    std::thread::Builder::new().stack_size(GUEST_STACK_MIN_BYTES).spawn(reload).unwrap().join().unwrap();
}
