//! A microcontroller node: takes samples, runs a function on each, keeps the outputs until a gateway has them.
//!
//! It builds without an operating system. Hardware comes in through the traits of `embedded-hal` and `embedded-io`, and what
//! they have no word for through [`Board`]; a chip's program is a table of [`Channel`]s, a serial line, and a loop around
//! [`Node::turn`]. Functions are the modules that gateways run, by the same engine, under limits that fit a small memory.
//!
//! **Memory**: queue and buffers are in [`Node`] itself, with a size known at compile time. The heap holds the function: some
//! ten times its module while it is loaded. All of a node is lost when it starts anew, see [`Ledger`] for what that means; but for
//! its function's state, on a board with a [`Keeper`].
//!
//! Modules, in the order data passes through them:
//! - [`sample`]: what is sampled, and when; [`sensors`]: drivers of the ecosystem as what is sampled.
//! - [`invoke`]: the function.
//! - [`queue`]: outputs until they are acknowledged.
//! - [`link`]: the gateway's other end; [`install`]: modules that come over it.
//! - [`update`]: its own program, renewed; `slots`, with the feature `boot`: where that is written.
//! - [`keep`]: its state, over a reset; `flash`, with the feature of that name: where that is kept.
//! - [`node`]: all of it together.
#![no_std]

extern crate alloc;

#[cfg(feature = "flash")]
pub mod flash;
pub mod install;
pub mod invoke;
pub mod keep;
pub mod link;
pub mod node;
pub mod queue;
pub mod sample;
pub mod sensors;
#[cfg(feature = "boot")]
pub mod slots;
pub mod update;

pub use eyot_engine::StackLimits;
pub use eyot_wire::link::Ledger;
pub use eyot_wire::manifest::Limits;
pub use invoke::NodeLimits;
pub use keep::Keeper;
pub use node::{Node, Options};
pub use sample::{Channel, Sample, Sensor, SensorError};
pub use update::Slots;

/// What a chip has to say for itself.
pub trait Board {
    /// Milliseconds since it started. Never steps back.
    fn uptime_ms(&mut self) -> u64;

    /// Called at least at every turn and between the slices of a function, that is every few milliseconds: the place to feed
    /// a watchdog, and to move bytes out of a serial port that cannot hold them for long.
    fn alive(&mut self);

    /// Bytes of the heap in use, and all of it.
    fn heap(&self) -> (usize, usize);
}
