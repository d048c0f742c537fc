//! What a message did, for people and for programs.

use std::time::Duration;

use base64::prelude::{Engine as _, BASE64_STANDARD};
use eyot_engine::{Function, RefusedEmits, StateOp, Usage};
use eyot_wire::code::Failure;
use serde::Serialize;

use crate::error::Error;
use crate::output::{self, line, shown, size, BAD, GOOD};

/// How long the repetitions of one message took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    pub count: u64,
    total: Duration,
    min: Option<Duration>,
    max: Duration,
}

impl Timing {
    /// Adds one repetition.
    pub fn add(&mut self, took: Duration) {
        self.count += 1;
        self.total += took;
        self.min = Some(self.min.map_or(took, |min| min.min(took)));
        self.max = self.max.max(took);
    }

    fn view(&self) -> TimeView {
        let ns = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        TimeView { min: ns(self.min.unwrap_or_default()), mean: ns(self.total) / self.count.max(1), max: ns(self.max) }
    }
}

/// The end of one message; its effects are those of the function.
pub struct Outcome {
    pub line: Option<u64>,
    pub result: Result<Usage, Failure>,
    pub timing: Timing,
}

/// Tells outcomes.
pub struct Reporter<'a> {
    pub json: bool,
    pub topic: &'a str,
    pub sha256: String,
    /// The function has no manifest of its own.
    pub bare: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    function: FunctionView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    topic: &'a str,
    /// `null` without a manifest, which has no triggers to match.
    triggered: Option<bool>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorView<'a>>,
    emits: Vec<EmitView<'a>>,
    state: Vec<StateView<'a>>,
    logs: Vec<LogView<'a>>,
    logs_dropped: u32,
    refused_emits: RefusedView,
    /// Of a message that ended well.
    fuel: Option<u64>,
    fuel_limit: u64,
    memory_bytes: Option<usize>,
    random_used: Option<bool>,
    repeat: u64,
    time_ns: TimeView,
}

#[derive(Serialize)]
struct FunctionView<'a> {
    name: &'a str,
    version: String,
    sha256: &'a str,
}

#[derive(Serialize)]
struct ErrorView<'a> {
    kind: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
}

#[derive(Serialize)]
struct EmitView<'a> {
    topic: &'a str,
    #[serde(flatten)]
    payload: Payload<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Payload<'a> {
    Payload(&'a str),
    PayloadBase64(String),
}

#[derive(Serialize)]
struct StateView<'a> {
    op: &'a str,
    #[serde(flatten)]
    key: Key<'a>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    value: Option<Value<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Key<'a> {
    Key(&'a str),
    KeyBase64(String),
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Value<'a> {
    Value(&'a str),
    ValueBase64(String),
}

#[derive(Serialize)]
struct LogView<'a> {
    level: &'a str,
    text: &'a str,
}

#[derive(Serialize)]
struct RefusedView {
    not_allowed: u32,
    malformed: u32,
    over_limit: u32,
}

#[derive(Serialize)]
struct TimeView {
    min: u64,
    mean: u64,
    max: u64,
}

/// Text if the bytes are text, else base64.
fn either<'a, T>(bytes: &'a [u8], text: fn(&'a str) -> T, base64: fn(String) -> T) -> T {
    std::str::from_utf8(bytes).map_or_else(|_| base64(BASE64_STANDARD.encode(bytes)), text)
}

impl<'a> From<StateOp<'a>> for StateView<'a> {
    fn from(op: StateOp<'a>) -> Self {
        let (op, key, value) = match op {
            StateOp::Set { key, value } => ("set", key, Some(value)),
            StateOp::Delete { key } => ("delete", key, None),
        };
        Self {
            op,
            key: either(key, Key::Key, Key::KeyBase64),
            value: value.map(|value| either(value, Value::Value, Value::ValueBase64)),
        }
    }
}

impl Reporter<'_> {
    /// Tells what the function logged when it started, which belongs to no message.
    pub fn start(&self, function: &Function) {
        for log in function.effects().logs() {
            output::note(&format!("eyot_init logged {}: {}", log.level.word(), shown(log.text.as_bytes())));
        }
    }

    /// Tells what a message did.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn outcome(&self, function: &Function, outcome: &Outcome) -> Result<(), Error> {
        if self.json {
            output::json(&self.document(function, outcome))
        } else {
            output::print(&self.text(function, outcome))
        }
    }

    fn document<'a>(&'a self, function: &'a Function, outcome: &'a Outcome) -> Report<'a> {
        let manifest = function.manifest();
        let effects = function.effects();
        let usage = outcome.result.as_ref().ok();
        let refused = effects.refused_emits();
        Report {
            function: FunctionView {
                name: &manifest.name,
                version: manifest.version.to_string(),
                sha256: &self.sha256,
            },
            line: outcome.line,
            topic: self.topic,
            triggered: (!self.bare).then(|| manifest.triggered_by(self.topic)),
            ok: usage.is_some(),
            error: outcome.result.as_ref().err().map(|failure| ErrorView {
                kind: failure.word(),
                message: failure.to_string(),
                code: failure.code(),
            }),
            emits: effects
                .emits()
                .map(|emit| EmitView {
                    topic: emit.topic,
                    payload: either(emit.payload, Payload::Payload, Payload::PayloadBase64),
                })
                .collect(),
            state: effects.state_ops().map(StateView::from).collect(),
            logs: effects.logs().map(|log| LogView { level: log.level.word(), text: log.text }).collect(),
            logs_dropped: effects.logs_dropped(),
            refused_emits: RefusedView {
                not_allowed: refused.not_allowed,
                malformed: refused.malformed,
                over_limit: refused.over_limit,
            },
            fuel: usage.map(|usage| usage.fuel),
            fuel_limit: manifest.limits.fuel,
            memory_bytes: usage.map(|usage| usage.memory_bytes),
            random_used: usage.map(|usage| usage.random_used),
            repeat: outcome.timing.count,
            time_ns: outcome.timing.view(),
        }
    }

    fn text(&self, function: &Function, outcome: &Outcome) -> String {
        let manifest = function.manifest();
        let effects = function.effects();
        let place = outcome.line.map(|line| format!(", line {line}")).unwrap_or_default();
        let verdict = match &outcome.result {
            Ok(_) => format!("{GOOD}done{GOOD:#}"),
            Err(failure) => format!("{BAD}failed{BAD:#}, {failure}"),
        };
        let mut text = format!("{} {}{place}: {verdict}\n", manifest.name, manifest.version);
        for emit in effects.emits() {
            line(&mut text, "emit", format_args!("{}  {}", shown(emit.topic.as_bytes()), shown(emit.payload)));
        }
        for op in effects.state_ops() {
            match op {
                StateOp::Set { key, value } => {
                    line(&mut text, "state", format_args!("set {} = {}", shown(key), shown(value)));
                }
                StateOp::Delete { key } => line(&mut text, "state", format_args!("delete {}", shown(key))),
            }
        }
        for log in effects.logs() {
            line(&mut text, "log", format_args!("{}: {}", log.level.word(), shown(log.text.as_bytes())));
        }
        if effects.logs_dropped() > 0 {
            line(&mut text, "log", format_args!("{} more were dropped", effects.logs_dropped()));
        }
        refusals(&mut text, effects.refused_emits());
        if let Ok(usage) = &outcome.result {
            let (fuel, memory) = (usage.fuel, size(usage.memory_bytes as u64));
            line(
                &mut text,
                "used",
                format_args!(
                    "fuel {fuel} of {}, memory {memory} of {}",
                    manifest.limits.fuel,
                    size(manifest.limits.memory_bytes)
                ),
            );
        }
        line(&mut text, "time", outcome.timing.view().text(outcome.timing.count));
        text
    }
}

fn refusals(text: &mut String, refused: RefusedEmits) {
    for (count, why) in [
        (refused.not_allowed, "topic is not in allow.emit of function.toml"),
        (refused.malformed, "not a valid topic, or a pointer outside of memory"),
        (refused.over_limit, "over limits.output of function.toml, or too many for one message"),
    ] {
        if count > 0 {
            line(text, "refused", format_args!("{BAD}{count}{BAD:#} emits: {why}"));
        }
    }
}

impl TimeView {
    fn text(&self, count: u64) -> String {
        let us = |ns: u64| format!("{}.{} us", ns / 1000, ns % 1000 / 100);
        if count == 1 {
            return us(self.mean);
        }
        format!("{} mean of {count}, {} to {}", us(self.mean), us(self.min), us(self.max))
    }
}
