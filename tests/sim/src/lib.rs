//! The real state machine in a simulated world: one seed, one history.
//!
//! Nothing here waits or touches the machine it runs on: time is a number, the disk is the spool's in-memory twin,
//! brokers and links are queues. The same seed always gives the same history, so a failure is reproduced by its seed. What
//! fails is made smaller first, and the message says how to play it again.
//!
//! ```sh
//! cargo test -p eyot-test-sim                                     # a minute, unoptimized
//! EYOT_SIM_SEEDS=1000 cargo test --release -p eyot-test-sim       # a thousand hours, in minutes; EYOT_SIM_FIRST=1000: others
//! EYOT_SIM_SEED=7 cargo test --release -p eyot-test-sim one_seed  # one of them
//! ```
//!
//! Modules, in the order a message meets them:
//! - [`scenario`]: what one history is made of; [`faults`]: what goes wrong in it, and how often.
//! - [`broker`]: the local broker: queues, in-flight limit, sessions it may forget.
//! - [`guest`]: the functions; [`output`]: what they emit.
//! - [`operator`]: pushes versions of them and signs commands; [`shelf`]: where the gateway keeps what was pushed.
//! - [`gateway`]: the state machine with a disk that tears and a sync that takes time or fails.
//! - [`cloud`]: the brokers outputs go to.
//! - `weather`: what befalls the world, and when.
//! - [`world`]: the clock and the order of events; `links`: what goes to and fro.
//! - [`check`]: what must hold, always and in the end; [`stream`]: what a destination saw; [`force`]: which version is in
//!   force, and what is beside it; `extra`: the function that comes and goes; `books`: what a ledger may say.
//! - [`tally`]: what histories came to.
//! - [`planted`]: mistakes that the checks must find.
//! - [`hunt`]: plays scenarios, and makes the ones that fail smaller.

// A simulation that meets the impossible stops where it is and names its seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod books;
pub mod broker;
pub mod check;
pub mod cloud;
mod extra;
pub mod faults;
pub mod force;
pub mod gateway;
pub mod guest;
pub mod hunt;
mod links;
pub mod operator;
pub mod output;
pub mod planted;
pub mod scenario;
pub mod shelf;
pub mod stream;
pub mod tally;
pub mod way;
mod weather;
pub mod world;
