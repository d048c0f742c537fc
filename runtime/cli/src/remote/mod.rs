//! What `eyot` does on gateways that are elsewhere, over the broker that they use.
//!
//! Modules, in the order a command passes through them:
//! - `options`: which broker, which gateway or group, how long to wait;
//! - `client`: one connection to the broker, made again when it is cut; what was not acknowledged is sent again;
//! - `documents`: what gateways publish, as far as it is read here; `roster`: which gateways there are;
//! - `list`, `status`: who runs what, and how it goes;
//! - `place`: whether a function fits one and its nodes;
//! - `push`: a function on its way, and what became of it;
//! - `command`: rollback, promote, remove, config, capture: signed, and followed once;
//! - `update`: a new system for a gateway that was flashed;
//! - `logs`: what functions log;
//! - `dev`: a function that runs while it is written.

pub mod client;
pub mod command;
pub mod dev;
pub mod documents;
pub mod list;
pub mod logs;
pub mod options;
pub mod place;
pub mod push;
pub mod roster;
pub mod status;
pub mod update;

use std::future::Future;

use crate::error::Error;

/// Runs the work of one command to its end.
///
/// # Errors
/// The system has no resources left, or the error of `work`.
pub fn run<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| {
        Error::failed("network", format_args!("cannot be used: {e}"), "free some memory or file descriptors")
    })?;
    let result = runtime.block_on(work);
    // A name lookup under way must not hold up the end.
    runtime.shutdown_background();
    result
}
