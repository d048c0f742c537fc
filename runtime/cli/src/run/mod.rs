//! `eyot run`: messages through a function, offline, in the engine the gateway uses.

mod messages;
mod report;
pub mod state;

use std::path::{Path, PathBuf};
use std::time::Instant;

use eyot_engine::{Function, Invocation, LoadOptions, Usage};
use eyot_wire::code::Failure;
use eyot_wire::manifest::{is_name, Allow, Limits, Manifest, OnError, NAME_MAX_BYTES};
use eyot_wire::topic::parse_topic;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::run::messages::Messages;
use crate::run::report::{Outcome, Reporter, Timing};
use crate::{guest, module, output};

/// Most repetitions of one message.
const REPEAT_MAX: i64 = 10_000_000;

/// Run messages through a function, without a gateway, and show what it does.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("message").required(true).args(["payload", "file"]))]
pub struct Args {
    /// The module. Without a manifest it runs under the default limits and may emit to any topic that does not begin
    /// with $.
    #[arg(value_name = "FN.wasm")]
    module: PathBuf,
    /// Topic the messages arrive on.
    #[arg(long, short)]
    topic: String,
    /// Payload of the message.
    #[arg(long, short, value_name = "TEXT")]
    payload: Option<String>,
    /// File with the payload; - reads standard input.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The file holds one message on each line (recorded JSON, for example); empty lines are skipped. State is carried
    /// from each message to the next; the n-th message has the seed N + n - 1.
    #[arg(long, requires = "file", conflicts_with = "repeat")]
    lines: bool,
    /// The function's state, as JSON: read before (none if the file does not exist), written afterwards.
    /// Keys and values that are not text, or begin with "base64:", are written as "base64:…".
    #[arg(long, value_name = "FILE.json")]
    state: Option<PathBuf>,
    /// Sets a value of [config]; may be given more than once.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    /// Arrival time that `now_ms` answers, Unix time in milliseconds [default: now].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    now_ms: Option<i64>,
    /// Seed of `random`.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Runs the message N times, state carried on, and shows the last outcome and the times of all.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=REPEAT_MAX))]
    repeat: u32,
    /// Print one JSON object; with --lines one for each message, on a line of its own.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  eyot run doubler.wasm --topic sensors/7/raw --payload '{\"t\":21.5}'
  eyot run doubler.wasm --topic sensors/7/raw --file - --json < reading.json
  eyot run smooth.wasm --topic sensors/7/raw --file recorded.ndjson --lines --state smooth.json
  eyot run doubler.wasm -t sensors/7/raw -p '{\"t\":1}' --config factor=3 --seed 7
  mosquitto_sub -t sensors/7/raw | eyot run doubler.wasm -t sensors/7/raw --file - --lines

Exit codes: 0 every message was handled, 1 the function failed on one, 2 the module or the input is refused.";

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

pub fn execute(args: &Args) -> Result<(), Error> {
    parse_topic(args.topic.as_bytes()).map_err(|e| {
        Error::bad_input(
            format_args!("topic \"{}\"", output::shown(args.topic.as_bytes())),
            e,
            "give the topic of one message",
        )
    })?;
    let wasm = guest::read_module(&args.module)?;
    guest::on_guest_thread(|| Run::load(args, &wasm)?.messages())
}

struct Run<'a> {
    args: &'a Args,
    function: Function,
    reporter: Reporter<'a>,
}

impl<'a> Run<'a> {
    fn load(args: &'a Args, wasm: &[u8]) -> Result<Self, Error> {
        let bare = module::read(wasm).is_ok_and(|facts| facts.manifest.is_none());
        let config: Vec<_> = args.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let manifest = bare.then(|| default_manifest(&args.module));
        let options = LoadOptions { manifest, ceiling: Limits::CEILING, config: &config, ..LoadOptions::default() };
        let mut function = guest::load(&args.module, wasm, options)?;
        if bare {
            output::warning(&format!(
                "{}: has no manifest; runs under the default limits and may emit to any topic that does not begin with $",
                args.module.display()
            ));
        } else if !function.manifest().triggered_by(&args.topic) {
            output::warning(&format!(
                "topic {}: no trigger of this function matches it; a gateway would not wake it",
                output::shown(args.topic.as_bytes())
            ));
        }
        if let Some(path) = &args.state {
            *function.state_mut() = state::read(path)?;
        }
        let reporter =
            Reporter { json: args.json, topic: &args.topic, sha256: hex::encode(Sha256::digest(wasm)), bare };
        reporter.start(&function);
        Ok(Self { args, function, reporter })
    }

    /// Runs all messages. The state is written even if one of them fails, as a gateway would keep it.
    fn messages(mut self) -> Result<(), Error> {
        let mut failed = 0u64;
        let mut count = 0u64;
        let mut last = None;
        for message in Messages::open(self.args.payload.as_deref(), self.args.file.as_deref(), self.args.lines)? {
            let message = message?;
            let outcome = self.message(&message.payload, self.args.seed.wrapping_add(count), message.line);
            count += 1;
            self.reporter.outcome(&self.function, &outcome)?;
            if let Err(failure) = outcome.result {
                failed += 1;
                last = Some(failure);
            }
        }
        if let Some(path) = &self.args.state {
            state::write(path, self.function.state())?;
        }
        let file = self.args.module.display();
        match last {
            None => Ok(()),
            Some(failure) if !self.args.lines => Err(Error::failed(file, &failure, remedy(&failure)).in_report()),
            Some(failure) => {
                let reason = format!("failed on {failed} of {count} messages, the last time with: {failure}");
                Err(Error::failed(file, reason, remedy(&failure)).in_report())
            }
        }
    }

    fn message(&mut self, payload: &[u8], seed: u64, line: Option<u64>) -> Outcome {
        let now_ms = self.args.now_ms.unwrap_or_else(eyot_gateway::driver::unix_ms);
        let invocation = Invocation { topic: &self.args.topic, payload, now_ms, seed };
        let mut timing = Timing::default();
        loop {
            let result = self.once(&invocation, &mut timing);
            if result.is_err() || timing.count >= u64::from(self.args.repeat) {
                return Outcome { line, result, timing };
            }
        }
    }

    fn once(&mut self, invocation: &Invocation<'_>, timing: &mut Timing) -> Result<Usage, Failure> {
        self.function.reset();
        let start = Instant::now();
        let result = self.function.invoke(invocation);
        timing.add(start.elapsed());
        result
    }
}

/// For a module that has none: what `function.toml` grants by default, and emits to anywhere.
fn default_manifest(path: &Path) -> Manifest {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let allowed = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = stem.chars().map(allowed).take(NAME_MAX_BYTES).collect();
    Manifest {
        name: if is_name(&name) { name } else { "function".to_owned() },
        version: semver::Version::new(0, 0, 0),
        triggers: Vec::new(),
        limits: Limits::default(),
        on_error: OnError::default(),
        allow: Allow { emit: vec!["#".to_owned()] },
        config: std::collections::BTreeMap::new(),
        rollout: None,
    }
}

/// What helps against a failure.
pub fn remedy(failure: &Failure) -> &'static str {
    match failure {
        Failure::Code(_) => "look the code up in the function, or log before returning it",
        Failure::Trap(_) => "the function's log says where a Rust function panicked",
        Failure::Deadline => "do less for one message, or raise limits.deadline in function.toml",
        Failure::Fuel => "do less for one message, or raise limits.fuel in function.toml",
        Failure::Memory => "use less memory, or raise limits.memory in function.toml",
        Failure::BadAlloc => "eyot_alloc must return room for topic and payload together",
        Failure::PayloadTooLarge => "send less in one message",
        Failure::Quarantined => "see why it failed on the messages before",
    }
}
