//! The gateway as a state machine: intake, route, invoke, commit, forward.
//!
//! This crate never looks at a clock, a socket, a task or a random number, and touches files only through
//! [`eyot_spool::Storage`]. Whoever embeds it calls [`Core::handle`] for everything that happens, then takes
//! [`Core::poll`]'s effects until there are none, and calls again no later than [`Core::deadline_us`]. Given the same
//! inputs it does the same thing, which is how the simulator finds what goes wrong and how a failure is reproduced.
//!
//! Modules, in the order data passes through them:
//! - [`config`]: what the machine needs to know at start.
//! - [`io`]: inputs and effects, the only ways in and out.
//! - [`task`]: what is asked of the store of modules, beside the data path.
//! - `recover`: from the log back to ledger and state.
//! - `machine`: the machine itself: takes inputs and decides whose turn it is; `live`: lets new outputs overtake a backlog.
//! - `intake`: admits messages and learns how many the broker sends before it waits.
//! - `triggers`: which functions a topic wakes.
//! - `functions`: finds the functions a message triggers and begins with them; `active`: one of them, `instances`: what it runs in.
//! - `job`: what takes longer, on its way to a worker and back; `flight`: the messages that are not in the log meanwhile.
//! - `dead`: what becomes of failures and refusals.
//! - `capture`: messages recorded on command, to be run again elsewhere.
//! - `shadow`: versions on trial, beside the one in force.
//! - `canary`: versions on trial that have a share of the messages.
//! - `breaker`: leaves a function alone that fails on message after message.
//! - [`deploy`]: which version of a function is in force, and how it comes to be.
//! - [`node`]: microcontrollers behind the gateway, and how they are; [`sensor`]: sensors at the gateway itself.
//! - `down`: messages from an uplink, which pass no function on their way to the local broker.
//! - `wear`: what commits cost the flash, and how long a message may wait to share one.
//! - `commit`: one record per message, one sync per batch, then the acknowledgements.
//! - `streams`: which outputs go where: each route of an uplink is a stream with numbers of its own.
//! - `backlog`: how much may wait for an uplink.
//! - `forward`: delivers each stream from the log, in order, from its own place; `lane`: streams that share a link, the
//!   urgent ones first; `sending`: what is on its way; `passing`: what of a record matters to a stream; `pace`: how fast, and how old at most; `bodies`:
//!   what of it is in memory.
//! - `thinning`: what becomes of each output when old segments are rewritten; `gone`: what is left in its place.
//! - [`ledger`]: accounts for every message and output.
//! - `notice`, `notices`, `status`, `capacity`: what operators get to read.

pub mod config;
pub mod finished;
pub mod io;
pub mod ledger;

mod active;
mod backlog;
mod bodies;
mod breaker;
pub mod canary;
mod capacity;
mod capture;
mod commit;
mod dead;
pub mod deploy;
mod down;
mod flight;
mod forward;
mod functions;
mod gone;
mod instances;
mod intake;
mod job;
mod lane;
mod machine;
pub mod needs;
pub mod node;
mod notice;
mod notices;
mod pace;
mod passing;
mod recover;
mod sending;
pub mod sensor;
pub mod shadow;
mod status;
mod streams;
pub mod task;
mod thinning;
mod triggers;
mod wear;

pub use active::Loaded;
pub use functions::JOBS_MAX;
pub use job::Replica;
pub use machine::{Core, OpenError};
pub use recover::{KIND_COMMIT, KIND_LEDGER};
