//! Messages through our engine.

use eyot_engine::{Function, Invocation, LoadError, LoadOptions, StateOp};
use eyot_wire::code::Failure;
use eyot_wire::manifest::{self, Manifest};

use crate::seen::{End, Limits, Message, Refusal, Seen, CONFIG, TOPIC};

/// More than any generated function uses, so that no message ends for want of it.
const FUEL: u64 = 1 << 60;

fn manifest(limits: &Limits) -> Manifest {
    let config: String = CONFIG.iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
    let mut manifest = Manifest::parse(&format!(
        "name = \"a\"\nversion = \"1.0.0\"\n[allow]\nemit = [\"out/#\", \"+/b/c\"]\n[config]\n{config}"
    ))
    .unwrap();
    manifest.limits.fuel = FUEL;
    manifest.limits.memory_bytes = limits.memory_bytes;
    manifest.limits.output_bytes = limits.output_bytes;
    manifest.limits.state_bytes = limits.state_bytes;
    manifest
}

pub fn load(wasm: &[u8], limits: &Limits) -> Result<Function, Refusal> {
    let ceiling = manifest::Limits {
        fuel: u64::MAX,
        memory_bytes: u64::MAX,
        output_bytes: u64::MAX,
        state_bytes: u64::MAX,
        deadline_ms: u64::MAX,
    };
    let options = LoadOptions { manifest: Some(manifest(limits)), ceiling, ..LoadOptions::default() };
    Function::load(wasm, options).map_err(|error| match error {
        LoadError::Invalid(reason) => Refusal::Invalid(reason),
        LoadError::Instantiate(_) => Refusal::Instantiate,
        LoadError::Init(failure) => Refusal::Start(end(&failure)),
        other => Refusal::Ours(other.to_string()),
    })
}

fn end(failure: &Failure) -> End {
    match failure {
        Failure::Code(code) => End::Code(*code),
        Failure::Trap(text) if text.contains("call stack exhausted") => End::Stack,
        Failure::Trap(text) => End::Trap(text.clone()),
        Failure::Memory => End::Memory,
        Failure::BadAlloc => End::BadAlloc,
        Failure::Fuel => End::Fuel,
        other => panic!("no generated function ends like this: {other}"),
    }
}

pub fn invoke(function: &mut Function, message: &Message) -> Seen {
    let Message { payload, now_ms, seed } = message;
    let result = function.invoke(&Invocation { topic: TOPIC, payload, now_ms: *now_ms, seed: *seed });
    let end = match result {
        Ok(usage) => End::Done { memory_bytes: usage.memory_bytes, random_used: usage.random_used },
        Err(failure) => end(&failure),
    };
    let effects = function.effects();
    let refused = effects.refused_emits();
    let op = |op: StateOp<'_>| match op {
        StateOp::Set { key, value } => (key.to_vec(), Some(value.to_vec())),
        StateOp::Delete { key } => (key.to_vec(), None),
    };
    Seen {
        end,
        emits: effects.emits().map(|emit| (emit.topic.to_owned(), emit.payload.to_vec())).collect(),
        state_ops: effects.state_ops().map(op).collect(),
        logs: effects.logs().map(|line| (line.level as u8, line.text.to_owned())).collect(),
        logs_dropped: effects.logs_dropped(),
        refused: [refused.not_allowed, refused.malformed, refused.over_limit],
        state: function.state().entries().clone(),
    }
}
