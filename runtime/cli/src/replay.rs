//! `eyot replay`: what was recorded in the field, run again here.

use std::path::{Path, PathBuf};

use eyot_wire::capture::Outcome;
use serde::Serialize;

use crate::case::compare::{coloured, differences, effects};
use crate::case::document::Effects;
use crate::case::runner::Runner;
use crate::case::{self, Case, Expected, Recording};
use crate::error::Error;
use crate::guest;
use crate::output::{self, line, shown, BAD, GOOD};

/// Run recorded messages again, bit for bit, and show whether the function does what it did.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What was recorded: captures (a .cap file), or dead letters of a function as JSON, one or one after the other; -
    /// reads standard input.
    file: PathBuf,
    /// Runs them through this function. Without it, what was recorded is shown.
    #[arg(long, value_name = "FN.wasm")]
    with: Option<PathBuf>,
    /// Runs them through this one as well, and shows where it does something else.
    #[arg(long, value_name = "OTHER.wasm", requires = "with")]
    diff: Option<PathBuf>,
    /// Print one JSON object for each message, on a line of its own.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  mosquitto_sub -N -t eyot/barn-7/capture/smooth -C 20 > smooth.cap
  eyot replay smooth.cap
  eyot replay smooth.cap --with smooth.wasm
  eyot replay smooth.cap --with smooth-1.0.0.wasm --diff smooth-1.1.0.wasm
  mosquitto_sub -t eyot/barn-7/dead/smooth -C 1 | eyot replay - --with smooth.wasm

Each message has the state, the configuration, the time and the random seed it had in the field. Nothing else reaches a \
function, so the same module does the same, on any machine. What depends on the machine is said: a deadline, and that a \
function was not run because it failed on the messages before.
Exit codes: 0 all did the same, 1 one did something else, 2 a file cannot be used.";

#[derive(Serialize)]
struct Report<'a> {
    /// Its number in the file, from 1.
    number: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    topic: &'a str,
    now_ms: i64,
    /// It is as recorded, or both functions do the same; absent if nothing was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    same: Option<bool>,
    differences: &'a [String],
    #[serde(flatten)]
    effects: Option<Effects>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<u64>,
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let (cases, outcomes) = cases(&args.file)?;
    for (number, case) in (1..).zip(&cases) {
        case.check(&format!("{}: message {number}", args.file.display()))?;
    }
    let Some(with) = &args.with else {
        return (1..).zip(&cases).try_for_each(|(number, case)| recorded(args, number, case, outcomes.get(number - 1)));
    };
    guest::on_guest_thread(|| {
        let mut runner = Runner::load(with, cases.first())?;
        let mut other = args.diff.as_ref().map(|path| Runner::load(path, cases.first())).transpose()?;
        let mut different = 0u64;
        for (number, case) in (1..).zip(&cases) {
            different += u64::from(!one(args, number, case, &mut runner, other.as_mut())?);
        }
        if different == 0 {
            return Ok(());
        }
        let reason = format!("{different} of {} messages do something else", cases.len());
        Err(Error::failed(args.file.display(), reason, "see the lines that begin with - and +").in_report())
    })
}

fn cases(path: &Path) -> Result<(Vec<Case>, Vec<Outcome>), Error> {
    match case::read(path)? {
        Recording::Captures(captures) => {
            let outcomes = captures.iter().map(|capture| capture.outcome.clone()).collect();
            Ok((captures.into_iter().map(Case::from).collect(), outcomes))
        }
        Recording::Documents(documents) => {
            let read = (1..).zip(&documents).map(|(number, document)| {
                let thing = || format!("{}: message {number}", path.display());
                document.case(true).map_err(|reason| Error::bad_input(thing(), reason, "correct it"))
            });
            Ok((read.collect::<Result<_, _>>()?, Vec::new()))
        }
    }
}

/// Shows what is in the file. Dead letters tell only how a message ended.
fn recorded(args: &Args, number: usize, case: &Case, outcome: Option<&Outcome>) -> Result<(), Error> {
    if args.json {
        return report(number, case, None, &[], outcome, None);
    }
    let mut text = heading(number, case);
    match &case.expected.ending {
        Some(Ok(())) => line(&mut text, "ended", "well"),
        Some(Err(error)) => line(&mut text, "failed", shown(error.shown().as_bytes())),
        None => {}
    }
    line(&mut text, "payload", shown(&case.payload));
    for (key, value) in &case.config {
        line(&mut text, "config", format_args!("{} = {}", shown(key.as_bytes()), shown(value.as_bytes())));
    }
    for (key, value) in &case.state {
        line(&mut text, "before", format_args!("{} = {}", shown(key), shown(value)));
    }
    for effect in outcome.iter().flat_map(|outcome| effects(outcome)) {
        text.push_str(&format!("  {effect}\n"));
    }
    output::print(&text)
}

/// Runs one message; true if that is as recorded, or the same with both functions.
fn one(
    args: &Args,
    number: usize,
    case: &Case,
    runner: &mut Runner,
    other: Option<&mut Runner>,
) -> Result<bool, Error> {
    let (outcome, fuel) = runner.run(case)?;
    let compared = match other {
        Some(other) => differences(&Expected::from(&outcome), &other.run(case)?.0),
        None => differences(&case.expected, &outcome),
    };
    let of_its_time = matches!(&case.expected.ending, Some(Err(error)) if error.is_of_its_time());
    let is_comparable = args.diff.is_some() || !(of_its_time || case.state_left_out) && case.expected.ending.is_some();
    let lines = if is_comparable { compared } else { Vec::new() };
    let same = is_comparable.then_some(lines.is_empty());
    if args.json {
        report(number, case, same, &lines, Some(&outcome), Some(fuel))?;
        return Ok(lines.is_empty());
    }
    let mut text = heading(number, case);
    let verdict = match (same, args.diff.is_some()) {
        (Some(true), false) => format!("{GOOD}as recorded{GOOD:#}"),
        (Some(true), true) => format!("{GOOD}both do the same{GOOD:#}"),
        (Some(false), false) => format!("{BAD}not as recorded{BAD:#}"),
        (Some(false), true) => format!("{BAD}they differ{BAD:#}"),
        (None, _) => format!("not compared: {}", why(case, of_its_time)),
    };
    line(&mut text, "replayed", format_args!("{}, {verdict}", runner.name()));
    if let Some(recorded) = case.recorded_by.sha256.as_ref().filter(|sha256| **sha256 != runner.sha256) {
        line(&mut text, "module", format_args!("another than the recorded one, {}", shown(recorded.as_bytes())));
    }
    if let Err(failure) = &outcome.result {
        line(&mut text, "failed", shown(failure.to_string().as_bytes()));
    }
    for effect in effects(&outcome) {
        text.push_str(&format!("  {effect}\n"));
    }
    for difference in &lines {
        text.push_str(&format!("  {}\n", coloured(difference)));
    }
    output::print(&text)?;
    Ok(lines.is_empty())
}

fn why(case: &Case, of_its_time: bool) -> &'static str {
    match (of_its_time, case.state_left_out) {
        (true, _) => "that it failed then depends on the machine, or on the messages before",
        (_, true) => "its state was too large to be recorded, so it began with none",
        _ => "nothing is said of what came of it",
    }
}

fn heading(number: usize, case: &Case) -> String {
    let by = &case.recorded_by;
    let recorded = [by.function.as_deref(), by.version.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let recorded = if recorded.is_empty() { recorded } else { format!(", {}", shown(recorded.as_bytes())) };
    format!("{number}: {}{recorded}, at {} ms\n", shown(case.topic.as_bytes()), case.now_ms)
}

fn report(
    number: usize,
    case: &Case,
    same: Option<bool>,
    differences: &[String],
    outcome: Option<&Outcome>,
    fuel: Option<u64>,
) -> Result<(), Error> {
    let by = &case.recorded_by;
    output::json(&Report {
        number,
        function: by.function.as_deref(),
        version: by.version.as_deref(),
        sha256: by.sha256.as_deref(),
        topic: &case.topic,
        now_ms: case.now_ms,
        same,
        differences,
        effects: outcome.map(Effects::from),
        fuel,
    })
}
