//! Keys, signatures and what follows from them, as the gateway and the tools use them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod altered;
mod command;
mod common;
mod fuzz;
mod keys;
mod policy;
mod reference;
mod release;
mod signing;
