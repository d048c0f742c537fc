//! What a user may rely on, tried on the real daemon with a real broker. The names of the tests read as an index.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bad_input;
mod bad_link;
mod broker;
mod canary;
mod captures;
mod circle;
mod commands;
mod deploy;
mod dev;
mod disk;
mod down;
mod embedded;
mod failures;
mod health;
mod hostile;
mod ledger;
mod long;
mod memory;
mod metrics;
mod node;
mod node_figures;
mod node_push;
mod payloads;
mod push;
mod quota;
mod reduce;
mod routes;
mod servers;
mod shadow;
mod siege;
mod state;
mod status;
mod tls;
mod tool;
mod uplinks;
