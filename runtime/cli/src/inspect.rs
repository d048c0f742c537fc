//! `eyot inspect`: what stands in a module, and what a gateway would say to it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use eyot_engine::LoadOptions;
use eyot_wire::manifest::{Manifest, Trigger};
use serde::Serialize;

use crate::error::Error;
use crate::module::{self, Facts};
use crate::output::{self, line, BAD, GOOD};
use crate::{guest, module::describe_manifest};

/// Show what a function's file holds, and whether a gateway would accept it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The module.
    #[arg(value_name = "FN.wasm")]
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  eyot inspect celsius.wasm
  eyot inspect celsius.wasm --json | jq .manifest.limits

A gateway may grant less than is assumed here, and demands a signature.
Exit codes: 0 it would be accepted, 1 it would be refused, 2 it is not a module.";

#[derive(Serialize)]
struct Report<'a> {
    file: String,
    #[serde(flatten)]
    facts: &'a Facts,
    manifest: Option<ManifestView<'a>>,
    accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

#[derive(Serialize)]
struct Refusal {
    kind: &'static str,
    message: String,
}

/// A manifest with units in the names.
#[derive(Serialize)]
struct ManifestView<'a> {
    name: &'a str,
    version: String,
    triggers: Vec<TriggerView<'a>>,
    limits: LimitsView,
    on_error: String,
    emit: &'a [String],
    config: &'a BTreeMap<String, String>,
    /// None if the gateway decides.
    rollout: Option<String>,
}

#[derive(Serialize)]
struct TriggerView<'a> {
    mqtt: &'a str,
    rate_per_h: Option<u64>,
}

impl<'a> From<&'a Trigger> for TriggerView<'a> {
    fn from(trigger: &'a Trigger) -> Self {
        Self { mqtt: &trigger.mqtt, rate_per_h: trigger.rate.map(|rate| rate.per_h) }
    }
}

#[derive(Serialize)]
struct LimitsView {
    fuel: u64,
    memory_bytes: u64,
    output_bytes: u64,
    state_bytes: u64,
    deadline_ms: u64,
}

impl<'a> From<&'a Manifest> for ManifestView<'a> {
    fn from(manifest: &'a Manifest) -> Self {
        let limits = &manifest.limits;
        Self {
            name: &manifest.name,
            version: manifest.version.to_string(),
            triggers: manifest.triggers.iter().map(TriggerView::from).collect(),
            limits: LimitsView {
                fuel: limits.fuel,
                memory_bytes: limits.memory_bytes,
                output_bytes: limits.output_bytes,
                state_bytes: limits.state_bytes,
                deadline_ms: limits.deadline_ms,
            },
            on_error: manifest.on_error.to_string(),
            emit: &manifest.allow.emit,
            config: &manifest.config,
            rollout: manifest.rollout.map(|rollout| rollout.to_string()),
        }
    }
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let wasm = guest::read_module(&args.file)?;
    let facts = module::read(&wasm)
        .map_err(|reason| Error::bad_input(args.file.display(), reason, "give a module as `eyot build` writes it"))?;
    let verdict =
        guest::on_guest_thread(|| Ok(eyot_engine::Function::load(&wasm, LoadOptions::default()).map(|_| ())))?;
    let refusal = verdict.err().map(|error| error.to_string());
    let manifest = facts.manifest.as_deref().and_then(|text| Manifest::parse(text).ok());
    if args.json {
        let report = Report {
            file: args.file.display().to_string(),
            facts: &facts,
            manifest: manifest.as_ref().map(ManifestView::from),
            accepted: refusal.is_none(),
            error: refusal.clone().map(|message| Refusal { kind: "refused", message }),
        };
        output::json(&report)?;
    } else {
        output::print(&describe(args, &facts, manifest.as_ref(), refusal.is_some()))?;
    }
    match refusal {
        None => Ok(()),
        Some(reason) => Err(Error::would_be_refused(args.file.display(), &reason).in_report()),
    }
}

fn describe(args: &Args, facts: &Facts, manifest: Option<&Manifest>, refused: bool) -> String {
    let verdict =
        if refused { format!("{BAD}would be refused{BAD:#}") } else { format!("{GOOD}would be accepted{GOOD:#}") };
    let mut text = match manifest {
        Some(manifest) => format!("{} {}: {verdict}\n", manifest.name, manifest.version),
        None => format!("{}: {verdict}\n", args.file.display()),
    };
    facts.describe(&mut text);
    match manifest {
        Some(manifest) => describe_manifest(manifest, &mut text),
        None if facts.manifest.is_some() => line(&mut text, "manifest", "not a valid function.toml"),
        None => line(&mut text, "manifest", "none"),
    }
    text
}
