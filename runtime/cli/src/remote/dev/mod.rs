//! `eyot dev`: a function that runs while it is written.
//!
//! - `watch`: which files change;
//! - `build`: the function with a version that rises with each build, and its cases;
//! - `version`: which one that is;
//! - `gateway`: one in this process, unless another is named;
//! - `session`: built, pushed, watched, until Ctrl-C.

mod build;
mod gateway;
mod session;
mod version;
mod watch;

use std::path::PathBuf;

use self::build::Source;
use self::gateway::Local;
use self::session::Session;
use self::watch::Watch;
use crate::error::Error;
use crate::output::{self, GOOD};
use crate::remote::client::Client;
use crate::remote::options::{self, Connection, Id};

/// Build a function, run its cases and push it at each change of its folder, and show what it does.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, mut_args = |arg: clap::Arg| options::only_with_gateway(arg, &["timeout"]))]
pub struct Args {
    /// Folder of the function.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Takes this module, built from C, Zig or another language, whenever that changes.
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
    /// Does not run the cases in DIR/tests; otherwise nothing is pushed before they come out.
    #[arg(long)]
    no_test: bool,
    /// Pushes to this gateway [default: one in this process, with a broker of its own, that forgets all in the end].
    #[arg(long, short, value_name = "ID")]
    gateway: Option<String>,
    /// Port for sensors on this machine, of the gateway in this process [default: any that is free].
    #[arg(long, value_name = "PORT", conflicts_with = "gateway", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Signs each build with this private key [default: $EYOT_KEY]. The gateway in this process needs none.
    #[arg(long, short, value_name = "FILE", requires = "gateway")]
    key: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

const EXAMPLES: &str = "\
Examples:
  eyot dev greenhouse
  eyot dev greenhouse --port 1883
  eyot dev greenhouse --gateway barn-7 --broker mqtt://barn-7.local --key ada
  eyot dev filter --wasm filter/out.wasm

Versions only go up on a gateway, and function.toml is not touched: a build of 1.2.0 is pushed as 1.2.0-dev.<time>, below \
1.2.0, or as 1.2.1-dev.<time> where 1.2.0 runs already. Ctrl-C ends it; what was pushed to another gateway stays there.";

pub fn execute(args: &Args) -> Result<(), Error> {
    let source = Source::new(&args.dir, args.wasm.as_deref(), !args.no_test)?;
    let watch = Watch::start(&args.dir, args.wasm.as_deref())?;
    let Some(gateway) = &args.gateway else {
        let local = Local::start(args.port)?;
        let connection = Connection::plain(local.url(), args.connection.timeout);
        let port = local.port;
        output::print(&format!(
            "{GOOD}a gateway{GOOD:#} for the time being: mosquitto_pub -p {port} -t {} -m …\n",
            source.example_topic()
        ))?;
        let ended = develop(source, watch, &options::gateway(Some(gateway::ID))?, &connection, None, true);
        local.stop();
        return ended;
    };
    let signer = options::signer(args.key.as_deref())?;
    develop(source, watch, &options::gateway(Some(gateway))?, &args.connection, signer, false)
}

fn develop(
    source: Source,
    watch: Watch,
    id: &Id,
    connection: &Connection,
    signer: Option<eyot_trust::sign::Signer>,
    is_own: bool,
) -> Result<(), Error> {
    super::run(async {
        let filters = session::filters(id, is_own, &source.manifest.allow.emit);
        let client = Client::connect(connection, filters).await?;
        Session::new(source, watch, id.clone(), client, connection.clone(), signer, is_own).run().await
    })
}
