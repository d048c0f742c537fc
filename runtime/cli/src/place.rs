//! `eyot place`: on which boards a function fits, or on which of a gateway and its nodes, with the arithmetic.

use std::path::PathBuf;

use eyot_engine::{Function, LoadOptions};
use eyot_gateway::board::{Board, Demand, Runs};
use eyot_trust::verify::Module;
use eyot_wire::manifest::Manifest;
use serde::Serialize;

use crate::error::Error;
use crate::output::{self, BAD, GOOD, LABEL};
use crate::remote::options::{only_with_gateway, Connection};
use crate::{build, guest, remote};

/// Say on which boards of gateways and nodes a function fits, and why not on the others.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, mut_args = |arg: clap::Arg| only_with_gateway(arg, &[]))]
pub struct Args {
    /// The function: its .wasm file, or its folder, once built.
    #[arg(value_name = "FN")]
    function: PathBuf,
    /// Only this board; may be given several times. `eyot boards` lists them.
    #[arg(long, value_name = "ID")]
    board: Vec<String>,
    /// Instead of boards, this gateway that runs, and its nodes, by what they have left.
    #[arg(long, short, value_name = "ID", conflicts_with = "board")]
    gateway: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connection: Connection,
}

const EXAMPLES: &str = "\
Examples:
  eyot place greenhouse
  eyot place trim.wasm --board mps2-an505 --board rpi-4b
  eyot place trim.wasm --json | jq -r '.boards[] | select(.fits) | .board'
  eyot place trim.wasm --gateway barn-7
  eyot place trim.wasm --gateway barn-7 --json | jq -r '.places[] | select(.fits) | .name'

A gateway refuses by the same arithmetic what is pushed to it, and to a node whose [[node]] names its board. What a function
takes while it is loaded is an upper bound. With --gateway, versions and signatures are not looked at.
Exit codes: 0 it fits all boards that are named, or one, or the gateway or one of its nodes, 1 it does not, 2 bad usage or bad
input.";

#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    version: String,
    module_bytes: usize,
    boards: Vec<Place>,
}

#[derive(Serialize)]
struct Place {
    board: String,
    /// "gateway" or "node"; none if nothing runs on it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<&'static str>,
    fits: bool,
    demands: Vec<Demand>,
    /// Why it is not loaded there, though the demands may be met.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Place {
    fn new(board: &Board, manifest: &Manifest, module: &[u8]) -> Result<Self, Error> {
        let (runs, options) = match board.runs {
            Runs::Gateway { .. } => (Some("gateway"), Some(LoadOptions::default())),
            Runs::Node(budget) => (Some("node"), Some(budget.load_options())),
            Runs::Nothing => (None, None),
        };
        let demands = board.demands(manifest, module.len());
        let reason = options.map(|options| load(module, options)).transpose()?.and_then(Result::err);
        let fits = runs.is_some() && reason.is_none() && demands.iter().all(Demand::is_met);
        Ok(Self { board: board.id.clone(), runs, fits, demands, reason })
    }

    fn text(&self) -> String {
        let Some(runs) = self.runs else { return format!("{:17} {:8} nothing runs on it yet\n", self.board, "") };
        let words: Vec<String> = self.demands.iter().map(Demand::to_string).chain(self.reason.clone()).collect();
        format!("{:17} {runs:8} {}  {}\n", self.board, verdict(self.fits), words.join("; "))
    }
}

/// As a gateway, or a node's, loads it; why not, if not.
///
/// # Errors
/// There is no thread for it.
pub fn load(module: &[u8], options: LoadOptions<'_>) -> Result<Result<Function, String>, Error> {
    guest::on_guest_thread(|| Ok(Function::load(module, options).map_err(|error| format!("is refused: {error}"))))
}

/// In one column.
pub fn verdict(fits: bool) -> String {
    match fits {
        true => format!("{GOOD}fits{GOOD:#}        "),
        false => format!("{BAD}does not fit{BAD:#}"),
    }
}

/// The first line of a report.
pub fn head(manifest: &Manifest, module: &[u8]) -> String {
    format!("{LABEL}{}{LABEL:#} {}  {} bytes\n", manifest.name, manifest.version, module.len())
}

/// Fails if it fits nowhere; a report says so already.
///
/// # Errors
/// So it is.
pub fn ended(manifest: &Manifest, fits: bool) -> Result<(), Error> {
    let remedy = "build it smaller, lower its [limits], or use a larger board";
    match fits {
        true => Ok(()),
        false => Err(Error::failed(&manifest.name, "does not fit", remedy).in_report()),
    }
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let path = match args.function.is_dir() {
        true => build::module_path(&args.function, &build::read_manifest(&args.function)?.1),
        false => args.function.clone(),
    };
    let module = guest::read_module(&path)?;
    let manifest = Module::read(&module).map_err(|e| Error::unusable(path.display(), e))?.manifest().clone();
    if let Some(gateway) = &args.gateway {
        return remote::place::execute(&args.connection, gateway, &manifest, &module, args.json);
    }
    let all = Board::all();
    if let Some(unknown) = args.board.iter().find(|id| !all.iter().any(|board| board.id == **id)) {
        let thing = format!("--board {}", output::shown(unknown.as_bytes()));
        return Err(Error::bad_input(thing, "there is no such board", "`eyot boards` lists them"));
    }
    let is_meant = |board: &&Board| args.board.is_empty() || args.board.contains(&board.id);
    let place = |board: &Board| Place::new(board, &manifest, &module);
    let boards: Vec<Place> = all.iter().filter(is_meant).map(place).collect::<Result<_, _>>()?;
    let fits = if args.board.is_empty() { boards.iter().any(|b| b.fits) } else { boards.iter().all(|b| b.fits) };
    if args.json {
        let (name, version) = (manifest.name.as_str(), manifest.version.to_string());
        output::json(&Report { name, version, module_bytes: module.len(), boards })?;
    } else {
        output::print(&boards.iter().fold(head(&manifest, &module), |text, place| text + &place.text()))?;
    }
    ended(&manifest, fits)
}
