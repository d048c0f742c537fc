//! `eyot`, the developer's and operator's tool: makes functions, tries them on recorded messages, looks into them, signs
//! them, pushes them to gateways, and audits what a gateway delivered.
//!
//! It never talks to a gateway behind the user's back, never changes a file it was not told to write, and never trusts
//! a module: functions run in the engine the gateway uses, under the limits the gateway grants at most.
//!
//! Exit codes: 0 done, 1 the operation failed, 2 bad usage or bad input.
//!
//! Modules, in the order a function passes through them:
//! - `new`: a folder to begin with;
//! - `build`: from the folder to one `.wasm` file with its manifest;
//! - `module`: what stands in such a file, and how sections are put into it;
//! - `run`: messages through it, offline;
//! - `test`: the cases in its folder; `replay`: what was recorded in the field; `case`: what both of them run;
//! - `inspect`: what a gateway would say to it;
//! - `keys`: keys to sign with, and what they are called;
//! - `sign`: a signer added to it;
//! - `verify`: who signed it, and whether that suffices;
//! - `ledger`: whether what it sent arrived in the cloud;
//! - `remote`: pushed to gateways elsewhere, and looked after there, down to their system;
//! - `demo`: a whole gateway with brokers, sensors and faults, in this process;
//! - `image`: what a gateway's card holds, and how it gets there; `boards`: what gateways and nodes run on; `place`: which of
//!   them a function fits;
//! - `completions`: for shells.
//!
//! What they share: `guest` (the thread functions run in), `file`, `output`, `error`.

mod boards;
mod build;
mod case;
mod completions;
mod demo;
mod error;
mod file;
mod guest;
mod image;
mod inspect;
mod keys;
mod ledger;
mod module;
mod new;
mod output;
mod place;
mod remote;
mod replay;
mod run;
mod sign;
mod test;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::remote::command::orders;

/// Make, try, sign and push functions for Eyot gateways and nodes, look after them there, and audit what they delivered.
#[derive(Parser)]
#[command(name = "eyot", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  eyot demo
  eyot new doubler
  eyot build doubler
  eyot run doubler/doubler.wasm --topic sensors/7/raw --payload '{\"t\":21.5}'
  eyot test doubler
  eyot dev doubler
  eyot replay smooth.cap --with smooth.wasm
  eyot inspect doubler/doubler.wasm
  eyot keys new --out ada && eyot sign doubler/doubler.wasm --key ada
  eyot verify doubler/doubler.wasm --key ada.pub
  eyot push doubler --key ada --gateway barn-7 --wait
  eyot list && eyot status barn-7
  eyot ledger --from dump.ndjson --status status.json

Exit codes: 0 done, 1 the operation failed, 2 bad usage or bad input.";

#[derive(Subcommand)]
enum Command {
    New(new::Args),
    Build(build::Args),
    Run(run::Args),
    Test(test::Args),
    Dev(remote::dev::Args),
    Replay(replay::Args),
    Inspect(inspect::Args),
    Keys(keys::Args),
    Sign(sign::Args),
    Verify(verify::Args),
    Push(remote::push::Args),
    List(remote::list::Args),
    Status(remote::status::Args),
    Logs(remote::logs::Args),
    Rollback(orders::Rollback),
    Promote(orders::Promote),
    Remove(orders::Remove),
    Config(orders::Config),
    Capture(remote::command::capture::Args),
    Update(remote::update::Args),
    Ledger(ledger::Args),
    Demo(demo::Args),
    Image(image::Args),
    Boards(boards::Args),
    Place(place::Args),
    Completions(completions::Args),
}

impl Command {
    /// Whether standard output is JSON, errors included.
    fn json(&self) -> bool {
        match self {
            Self::Run(args) => args.json,
            Self::Replay(args) => args.json,
            Self::Inspect(args) => args.json,
            Self::Keys(args) => args.json(),
            Self::Verify(args) => args.json,
            Self::Push(args) => args.json,
            Self::List(args) => args.json,
            Self::Status(args) => args.json,
            Self::Logs(args) => args.json,
            Self::Rollback(args) => args.common.json,
            Self::Promote(args) => args.common.json,
            Self::Remove(args) => args.common.json,
            Self::Config(args) => args.json(),
            Self::Capture(args) => args.common.json,
            Self::Update(args) => args.json(),
            Self::Ledger(args) => args.json,
            Self::Demo(args) => args.json,
            Self::Image(args) => args.json(),
            Self::Boards(args) => args.json,
            Self::Place(args) => args.json,
            Self::New(_) | Self::Build(_) | Self::Test(_) | Self::Dev(_) | Self::Sign(_) | Self::Completions(_) => {
                false
            }
        }
    }

    fn execute(&self) -> Result<(), Error> {
        match self {
            Self::New(args) => new::execute(args),
            Self::Build(args) => build::execute(args),
            Self::Run(args) => run::execute(args),
            Self::Test(args) => test::execute(args),
            Self::Dev(args) => remote::dev::execute(args),
            Self::Replay(args) => replay::execute(args),
            Self::Inspect(args) => inspect::execute(args),
            Self::Keys(args) => keys::execute(args),
            Self::Sign(args) => sign::execute(args),
            Self::Verify(args) => verify::execute(args),
            Self::Push(args) => remote::push::execute(args),
            Self::List(args) => remote::list::execute(args),
            Self::Status(args) => remote::status::execute(args),
            Self::Logs(args) => remote::logs::execute(args),
            Self::Rollback(args) => orders::rollback(args),
            Self::Promote(args) => orders::promote(args),
            Self::Remove(args) => orders::remove(args),
            Self::Config(args) => orders::config(args),
            Self::Capture(args) => remote::command::capture::execute(args),
            Self::Update(args) => remote::update::execute(args),
            Self::Ledger(args) => ledger::execute(args),
            Self::Demo(args) => demo::execute(args),
            Self::Image(args) => image::execute(args),
            Self::Boards(args) => boards::execute(args),
            Self::Place(args) => place::execute(args),
            Self::Completions(args) => completions::execute(args),
        }
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match command.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(command.json()),
    }
}
