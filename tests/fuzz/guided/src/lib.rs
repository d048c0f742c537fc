//! The readers of `tests/fuzz` under libFuzzer, which makes new inputs of those that came furthest. A program for each:
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz/guided NAME FOUND tests/fuzz/corpus/NAME` keeps what it finds new in the
//! folder FOUND.

#![allow(clippy::panic)] // what is wrong with a reader is told by a panic

use std::panic::resume_unwind;
use std::thread;

use eyot_engine::limits::GUEST_STACK_MIN_BYTES;
use eyot_test_fuzz::target;

#[doc(hidden)]
pub use libfuzzer_sys;

/// Gives an input to the reader of this name, on a stack that functions can run on.
///
/// # Panics
/// If something is wrong with the reader, or there is none of this name.
pub fn read(name: &str, bytes: &[u8]) {
    let Some(target) = target(name) else { panic!("no reader is named {name}") };
    thread::scope(|scope| {
        let reader = thread::Builder::new().stack_size(2 * GUEST_STACK_MIN_BYTES);
        let reader =
            reader.spawn_scoped(scope, || (target.run)(bytes)).unwrap_or_else(|error| panic!("no thread: {error}"));
        if let Err(panic) = reader.join() {
            resume_unwind(panic);
        }
    });
}

/// What a program that is to be one reader consists of.
#[macro_export]
macro_rules! reader {
    ($name:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::read(stringify!($name), bytes));
    };
}
