//! The commands that end with their answer.

use std::collections::BTreeMap;

use eyot_wire::control::{Command, NodeAct};
use eyot_wire::manifest::is_name;

use super::order::Order;
use super::values::{self, Get};
use super::Common;
use crate::error::Error;
use crate::output;
use crate::remote::client::Client;

/// Go back to the version that ran before, at once.
#[derive(clap::Args)]
#[command(after_help = ROLLBACK_EXAMPLES)]
pub struct Rollback {
    /// Name of the function.
    name: String,
    /// The version to go back to, or the first digits, 8 or more, of its module's SHA-256 [default: the one before].
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// On this node behind the gateway.
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  eyot rollback greenhouse --gateway barn-7 --key ada
  eyot rollback greenhouse --to 1.2.0 --group barns --key ada --json
  eyot rollback trim --node north --gateway barn-7 --key ada

Two versions besides the present one are kept. What was rolled back does not come again by a push, but by `eyot promote`.
Exit codes: 0 done by all gateways that are online, 1 not, 2 bad usage or bad input.";

/// Lead a version a step on: from shadow to canary if its [rollout] has one, or else in force; also one that was rejected or
/// rolled back.
#[derive(clap::Args)]
#[command(after_help = PROMOTE_EXAMPLES)]
pub struct Promote {
    /// Name of the function.
    name: String,
    /// On this node behind the gateway.
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

const PROMOTE_EXAMPLES: &str = "\
Examples:
  eyot promote greenhouse --gateway barn-7 --key ada

Exit codes: 0 done by all gateways that are online, 1 not, 2 bad usage or bad input.";

/// Remove a function and its state.
#[derive(clap::Args)]
#[command(after_help = REMOVE_EXAMPLES)]
pub struct Remove {
    /// Name of the function.
    name: String,
    /// From this node behind the gateway.
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

const REMOVE_EXAMPLES: &str = "\
Examples:
  eyot remove greenhouse --gateway barn-7 --key ada

A function that the gateway's own [[function]] names comes back when that restarts.
Exit codes: 0 done by all gateways that are online, 1 not, 2 bad usage or bad input.";

/// Show or change the configuration of a function on a gateway.
#[derive(clap::Args)]
#[command(after_help = CONFIG_EXAMPLES, arg_required_else_help = true)]
pub struct Config {
    #[command(subcommand)]
    change: Change,
}

const CONFIG_EXAMPLES: &str = "\
Examples:
  eyot config set greenhouse rh_max=90 factor=2 --gateway barn-7 --key ada
  eyot config set greenhouse debug=1 --new --gateway barn-7 --key ada
  eyot config unset greenhouse rh_max --group barns --key ada
  eyot config get greenhouse --gateway barn-7";

#[derive(clap::Subcommand)]
enum Change {
    Get(Get),
    Set(Set),
    Unset(Unset),
}

/// Set values of [config] on a gateway, in place of those in the function's manifest.
#[derive(clap::Args)]
#[command(after_help = CONFIG_EXAMPLES)]
struct Set {
    /// Name of the function.
    name: String,
    /// What to set.
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = key_value)]
    values: Vec<(String, String)>,
    /// Also what is in no [config] yet: the function reads it, and its manifest does not say so.
    #[arg(long)]
    new: bool,
    #[command(flatten)]
    common: Common,
}

/// Give keys of [config] back to the values in the function's manifest.
#[derive(clap::Args)]
#[command(after_help = CONFIG_EXAMPLES)]
struct Unset {
    /// Name of the function.
    name: String,
    /// What to give back.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    common: Common,
}

impl Config {
    /// Whether standard output is JSON.
    pub fn json(&self) -> bool {
        match &self.change {
            Change::Get(get) => get.json,
            Change::Set(set) => set.common.json,
            Change::Unset(unset) => unset.common.json,
        }
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

pub fn rollback(args: &Rollback) -> Result<(), Error> {
    let (function, to) = (args.name.clone(), args.to.clone());
    give(&args.common, on(&args.node, NodeAct::Rollback, Command::Rollback { function, to }))
}

pub fn promote(args: &Promote) -> Result<(), Error> {
    give(&args.common, on(&args.node, NodeAct::Promote, Command::Promote { function: args.name.clone() }))
}

pub fn remove(args: &Remove) -> Result<(), Error> {
    give(&args.common, on(&args.node, NodeAct::Remove, Command::Remove { function: args.name.clone() }))
}

pub fn config(args: &Config) -> Result<(), Error> {
    match &args.change {
        Change::Get(get) => values::get(get),
        Change::Set(Set { name, values, new, common }) => {
            let set: BTreeMap<String, String> = values.iter().cloned().collect();
            if set.len() < values.len() {
                return Err(Error::bad_input("config", "a key is given twice", "give each once"));
            }
            // What no function can be called is refused with the command.
            if !new && is_name(name) {
                super::super::run(values::check_keys(common, name, &set))?;
            }
            give(common, Command::Config { function: name.clone(), set, unset: Vec::new() })
        }
        Change::Unset(Unset { name, keys, common }) => {
            give(common, Command::Config { function: name.clone(), set: BTreeMap::new(), unset: keys.clone() })
        }
    }
}

/// The command, or for a node the same act there.
fn on(node: &Option<String>, act: NodeAct, command: Command) -> Command {
    let Some(node) = node.clone() else { return command };
    let function = command.function().to_owned();
    let to = if let Command::Rollback { to, .. } = command { to } else { None };
    Command::Node { node, function, act, to }
}

fn give(common: &Common, command: Command) -> Result<(), Error> {
    let mut order = Order::new(common, command)?;
    super::super::run(async {
        let mut client = Client::connect(&common.connection, order.filters()).await?;
        let given = order.give(&mut client, common, |_| Ok(())).await.map(drop);
        client.close().await;
        if !common.json {
            return given;
        }
        output::json(&order.report())?;
        given.map_err(Error::in_report)
    })
}
