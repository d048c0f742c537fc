//! The program `eyot` as its users meet it: arguments in; exit code, standard output and standard error out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod build;
mod examples;
mod harness;
mod inspect;
mod ledger;
mod new;
mod place;
mod replay;
mod run;
mod run_json;
mod signing;
mod test;
mod usage;
