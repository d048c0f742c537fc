//! The gateway's edges: sockets, files, threads and the clock around the state machine of `eyot-core`.
//!
//! This crate moves bytes and effects. It never decides what becomes of a message: routing, committing, acknowledging and
//! counting are the core's.
//!
//! Modules, in the order a message passes through them:
//! - [`config`]: `gateway.toml`, read and checked as a whole.
//! - [`file`]: files it names, read up to a limit.
//! - [`functions`]: modules from files.
//! - [`board`]: the boards that nodes run on, and what fits them.
//! - [`broker`]: a broker in this process, for `embedded://`.
//! - [`mqtt`]: links to brokers: session, transport, reconnecting.
//! - [`uplink`]: links to whatever is no broker: HTTP endpoints, files, object stores.
//! - [`node`]: links to microcontrollers.
//! - [`sensor`]: sensors at the gateway itself.
//! - [`links`]: which links there are, and the thread they run on.
//! - [`driver`]: the thread that runs the core: inputs in, effects out.
//! - [`sync`]: the thread that waits for the disk, where that takes long.
//! - [`workers`]: the threads that run what takes longer.
//! - [`store`]: modules that were pushed, in files; [`tasks`]: the thread that sees to them.
//! - [`update`]: a new system for a gateway that was flashed.
//! - [`outbox`]: effects to the links' queues.
//! - [`journal`]: notices and function logs to the daemon's log; [`log`]: its form.
//! - [`envelope`]: outputs for uplinks without user properties.
//! - [`metrics`]: the status document's numbers for Prometheus.
//! - [`gateway`]: all of it together: start, stop, kill.

pub mod board;
pub mod broker;
pub mod config;
pub mod driver;
pub mod envelope;
pub mod file;
pub mod functions;
pub mod gateway;
pub mod journal;
pub mod links;
pub mod log;
pub mod metrics;
pub mod mqtt;
pub mod node;
pub mod outbox;
pub mod sensor;
pub mod store;
pub mod sync;
pub mod tasks;
pub mod update;
pub mod uplink;
pub mod workers;

pub use config::{Config, ConfigError};
pub use gateway::{Gateway, StartError};
