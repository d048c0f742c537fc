//! A node on a laptop: its board, its serial line and its gateway are simulated, its function is real.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod function;
mod keep;
mod lies;
mod queue;
mod update;
mod way;
