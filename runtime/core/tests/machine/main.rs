//! The machine as a whole, on memory storage, without faults: what each promise of the configuration comes to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod again;
mod backlog;
mod bench;
mod canary;
mod captures;
mod control;
mod down;
mod field;
mod flight;
mod full;
mod gaps;
mod interleaved;
mod leaving;
mod letters;
mod live;
mod means;
mod node_push;
mod nodes;
mod probation;
mod quarantine;
mod quota;
mod reasons;
mod routes;
mod sensors;
mod site;
mod storm;
mod thinning;
mod trial;
mod vain;
