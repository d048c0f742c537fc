//! Signed commands: `eyot rollback`, `promote`, `remove`, `config` and `capture`.
//!
//! - `order`: a command, signed, given, and its answers;
//! - `orders`: the commands that end with their answer;
//! - `values`: what a configuration is, which no command is needed for;
//! - `capture`: the one that is followed by what was asked for.

pub mod capture;
pub mod order;
pub mod orders;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use crate::remote::options::{Connection, Target};

/// Options that all of them share.
#[derive(clap::Args, Clone, Debug)]
pub struct Common {
    #[command(flatten)]
    target: Target,
    /// Private key that the gateway trusts with commands [default: $EYOT_KEY].
    #[arg(long, short, value_name = "FILE")]
    key: Option<PathBuf>,
    /// How long the command is good; longer for a gateway that is away. Both clocks must be right to within this.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connection: Connection,
}
