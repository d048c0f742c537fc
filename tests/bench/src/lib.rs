//! The canonical gateway work, and what it costs.
//!
//! A hundred sensors publish `{"device","t","rh","ts"}` to `sensors/<id>/raw`; the gateway converts `t` to Fahrenheit,
//! drops what has `rh` above 95, and publishes to `processed/<id>`. Everything is measured from outside the gateway. This
//! crate never changes how a gateway works to please a measurement: each gets the settings its users would be advised
//! to use, and all get the same broker and the same load.
//!
//! Modules, in the order a run uses them:
//! - [`broker`][]: a fresh broker for each run.
//! - [`gateway`][]: the programs that are compared; [`peers`][]: those in other languages.
//! - [`work`][]: the messages, and what must become of them.
//! - [`load`][]: one publisher and one collector, far cheaper than any gateway.
//! - [`process`][]: CPU time and memory of a process.
//! - [`run`][]: one measurement of one gateway.
//! - [`report`][]: medians, ratios and goals; [`chart`][] draws them.
//! - [`null`][]: brokers that only answer.
//! - [`backlog`][]: a large backlog, opened and drained.
//!
//! Beside it, what storing records does to a flash:
//! - [`flash`][]: a file system whose device counts.
//! - [`store`][]: our log, and the stores it is compared with.
//!
//! And what functions take of a microcontroller:
//! - [`wasm3`][]: the interpreter that they are compared with.
//!
//! Programs: `bench` is the one command; `micro` times the steps of a message; `wear` counts what a flash has to take;
//! `nodes` what a microcontroller has; `native` is the peer; `broker` is rumqttd with bounded memory.
// A benchmark that cannot go on has nobody to tell but its user.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod backlog;
pub mod broker;
pub mod chart;
pub mod flash;
pub mod gateway;
pub mod load;
pub mod null;
pub mod peers;
pub mod process;
pub mod report;
pub mod run;
pub mod store;
pub mod wasm3;
pub mod work;
