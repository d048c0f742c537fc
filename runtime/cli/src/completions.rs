//! `eyot completions`: command line completion for shells.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::error::Error;
use crate::{output, Cli};

/// Print a completion script for a shell.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  eyot completions bash > ~/.local/share/bash-completion/completions/eyot
  eyot completions zsh > ~/.zfunc/_eyot
  eyot completions fish > ~/.config/fish/completions/eyot.fish";

pub fn execute(args: &Args) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "eyot", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
