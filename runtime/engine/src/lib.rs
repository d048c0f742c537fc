//! Runs one WebAssembly function, message by message, under limits: the only place that knows wasmi.
//!
//! A [`Function`] is a deterministic map `(message, state, config) -> (effects, state')`. It implements function
//! interface version 1. It never does I/O, looks at a clock, draws entropy, or trusts a module: whatever the module
//! does ends in an error of the module.
//!
//! **The calling thread needs [`GUEST_STACK_MIN_BYTES`](limits::GUEST_STACK_MIN_BYTES) of stack**, and wasmi must be
//! built optimised and without debug assertions (the workspace profiles see to it): otherwise a hostile module can
//! overflow the native stack. On targets without an operating system a slower dispatch is used that needs no stack.
//!
//! Modules, in the order a module and then a message passes through them:
//! - `scan`: caps and prohibitions, checked before anything is compiled;
//! - `settings`: its manifest and configuration;
//! - `rewrite`: exports what a reset must reach; `selects`: keeps code apart that wasmi joins wrongly;
//! - `compile`: wasmi's configuration, and the types of imports and exports;
//! - `instance`, `snapshot`: start and reset;
//! - `function`: begins, slices and ends a message; between them, its `adapt` changes configuration and state;
//! - `meter`, `growth`: its fuel and its memory;
//! - `host`: what it may call;
//! - [`state`], `pending`: what it remembers, and what it is about to;
//! - [`effects`]: what it did;
//! - [`limits`], [`error`]: what is too much, and what is said then.
#![no_std]

extern crate alloc;

mod compile;
pub mod effects;
pub mod error;
mod function;
mod growth;
mod host;
mod instance;
pub mod limits;
mod meter;
mod pending;
mod rewrite;
mod scan;
mod selects;
mod settings;
mod snapshot;
pub mod state;

pub use effects::{Effects, Emit, Level, LogLine, RefusedEmits, StateOp};
pub use error::LoadError;
pub use function::{Function, Invocation, LoadOptions, OverCeiling, Step, Usage};
pub use limits::StackLimits;
pub use state::State;

/// Between slices a function may go on in another thread.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Function>();
    is_send::<Effects>();
};
