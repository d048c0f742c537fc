//! The I/O edges of the gateway.
#![allow(missing_docs)]
pub mod broker;
pub mod config;
pub mod envelope;
pub mod mqtt;
