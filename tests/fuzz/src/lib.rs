//! Everything that reads bytes from outside, under mutated input.
//!
//! A [`Target`] is one reader with what must hold for any bytes. The tests of this crate run each for some seconds, beginning
//! with the files below `corpus`, and print a seed that repeats the run.
//!
//! Modules, in the order bytes pass through them:
//! - [`seeds`]: inputs made by our own writers, and the files that hold them;
//! - [`mutate`]: what becomes of them;
//! - [`targets`]: what reads them.

#![allow(clippy::panic, clippy::indexing_slicing)] // what is wrong with a reader is told by a panic

pub mod mutate;
pub mod seeds;
pub mod targets;

/// One reader of bytes from outside.
pub struct Target {
    /// Also the name of its corpus.
    pub name: &'static str,
    /// Reads the bytes; whether they were taken for what they claim to be. Panics if something is wrong.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that are taken, by name; the files of the corpus are made of them.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    targets::ALL.iter().find(|target| target.name == name)
}
