//! The log held to its promises, on a disk that tears, fails, fills up and lies.
//!
//! - `model`: what a log is expected to hold. `world`: a log, its disk, its readers and the model.
//! - `random`: histories by seed, and negative controls. `sweep`: each call to the disk fails in turn.
//! - `damage`: bytes that are not what was written. `rewrite`: old segments made smaller. `lowered`: a quota made smaller.
//!   `full`: no room. `cache`: what did not come onto the disk. `files`: the real disk. `regressions`: what was once found.

// These are tests: they may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cache;
mod damage;
mod files;
mod full;
mod lowered;
mod model;
mod random;
mod regressions;
mod rewrite;
mod sweep;
mod world;
