//! The real state machine in a simulated world: one seed, one history.
//!
//! Nothing here waits or touches the machine it runs on: time is a number, the disk is the spool's in-memory twin,
//! brokers and links are queues. The same seed always gives the same history, so a failure is reproduced by its seed:
//! `EYOT_SIM_SEED=<seed> cargo test -p eyot-test-sim one_seed -- --nocapture`.
//!
//! Modules, in the order a message meets them:
//! - [`faults`]: what goes wrong, and how often.
//! - [`broker`]: the local broker: queues, in-flight limit, sessions it may forget.
//! - [`guest`]: the functions.
//! - [`gateway`]: the state machine with a disk that tears and a sync that takes time or fails.
//! - [`cloud`]: the brokers outputs go to, and what they saw.
//! - `weather`: what befalls the world, and when.
//! - [`world`]: the clock and the order of events.
//! - [`check`]: what must hold, always and in the end.

// A simulation that meets the impossible stops where it is and names its seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod broker;
pub mod check;
pub mod cloud;
pub mod faults;
pub mod gateway;
pub mod guest;
mod weather;
pub mod world;
