//! The guest side of function interface version 1: what a function needs to be small, and to be tested on a laptop.
//!
//! A function is a crate of type `cdylib` that is `#![no_std]` and names its handler:
//! ```
//! #![no_std]
//! use eyot_sdk::prelude::*;
//!
//! eyot_sdk::function!(handle);
//!
//! fn handle(msg: &Message<'_>) -> Result<(), Error> {
//!     emit("processed/echo", msg.payload)
//! }
//! # fn main() {}
//! ```
//! On `wasm32` the crate provides the exports, the allocator and the panic handler; on any other target it is an
//! ordinary library with a mock host, `testing`. It never keeps anything from one message to the next: memory is put
//! back after each, what must stay goes to [`state`]. It opens nothing and waits for nothing.
//!
//! Modules, in the order a message meets them:
//! - `guest`: exports, imports, allocator, panic handler. The only module with `unsafe`; `wasm32` only.
//! - [`message`]: topic and payload.
//! - [`json`]: payloads as values of the function's own types, both ways.
//! - [`config`]: settings from the manifest or the gateway.
//! - [`state`]: values that outlive the message.
//! - [`effect`]: emit, log, arrival time, random bytes.
//! - [`error`]: what a handler fails with.
//! - `testing`: the mock host; not on `wasm32`.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

pub mod config;
pub mod effect;
pub mod error;
mod export;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
pub mod json;
pub mod message;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(target_arch = "wasm32")]
use guest as host;
#[cfg(not(target_arch = "wasm32"))]
use testing::calls as host;

/// What nearly every function uses.
pub mod prelude {
    pub use alloc::format;
    pub use alloc::string::String;
    pub use alloc::vec::Vec;

    pub use serde::{Deserialize, Serialize};

    pub use crate::effect::{emit, now_ms, random, Level};
    pub use crate::error::Error;
    pub use crate::message::Message;
    pub use crate::{config, json, log, state};
}
