//! `eyot image`: what a gateway's card holds, and how it gets there.

mod build;
mod flash;
mod lock;
mod plan;
mod progress;
mod wifi;

use std::path::PathBuf;

use clap::Subcommand;
use eyot_image::Error as ImageError;

use crate::error::Error;

/// Make images of gateways for memory cards, and write them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  eyot image build --board rpi-4b --out gateway.img --config gateway.toml --with ca.pem
  eyot image flash gateway.img /dev/sdX
  eyot image lock --file boards/debian.lock";

#[derive(Subcommand)]
enum Command {
    Build(Box<build::Args>),
    Flash(flash::Args),
    Lock(lock::Args),
}

impl Args {
    /// Whether standard output is JSON.
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Build(args) => args.json,
            Command::Flash(args) => args.json,
            Command::Lock(args) => args.json,
        }
    }
}

pub fn execute(args: &Args) -> Result<(), Error> {
    match &args.command {
        Command::Build(args) => build::execute(args),
        Command::Flash(args) => flash::execute(args),
        Command::Lock(args) => lock::execute(args),
    }
}

/// The text of an error of the library has all that one of ours has.
fn failed(error: ImageError) -> Error {
    Error::image(&error)
}

/// Where packages are kept unless told otherwise.
fn cache() -> Result<PathBuf, Error> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let base = base.ok_or_else(|| Error::bad_input("cache", "there is no HOME", "name a directory with --cache"))?;
    Ok(base.join("eyot/packages"))
}
