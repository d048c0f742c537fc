//! `eyot push`: a function to a gateway, or to all of a group.
//!
//! - `module`: built, signed and checked here first;
//! - `delivery`: on its way, whole or in parts, over connections that are cut;
//! - `outcome`: what became of it at each gateway;
//! - `progress`: how far it is.

mod delivery;
pub mod module;
pub mod outcome;
pub mod progress;

use std::path::PathBuf;

use eyot_wire::manifest::parse_size;
use serde::Serialize;

use self::delivery::Delivery;
use self::outcome::Outcome;
use self::progress::Progress;
use crate::error::Error;
use crate::output::{self, shown, size};
use crate::remote::client::Client;
use crate::remote::options::{self, Connection, Id, Target};
use crate::remote::roster::{gather, unknown, Roster};

/// Push a function to a gateway, or to all of a group, over the broker they use.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The function: its .wasm file, or its folder, which is built first as by `eyot build`.
    #[arg(value_name = "FN")]
    function: PathBuf,
    #[command(flatten)]
    target: Target,
    /// To this node behind the gateway.
    #[arg(long, value_name = "ID", conflicts_with = "group")]
    node: Option<String>,
    /// Signs it with this private key first, as `eyot sign` would; a .wasm file stays as it is [default: $EYOT_KEY].
    #[arg(long, short, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Waits until it runs there, or is refused.
    #[arg(long, short)]
    wait: bool,
    /// Sends it in parts of this size, as "100KiB" [default: whole, or as large as the broker takes].
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "retain")]
    parts: Option<u64>,
    /// Leaves it at the broker, for gateways that were never there yet. With --wait and one gateway it is taken back
    /// when that has it; else the next retained push, or an empty one, takes its place.
    #[arg(long)]
    retain: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connection: Connection,
}

const EXAMPLES: &str = "\
Examples:
  eyot push greenhouse --key ada --gateway barn-7 --wait
  eyot push greenhouse.wasm --gateway barn-7 --broker mqtts://ada@cloud.example --password-file pw
  eyot push greenhouse.wasm --group barns --wait --json | jq -r '.outcomes[] | [.gateway, .state] | @tsv'
  eyot push greenhouse.wasm --gateway barn-9 --retain
  eyot push trim.wasm --gateway barn-7 --node north --wait

It is checked here as a gateway would, but for whom the gateway trusts. A gateway that is offline takes it when it is \
back: its broker keeps it. A version goes up with each push; `eyot rollback` leads back.
Exit codes: 0 sent, and with --wait it runs on all gateways that are online, 1 it does not, 2 bad usage or bad input.";

#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    version: String,
    sha256: &'a str,
    bytes: usize,
    parts: usize,
    outcomes: Vec<&'a Outcome>,
}

/// Whether the gateway has this node; it would not say so itself.
fn has_node(roster: &Roster, id: &Id, node: &str) -> Result<(), Error> {
    if roster.members(id).any(|(_, seen)| seen.nodes.contains_key(node)) {
        return Ok(());
    }
    let reason = format!("has no node \"{}\"", shown(node.as_bytes()));
    Err(Error::failed(id.as_str(), reason, "name one of its gateway.toml; `eyot status` shows them"))
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let id = args.target.id()?;
    let signer = options::signer(args.key.as_deref())?;
    let module = module::prepare(&args.function, signer.as_ref())?;
    let (name, sha256) = (&module.manifest.name, &module.sha256);
    super::run(async {
        let from = id.from();
        let filters = match &args.node {
            None => ["status".to_owned(), format!("function/{name}"), format!("push/{sha256}")],
            Some(node) => ["status".to_owned(), format!("node/{node}"), format!("node/{node}/push/{sha256}")],
        };
        let filters = filters.iter().map(|rest| format!("eyot/{from}/{rest}")).collect();
        let mut client = Client::connect(&args.connection, filters).await?;
        let roster = gather(&mut client, &args.connection).await?;
        let is_known = roster.members(&id).next().is_some();
        if !is_known && !args.retain && !client.is_refused(&format!("eyot/{from}/status")) {
            return Err(unknown(&id, &client.url).with_hint("--retain leaves it there for one that is yet to come"));
        }
        if let Some(node) = args.node.as_deref().filter(|_| is_known) {
            has_node(&roster, &id, node)?;
        }
        let how = delivery::How {
            node: args.node.clone(),
            parts_bytes: args.parts,
            retain: args.retain,
            wait: args.wait,
            silence: args.connection.timeout,
        };
        let mut delivery = Delivery::new(&id, &module, &roster, &how, &mut client)?;
        if !args.json {
            output::print(&format!(
                "{} {}  {}  sha256 {sha256}\n",
                name,
                module.manifest.version,
                size(module.bytes())
            ))?;
        }
        let mut progress = Progress::new(module.bytes(), args.json);
        let ended = delivery.run(&mut client, &mut progress).await;
        progress.finish();
        client.close().await;
        if args.json {
            output::json(&Report {
                name,
                version: module.manifest.version.to_string(),
                sha256,
                bytes: module.wasm.len(),
                parts: delivery.parts(),
                outcomes: delivery.outcomes().collect(),
            })?;
        }
        ended.and_then(|()| delivery.verdict()).map_err(|error| if args.json { error.in_report() } else { error })
    })
}
