//! A loaded function, and the run of one message through it.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use eyot_wire::code::Failure;
use eyot_wire::manifest::{Limits, Manifest};
use eyot_wire::module::PAYLOAD_MAX_BYTES;
use eyot_wire::topic::TOPIC_MAX_BYTES;
use wasmi::{Error, Store, TypedResumableCall, TypedResumableCallOutOfFuel};

use crate::compile::{compile, Compiled};
use crate::effects::Effects;
use crate::error::LoadError;
use crate::growth::Growth;
use crate::host::{Host, MessageContext, STATE_CALLS};
use crate::instance::{failure, settle, start, Live};
use crate::limits::StackLimits;
use crate::meter::Meter;
use crate::scan::scan;
use crate::settings::{merged_config, parse_manifest};
use crate::snapshot::ResetPlan;

mod adapt;
mod kept;

/// How to load a module.
#[derive(Clone, Debug)]
pub struct LoadOptions<'a> {
    /// Used instead of the manifest in the module; for trying a module that has none.
    pub manifest: Option<Manifest>,
    /// The most the manifest may ask for.
    pub ceiling: Limits,
    /// What becomes of a manifest that asks for more.
    pub over_ceiling: OverCeiling,
    /// Values that replace or add to the manifest's `[config]`.
    pub config: &'a [(&'a str, &'a str)],
    /// The interpreter's stacks.
    pub stack: StackLimits,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self {
            manifest: None,
            ceiling: Limits::CEILING,
            over_ceiling: OverCeiling::default(),
            config: &[],
            stack: StackLimits::default(),
        }
    }
}

/// What becomes of a manifest that asks for more than it is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverCeiling {
    /// It is refused.
    #[default]
    Refuse,
    /// It gets what is granted: for nodes, on which a function that names no limits is to run as well.
    Lower,
}

/// One message for a function, with all it may know of the world.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// A valid topic.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// Unix time in milliseconds at which it arrived; what `now_ms` answers.
    pub now_ms: i64,
    /// Seed of `random`. Equal seeds give equal bytes on every machine and version (xoshiro256++); not for secrets.
    pub seed: u64,
}

/// What a message that ended well has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Fuel.
    pub fuel: u64,
    /// Linear memory at the end.
    pub memory_bytes: usize,
    /// It called `random`, so a replay needs the seed.
    pub random_used: bool,
}

/// What [`Function::begin`] and [`Function::resume`] answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// The message has ended.
    Done(Result<Usage, Failure>),
    /// It has used up a slice; call [`Function::resume`] or [`Function::abort`].
    Yield,
}

#[derive(Clone, Copy)]
enum Stage {
    Alloc,
    Handle,
}

type Outcome = Result<TypedResumableCall<i32>, Error>;
type Paused = TypedResumableCallOutOfFuel<i32>;

/// One function of one gateway: its module, its state and configuration, and one instance ready for a message.
///
/// Not shared between threads, but it may move between messages and between slices.
///
/// A message that ended well has effects and no consequences: its state operations become part of the state with
/// [`keep`](Self::keep), and are forgotten otherwise.
pub struct Function {
    manifest: Arc<Manifest>,
    compiled: Compiled,
    plan: ResetPlan,
    store: Store<Host>,
    /// `None` when an instance must be started before the next message.
    live: Option<Live>,
    /// The instance has run since it was started or restored.
    used: bool,
    /// The call to go on with, and the fuel already granted for it.
    paused: Option<(Stage, Paused, u64)>,
    /// Topic, then payload, of the running message.
    input: Vec<u8>,
    topic_len: usize,
}

impl Function {
    /// Scans, compiles and starts a module. Its state is empty; [`state_mut`](Self::state_mut) recovers one.
    ///
    /// # Errors
    /// The module, its manifest or its configuration is refused; nothing is left behind.
    pub fn load(wasm: &[u8], options: LoadOptions<'_>) -> Result<Self, LoadError> {
        let facts = scan(wasm)?;
        let mut manifest = match (options.manifest, facts.manifest) {
            (Some(manifest), _) => manifest,
            (None, Some(text)) => parse_manifest(text)?,
            (None, None) => return Err(LoadError::NoManifest),
        };
        if options.over_ceiling == OverCeiling::Lower {
            manifest.limits = manifest.limits.lowered_to(&options.ceiling);
        }
        let limits = manifest.limits;
        if let Some((key, asked, allowed)) = limits.over(&options.ceiling) {
            return Err(LoadError::OverCeiling { key, asked, allowed });
        }
        if facts.memory_bytes > limits.memory_bytes {
            let what = "bytes of initial memory (limits.memory)";
            return Err(LoadError::TooMany { what, count: facts.memory_bytes, most: limits.memory_bytes });
        }
        let compiled = compile(wasm, &facts, options.stack)?;
        let host = Host {
            config: merged_config(&manifest, options.config)?,
            allow: manifest.allow.clone(),
            limits,
            growth: Growth::new(&limits),
            ..Host::default()
        };
        let plan = ResetPlan { mutable_globals: facts.mutable_globals, always_fresh: facts.changes_tables_or_segments };
        let mut store = Store::new(&compiled.engine, host);
        let live = start(&mut store, &compiled, &plan)?;
        Ok(Self {
            manifest: Arc::new(manifest),
            compiled,
            plan,
            store,
            live: Some(live),
            used: false,
            paused: None,
            input: Vec::new(),
            topic_len: 0,
        })
    }

    /// The manifest it was loaded with.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Most bytes of keys and values it can come to remember; none if it never calls `state_set`.
    pub fn state_max_bytes(&self) -> u64 {
        let sets_state = self.compiled.module.imports().any(|import| import.name() == "state_set");
        u64::from(sets_state) * self.manifest.limits.state_bytes
    }

    /// Fuel that a start takes, beside that of messages: at load, and after each message that no reset can follow.
    pub fn start_fuel(&self) -> u64 {
        self.live.as_ref().map_or(0, |live| live.start_fuel)
    }

    /// Whether it imports any of the state calls. Without them all instances of the module are alike, and several can run
    /// at once.
    pub fn uses_state(&self) -> bool {
        self.compiled.module.imports().any(|import| import.name().starts_with(STATE_CALLS))
    }

    /// Effects of the last message; after [`load`](Self::load), the log of `eyot_init`.
    pub fn effects(&self) -> &Effects {
        &self.store.data().effects
    }

    /// Takes them, with the memory they stand in, so that the instance is free for the next message.
    pub fn take_effects(&mut self) -> Effects {
        mem::take(&mut self.store.data_mut().effects)
    }

    /// Fuel of the last message, so far; whether it ended well or not.
    pub fn fuel_spent(&self) -> u64 {
        self.store.data().meter.spent()
    }

    /// Runs one message to its end. On `Ok` its state operations are applied to [`state`](Self::state).
    ///
    /// # Errors
    /// The function failed; then there are no emits, no state operations, and the state is as before.
    pub fn invoke(&mut self, message: &Invocation<'_>) -> Result<Usage, Failure> {
        let mut step = self.begin(message);
        loop {
            match step {
                Step::Done(result) => {
                    if result.is_ok() {
                        self.keep();
                    }
                    return result;
                }
                Step::Yield => step = self.resume(),
            }
        }
    }

    /// Runs the first slice of a message. A message that has not ended is aborted.
    pub fn begin(&mut self, message: &Invocation<'_>) -> Step {
        self.reset();
        let host = self.store.data_mut();
        host.effects.clear();
        if message.topic.len() > TOPIC_MAX_BYTES || message.payload.len() > PAYLOAD_MAX_BYTES {
            return Step::Done(Err(Failure::PayloadTooLarge));
        }
        host.effects.state.begin(&host.state);
        host.growth.refused = false;
        host.message =
            Some(MessageContext { now_ms: message.now_ms, seed: message.seed, random: None, is_migration: false });
        host.meter = Meter::new(host.limits.fuel);
        self.topic_len = message.topic.len();
        self.input.clear();
        self.input.extend_from_slice(message.topic.as_bytes());
        self.input.extend_from_slice(message.payload);
        let Some(alloc) = self.live.as_ref().map(|live| live.alloc) else { return self.fail(Failure::Memory) };
        if let Err(failure) = self.grant(0).and_then(|fuel| self.fill(fuel)) {
            return self.fail(failure);
        }
        self.used = true;
        let outcome = alloc.call_resumable(&mut self.store, self.input.len() as i32);
        self.advance(Stage::Alloc, outcome)
    }

    /// Runs the next slice. Without a message that waits for it, there is nothing to do and nothing has happened.
    pub fn resume(&mut self) -> Step {
        let Some((stage, paused, fuel)) = self.paused.take() else {
            return Step::Done(Err(Failure::Trap("resumed without a message".to_string())));
        };
        if let Err(failure) = self.fill(fuel) {
            return self.fail(failure);
        }
        let outcome = paused.resume(&mut self.store);
        self.advance(stage, outcome)
    }

    /// Ends a message that has yielded; it has no effects, as if it had failed by itself.
    pub fn abort(&mut self) {
        if self.paused.take().is_some() {
            self.discard();
        }
    }

    /// Makes ready for the next message what the last one has touched. [`begin`](Self::begin) does it where it was not done;
    /// calling it after the effects are published takes it off the next message's way.
    pub fn reset(&mut self) {
        self.abort();
        if mem::take(&mut self.used) {
            let restored = self.live.as_ref().is_some_and(|live| live.restore(&mut self.store));
            if !restored {
                self.live = None;
            }
        }
        if self.live.is_none() {
            // What the restart logs was logged at load already.
            let effects = mem::take(&mut self.store.data_mut().effects);
            self.live = start(&mut self.store, &self.compiled, &self.plan).ok();
            self.store.data_mut().effects = effects;
        }
    }

    fn grant(&mut self, required: u64) -> Result<u64, Failure> {
        self.store.data_mut().meter.grant(required).ok_or(Failure::Fuel)
    }

    fn fill(&mut self, fuel: u64) -> Result<(), Failure> {
        self.store.set_fuel(fuel).map_err(|e| Failure::Trap(e.to_string()))
    }

    /// Goes on from the end of a slice or of a call, until the message ends or a slice does.
    fn advance(&mut self, mut stage: Stage, mut outcome: Outcome) -> Step {
        loop {
            settle(&mut self.store);
            let result = match outcome {
                Ok(TypedResumableCall::Finished(result)) => result,
                Ok(TypedResumableCall::OutOfFuel(paused)) => {
                    return match self.grant(paused.required_fuel()) {
                        Ok(fuel) => {
                            self.paused = Some((stage, paused, fuel));
                            Step::Yield
                        }
                        Err(failure) => self.fail(failure),
                    };
                }
                // A host call stops a function only when it cannot be paid.
                Ok(TypedResumableCall::HostTrap(_)) => return self.fail(Failure::Fuel),
                Err(error) => {
                    let failure = failure(&error, self.store.data().growth.refused);
                    return self.fail(failure);
                }
            };
            match stage {
                Stage::Handle => return self.finish(result),
                Stage::Alloc => match self.hand_over(result) {
                    Ok(call) => (stage, outcome) = (Stage::Handle, call),
                    Err(failure) => return self.fail(failure),
                },
            }
        }
    }

    /// Writes topic and payload to where `eyot_alloc` said, and calls `eyot_handle`.
    fn hand_over(&mut self, ptr: i32) -> Result<Outcome, Failure> {
        if ptr == 0 {
            return Err(Failure::Memory);
        }
        let (memory, handle) = self.live.as_ref().map(|live| (live.memory, live.handle)).ok_or(Failure::Memory)?;
        let start = ptr as u32 as usize;
        memory.write(&mut self.store, start, &self.input).map_err(|_| Failure::BadAlloc)?;
        let fuel = self.grant(0)?;
        self.fill(fuel)?;
        let topic_len = self.topic_len as i32;
        let payload_ptr = ptr.wrapping_add(topic_len);
        let payload_len = (self.input.len() - self.topic_len) as i32;
        Ok(handle.call_resumable(&mut self.store, (ptr, topic_len, payload_ptr, payload_len)))
    }

    fn finish(&mut self, code: i32) -> Step {
        if code != 0 {
            // It returned in good order, so the instance can be restored.
            self.store.data_mut().effects.clear_outcome();
            self.store.data_mut().message = None;
            return Step::Done(Err(Failure::Code(code)));
        }
        let memory_bytes = self.live.as_ref().map_or(0, |live| live.memory.data_size(&self.store));
        let host = self.store.data_mut();
        let random_used = host.message.take().is_some_and(|message| message.random.is_some());
        Step::Done(Ok(Usage { fuel: host.meter.spent(), memory_bytes, random_used }))
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.discard();
        Step::Done(Err(failure))
    }

    /// Gives up the message and the instance it ran in.
    fn discard(&mut self) {
        self.live = None;
        self.used = false;
        let host = self.store.data_mut();
        host.effects.clear_outcome();
        host.message = None;
    }
}
