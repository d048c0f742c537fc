//! The vocabulary of Eyot: what the gateway, its nodes, the functions and the tools must agree on.
//!
//! This crate holds types, limits and codecs. It never allocates a resource, opens anything, looks at a clock or
//! decides policy, and it builds without `std`.
//!
//! Modules, in the order data meets them:
//! - [`topic`]: what a topic name is, and how a topic filter matches one.
//! - [`filters`]: many of them at once.
//! - [`manifest`]: `function.toml`, the description a function carries inside its module.
//! - [`module`]: names of exports, imports and custom sections of interface version 1.
//! - [`code`]: error codes a function sees, and the reasons a message fails or is dropped.
//! - [`control`]: control topics, and the documents on them.
//! - [`system`]: updates of the system of a gateway that was flashed.
//! - [`shadow`]: what became of the same messages in two versions.
//! - [`canary`]: how a version does with its share of the messages.
//! - [`capture`]: a message with all that a function read, to be run again elsewhere.
//! - [`wakes`]: how many messages may come of one.
//! - [`record`]: the commit record, one per message, as it stands in the log.
//! - [`link`]: what gateways and nodes say to each other over a serial line.
#![no_std]

extern crate alloc;

pub mod canary;
pub mod capture;
pub mod code;
pub mod control;
pub mod filters;
pub mod link;
pub mod manifest;
pub mod module;
pub mod record;
pub mod shadow;
pub mod system;
pub mod topic;
pub mod wakes;
