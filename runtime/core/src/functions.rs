//! Route and invoke: which functions a message wakes, and what comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use eyot_engine::{Function, Invocation, StateOp};
use eyot_wire::code::Failure;
use eyot_wire::record::{Builder, Route};

use crate::backlog::Quotas;
use crate::dead;
use crate::ledger::Ledger;
use crate::notices::Notices;
use crate::streams::{Routed, Streams};

/// The failure of a reducer, in one word, that emits to where the output was not going.
const MISROUTED: &str = "misrouted";

/// A function ready to run.
pub struct Loaded {
    /// The engine's instance of it.
    pub function: Function,
    /// SHA-256 of its module.
    pub sha256: [u8; 32],
}

/// A function with its counters.
pub(crate) struct Active {
    pub name: Arc<str>,
    pub function: Function,
    pub sha256: [u8; 32],
    pub invocations: u64,
    pub failures: u64,
    pub fuel: u64,
    pub emits_refused: u64,
    pub last_failure: Option<&'static str>,
}

/// What the outputs of one message need to know about their destinations.
pub(crate) struct Outlets<'a> {
    pub streams: &'a Streams,
    pub quotas: &'a Quotas,
    pub gateway_id: &'a str,
}

impl Outlets<'_> {
    pub fn route(&self, topic: &str, payload: &[u8], ledger: &mut Ledger, routes: &mut Vec<Route>) -> Routed {
        let bytes = (topic.len() + payload.len()) as u64;
        self.streams.route(topic, bytes, self.quotas, ledger, routes)
    }
}

/// A message on its way through the functions.
#[derive(Clone, Copy)]
pub(crate) struct Waking<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub now_ms: i64,
    pub seed: u64,
    pub mono_us: u64,
}

/// What the functions made of one message; the effects are in the record builder.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Functions that ran.
    pub woken: u32,
    /// Functions that failed.
    pub failed: u32,
    /// Streams with outputs.
    pub mask: u32,
    /// Outputs that an uplink had no room for.
    pub refused: u32,
    /// `random` was called: the seed belongs in the record.
    pub random_used: bool,
}

impl Outcome {
    fn add(&mut self, Routed { mask, refused }: Routed) {
        self.mask |= mask;
        self.refused += refused;
    }
}

/// What a reducer makes of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reduced {
    /// It failed: the output stays as it is.
    Failed,
    /// It is not worth keeping.
    Nothing,
    /// This topic and payload in its place.
    To(String, Vec<u8>),
}

/// All functions of the gateway, in the order they are invoked: by name.
#[derive(Default)]
pub(crate) struct Functions {
    active: Vec<Active>,
    routes: Vec<Route>,
}

impl Functions {
    pub fn new(loaded: Vec<Loaded>) -> Self {
        let mut active: Vec<Active> = loaded
            .into_iter()
            .map(|l| Active {
                name: Arc::from(l.function.manifest().name.as_str()),
                function: l.function,
                sha256: l.sha256,
                invocations: 0,
                failures: 0,
                fuel: 0,
                emits_refused: 0,
                last_failure: None,
            })
            .collect();
        active.sort_by(|a, b| a.name.cmp(&b.name));
        Self { active, routes: Vec::new() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Active> {
        self.active.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Active> {
        self.active.iter_mut()
    }

    /// Of these functions, takes the one that reduces backlogs: no message wakes it.
    pub fn take(&mut self, name: &str) -> Option<Active> {
        let index = self.active.iter().position(|a| *a.name == *name)?;
        Some(self.active.remove(index))
    }

    /// Runs every function that `waking.topic` triggers and writes their effects, or dead letters, to `record`.
    pub fn run(
        &mut self,
        waking: &Waking<'_>,
        outlets: &Outlets<'_>,
        ledger: &mut Ledger,
        record: &mut Builder,
        notices: &mut Notices,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for active in self.active.iter_mut() {
            if !active.function.manifest().triggered_by(waking.topic) {
                continue;
            }
            outcome.woken += 1;
            active.invocations += 1;
            let invocation =
                Invocation { topic: waking.topic, payload: waking.payload, now_ms: waking.now_ms, seed: waking.seed };
            let result = active.function.invoke(&invocation);
            active.note_logs(waking.mono_us, notices);
            match result {
                Ok(usage) => {
                    active.fuel += usage.fuel;
                    outcome.random_used |= usage.random_used;
                    outcome.add(active.keep_effects(outlets, ledger, record, &mut self.routes));
                }
                Err(failure) => {
                    outcome.failed += 1;
                    outcome.random_used = true;
                    active.note_failure(&failure, waking.mono_us, notices);
                    let (topic, payload) = dead::letter(outlets.gateway_id, active, waking, &failure);
                    outcome.add(outlets.route(&topic, &payload, ledger, &mut self.routes));
                    record.output(&topic, &payload, &self.routes);
                }
            }
        }
        outcome
    }
}

impl Active {
    /// Shows an output to a reducer; returns what it makes of it, and the fuel that took. It may emit once, and only to
    /// where the output was going.
    pub fn reduce(
        &mut self,
        invocation: &Invocation<'_>,
        streams: &Streams,
        mono_us: u64,
        notices: &mut Notices,
    ) -> (Reduced, u64) {
        self.invocations += 1;
        let result = self.function.invoke(invocation);
        self.note_logs(mono_us, notices);
        let usage = match result {
            Ok(usage) => usage,
            Err(failure) => {
                self.failures += 1;
                self.last_failure = Some(failure.word());
                notices.reducer_failed(&self.name, &failure.to_string(), mono_us);
                return (Reduced::Failed, self.function.manifest().limits.fuel);
            }
        };
        self.fuel += usage.fuel;
        let mut emits = self.function.effects().emits();
        let made = emits.next().map(|e| Reduced::To(e.topic.to_owned(), e.payload.to_vec()));
        let refused = emits.count() as u64;
        if refused > 0 {
            self.emits_refused += refused;
            notices.emit_refused(&self.name, refused, mono_us);
        }
        if let Some(Reduced::To(topic, _)) = &made {
            if !streams.are_alike(invocation.topic, topic) {
                self.failures += 1;
                self.last_failure = Some(MISROUTED);
                let failure = format!("it emitted to \"{topic}\", which goes elsewhere than \"{}\"", invocation.topic);
                notices.reducer_failed(&self.name, &failure, mono_us);
                return (Reduced::Failed, usage.fuel);
            }
        }
        (made.unwrap_or(Reduced::Nothing), usage.fuel)
    }

    fn keep_effects(
        &mut self,
        outlets: &Outlets<'_>,
        ledger: &mut Ledger,
        record: &mut Builder,
        routes: &mut Vec<Route>,
    ) -> Routed {
        let mut all = Routed::default();
        let effects = self.function.effects();
        for emit in effects.emits() {
            let routed = outlets.route(emit.topic, emit.payload, ledger, routes);
            all = Routed { mask: all.mask | routed.mask, refused: all.refused + routed.refused };
            record.output(emit.topic, emit.payload, routes);
        }
        let count = effects.state_ops().count() as u32;
        if count > 0 {
            let ops = effects.state_ops().map(|op| match op {
                StateOp::Set { key, value } => (key, Some(value)),
                StateOp::Delete { key } => (key, None),
            });
            record.state(&self.name, count, ops);
        }
        all
    }

    fn note_failure(&mut self, failure: &Failure, mono_us: u64, notices: &mut Notices) {
        self.failures += 1;
        self.last_failure = Some(failure.word());
        notices.function_failed(&self.name, failure, mono_us);
    }

    fn note_logs(&mut self, mono_us: u64, notices: &mut Notices) {
        let effects = self.function.effects();
        for line in effects.logs() {
            notices.function_log(&self.name, line.level, line.text, mono_us);
        }
        let refused = effects.refused_emits();
        let refused = u64::from(refused.not_allowed) + u64::from(refused.malformed) + u64::from(refused.over_limit);
        if refused > 0 {
            self.emits_refused += refused;
            notices.emit_refused(&self.name, refused, mono_us);
        }
    }
}

/// State by function name: what recovery found, until the functions take their share.
pub(crate) type States = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;
