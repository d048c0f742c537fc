//! `eyot verify`: who signed a function, and whether that suffices.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use eyot_gateway::config::Config;
use eyot_trust::key::PublicKey;
use eyot_trust::policy::unix_s;
use eyot_trust::release::{Admission, History, Release};
use eyot_trust::verify::{Fit, Module};
use serde::Serialize;

use crate::error::Error;
use crate::output::{self, line, BAD, GOOD};
use crate::{guest, keys};

/// Check who signed a function, with keys or as a gateway would.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The function.
    #[arg(value_name = "FN.wasm")]
    file: PathBuf,
    /// Public key that must have signed it; each of several must.
    #[arg(long, short, value_name = "FILE", required_unless_present = "config")]
    key: Vec<PathBuf>,
    /// Checks it as the gateway with this gateway.toml would: [trust] with expiry, revocation and what each key may push.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Checks too that it may replace this function: the same name, and a higher version.
    #[arg(long, value_name = "OLD.wasm")]
    over: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  eyot verify celsius.wasm --key ada.pub
  eyot verify celsius.wasm --key ada.pub --key bob.pub --json
  eyot verify celsius.wasm --config gateway.toml --over deployed.wasm

Exit codes: 0 it is signed and nothing was altered, 1 it is not, 2 a file cannot be used.";

#[derive(Serialize)]
struct Report {
    file: String,
    name: String,
    version: String,
    content_sha256: String,
    verified: bool,
    signers: Vec<SignerView>,
    /// Ids of keys that signatures name and that were not asked for.
    others: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

#[derive(Serialize)]
struct SignerView {
    id: String,
    comment: String,
}

#[derive(Serialize)]
struct Refusal {
    kind: &'static str,
    message: String,
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let asked = args.key.iter().map(|path| keys::read_public(path)).collect::<Result<Vec<_>, _>>()?;
    let wasm = guest::read_module(&args.file)?;
    let module = read(&args.file, &wasm)?;
    let verdict = judge(args, &asked, &module)?;
    let (signers, refusal) = match verdict {
        Ok(signers) => (signers, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    if args.json {
        output::json(&report(args, &module, &signers, refusal.as_deref()))?;
    } else {
        output::print(&describe(args, &module, &signers, refusal.is_some()))?;
    }
    match refusal {
        None => Ok(()),
        Some(reason) => Err(Error::would_be_refused(args.file.display(), &reason).in_report()),
    }
}

fn read<'w>(path: &Path, wasm: &'w [u8]) -> Result<Module<'w>, Error> {
    Module::read(wasm).map_err(|e| Error::unusable(path.display(), e))
}

/// Who vouches for it, or why nobody does.
fn judge(args: &Args, asked: &[PublicKey], module: &Module<'_>) -> Result<Result<Vec<PublicKey>, String>, Error> {
    if let Some(reason) = asked.iter().find_map(|key| missing(module, key)) {
        return Ok(Err(reason));
    }
    let mut signers = asked.to_vec();
    if let Some(file) = &args.config {
        let policy = Config::load_trust(file).map_err(|e| Error::bad_file(&e))?;
        match policy.check_push(module, unix_s(SystemTime::now())) {
            Ok(keys) => signers.extend(keys.into_iter().filter(|key| !asked.contains(key)).cloned()),
            Err(refusal) => return Ok(Err(refusal.to_string())),
        }
    }
    if let Some(file) = &args.over {
        let wasm = guest::read_module(file)?;
        if let Err(reason) = follows(&read(file, &wasm)?, module) {
            return Ok(Err(reason));
        }
    }
    Ok(Ok(signers))
}

fn missing(module: &Module<'_>, key: &PublicKey) -> Option<String> {
    match module.fit(key) {
        Fit::Signed => None,
        Fit::Altered => Some(format!(
            "was altered after {key} signed it, or was signed only in part; get it again, or build and sign it anew"
        )),
        Fit::Absent if !module.is_signed() => Some("is not signed; sign it with `eyot sign`".to_owned()),
        Fit::Absent => Some(format!("is not signed by {key}; sign it with that key, or verify with the one that did")),
    }
}

fn follows(old: &Module<'_>, new: &Module<'_>) -> Result<(), String> {
    let (before, after) = (&old.manifest().name, &new.manifest().name);
    if before != after {
        return Err(format!("is called \"{after}\" and would not replace \"{before}\"; compare functions of one name"));
    }
    let release = |module: &Module<'_>| Release {
        version: module.manifest().version.clone(),
        content_sha256: *module.content_sha256(),
    };
    let history = History { active: Some(release(old)), ..History::default() };
    match history.admit(&release(new)) {
        Ok(Admission::Replaces) => Ok(()),
        Ok(Admission::Unchanged) => Err("is what runs already; build a new version".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Ids in the module of keys that do not vouch for it here.
fn others(module: &Module<'_>, signers: &[PublicKey]) -> Vec<String> {
    let known: Vec<String> = signers.iter().map(|key| key.id().to_string()).collect();
    module.claimed_ids().into_iter().filter(|id| !known.contains(id)).collect()
}

fn report(args: &Args, module: &Module<'_>, signers: &[PublicKey], refusal: Option<&str>) -> Report {
    let manifest = module.manifest();
    Report {
        file: args.file.display().to_string(),
        name: manifest.name.clone(),
        version: manifest.version.to_string(),
        content_sha256: hex::encode(module.content_sha256()),
        verified: refusal.is_none(),
        signers: signers
            .iter()
            .map(|key| SignerView { id: key.id().to_string(), comment: key.comment().to_owned() })
            .collect(),
        others: others(module, signers),
        error: refusal.map(|message| Refusal { kind: "refused", message: message.to_owned() }),
    }
}

fn describe(args: &Args, module: &Module<'_>, signers: &[PublicKey], refused: bool) -> String {
    let manifest = module.manifest();
    let verdict = if refused { format!("{BAD}not verified{BAD:#}") } else { format!("{GOOD}verified{GOOD:#}") };
    let mut text = format!("{} ({} {}): {verdict}\n", args.file.display(), manifest.name, manifest.version);
    line(&mut text, "content", hex::encode(module.content_sha256()));
    for signer in signers {
        line(&mut text, "signer", signer);
    }
    for id in others(module, signers) {
        line(&mut text, "other", id);
    }
    if !refused && signers.is_empty() {
        line(&mut text, "signer", "none; this gateway allows that");
    }
    text
}
