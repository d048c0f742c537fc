//! Harness for black-box tests of `eyotd`: real daemon, real mosquitto, real signals.
//!
//! It knows the contract (configuration, topics, function interface) and nothing of the daemon's insides: it links none
//! of its crates. It never leaves a process, a mount or a file behind, and it fails the test that uses it by a panic
//! that names what was awaited.
//!
//! Modules, in the order a test meets them:
//! - [`programs`][]: builds `eyotd` and `eyot` once per test run and says where they are.
//! - [`wait`][]: deadlines.
//! - [`port`][]: free ports.
//! - [`mosquitto`][]: a broker that can be stopped and started again on its port.
//! - [`certs`][]: a certificate authority for one test.
//! - [`guest`][]: functions, of the repository and written by hand.
//! - [`config`][]: `gateway.toml`.
//! - [`daemon`][]: `eyotd` as a child: start, kill, terminate, its log.
//! - [`packet`][]: packets on a connection.
//! - [`client`][]: an MQTT 5 client that hides nothing.
//! - [`stamp`][]: what an output is known by.
//! - [`site`][]: a broker, a data directory and a configuration together.
//! - [`checker`][]: whether what arrived is what was promised.
//! - [`disk`][]: small and broken file systems.
//! - [`proxy`][]: a connection that can be cut.
//! - [`qemu`][]: a microcontroller.
//! - [`chaos`][]: all of it going wrong at once.
// A harness reports by panicking: there is nobody else to tell.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod certs;
pub mod chaos;
pub mod checker;
pub mod client;
pub mod config;
pub mod daemon;
pub mod disk;
pub mod guest;
pub mod mosquitto;
pub mod packet;
pub mod port;
pub mod programs;
pub mod proxy;
pub mod qemu;
pub mod site;
pub mod stamp;
pub mod wait;
