//! A host for native tests, with the topics, permissions and limits of a gateway. It has no fuel and no memory limit.
//! ```
//! use eyot_sdk::prelude::*;
//! use eyot_sdk::testing::{run, Host};
//!
//! fn handle(msg: &Message<'_>) -> Result<(), Error> {
//!     let count: u32 = state::get("count")?.unwrap_or(0) + 1;
//!     state::set("count", &count)?;
//!     emit("counted", msg.payload)
//! }
//! assert_eq!(run(handle, "any", b"payload").emits, [("counted".into(), b"payload".to_vec())]);
//!
//! let mut host = Host::new().state("count", &41u32);
//! host.run(handle, "any", b"payload");
//! assert_eq!(host.get_state("count"), Some(42u32));
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;

use eyot_wire::manifest::{Allow, Limits, Manifest};
use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::effect::Level;
use crate::error::Error;
use crate::message::Message;

/// What came of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects {
    /// What the handler returned.
    pub result: Result<(), Error>,
    /// Topics and payloads, in order; none when the handler failed.
    pub emits: Vec<(String, Vec<u8>)>,
    /// Lines of the log.
    pub logs: Vec<(Level, String)>,
}

/// Runs one message on a new [`Host`].
pub fn run(handle: fn(&Message<'_>) -> Result<(), Error>, topic: &str, payload: &[u8]) -> Effects {
    Host::new().run(handle, topic, payload)
}

/// A host with one function. What it commits is there for the next message.
#[derive(Clone, Debug)]
pub struct Host {
    allow: Allow,
    limits: Limits,
    config: BTreeMap<String, String>,
    state: BTreeMap<String, Vec<u8>>,
    now_ms: i64,
    seed: u64,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// A host that permits every topic, with default limits, no configuration, no state, at 2026-01-01 00:00 UTC.
    pub fn new() -> Self {
        Self {
            allow: Allow { emit: vec!["#".into()] },
            limits: Limits::default(),
            config: BTreeMap::new(),
            state: BTreeMap::new(),
            now_ms: 1_767_225_600_000,
            seed: 1,
        }
    }

    /// A host with permissions, limits and configuration of a `function.toml`.
    ///
    /// # Panics
    /// When the gateway would refuse the manifest; the text says why.
    #[allow(clippy::panic)]
    pub fn with_manifest(text: &str) -> Self {
        match Manifest::parse(text) {
            Ok(Manifest { allow, limits, config, .. }) => Self { allow, limits, config, ..Self::new() },
            Err(error) => panic!("function.toml: {error}"),
        }
    }

    /// Sets a configuration value.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Sets the arrival time of messages to come, in milliseconds since 1970.
    pub fn at(mut self, now_ms: i64) -> Self {
        self.now_ms = now_ms;
        self
    }

    /// Sets where random bytes come from. They are not the bytes a gateway makes of the same seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Puts a value in the state.
    ///
    /// # Panics
    /// When `value` cannot be encoded.
    #[allow(clippy::expect_used)]
    pub fn state<T: Serialize + ?Sized>(mut self, key: &str, value: &T) -> Self {
        self.state.insert(key.into(), postcard::to_allocvec(value).expect("the value can be encoded"));
        self
    }

    /// A value of the state, if it is there and is a `T`.
    pub fn get_state<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.state.get(key).and_then(|bytes| postcard::from_bytes(bytes).ok())
    }

    /// Runs one message; commits its state if it ends well.
    pub fn run(&mut self, handle: fn(&Message<'_>) -> Result<(), Error>, topic: &str, payload: &[u8]) -> Effects {
        self.run_with(|| Ok(()), |(), msg| handle(msg), topic, payload)
    }

    /// Like [`run`](Self::run), for a function with settings.
    pub fn run_with<T>(
        &mut self,
        init: fn() -> Result<T, Error>,
        handle: impl FnOnce(&T, &Message<'_>) -> Result<(), Error>,
        topic: &str,
        payload: &[u8],
    ) -> Effects {
        self.begin(Stage::Start);
        let settings = init();
        CALL.with_borrow_mut(|call| call.iter_mut().for_each(|call| call.stage = Stage::Message));
        let result = settings.and_then(|settings| handle(&settings, &Message { topic, payload }));
        self.end(result)
    }

    /// Runs a [`migration!`](crate::migration) on the state; commits it if that ends well.
    pub fn migrate(&mut self, migrate: fn(u32) -> Result<(), Error>, from_major: u32) -> Effects {
        self.begin(Stage::Migration);
        let result = migrate(from_major);
        self.end(result)
    }

    fn begin(&self, stage: Stage) {
        let host = self.clone();
        CALL.set(Some(Call { host, stage, emits: Vec::new(), output_bytes: 0, logs: Vec::new() }));
    }

    fn end(&mut self, result: Result<(), Error>) -> Effects {
        let Some(call) = CALL.take() else { return Effects { result, emits: Vec::new(), logs: Vec::new() } };
        let mut emits = call.emits;
        match result {
            Ok(()) => self.state = call.host.state,
            Err(_) => emits.clear(),
        }
        Effects { result, emits, logs: call.logs }
    }
}

/// What runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Migration,
    Message,
}

/// The running message.
struct Call {
    host: Host,
    stage: Stage,
    emits: Vec<(String, Vec<u8>)>,
    output_bytes: u64,
    logs: Vec<(Level, String)>,
}

thread_local! {
    static CALL: RefCell<Option<Call>> = const { RefCell::new(None) };
}

/// The host calls, with the answers of function interface version 1.
pub(crate) mod calls {
    use eyot_wire::code::HostError;
    use eyot_wire::module::{KEY_MAX_BYTES, LOG_LINE_MAX_BYTES};
    use eyot_wire::topic::parse_topic;

    use super::{Call, Stage, CALL};
    use crate::effect::Level;

    /// Serves a call that is for messages only.
    fn serve(body: impl FnOnce(&mut Call) -> Result<i32, HostError>) -> i32 {
        serve_in(&[Stage::Message], body)
    }

    /// Serves a call that is for messages and migrations.
    fn serve_state(body: impl FnOnce(&mut Call) -> Result<i32, HostError>) -> i32 {
        serve_in(&[Stage::Message, Stage::Migration], body)
    }

    fn serve_in(stages: &[Stage], body: impl FnOnce(&mut Call) -> Result<i32, HostError>) -> i32 {
        CALL.with_borrow_mut(|call| match call {
            Some(call) if stages.contains(&call.stage) => body(call),
            _ => Err(HostError::NotAllowed),
        })
        .unwrap_or_else(HostError::code)
    }

    fn check_key(key: &str) -> Result<(), HostError> {
        if key.len() > KEY_MAX_BYTES {
            return Err(HostError::OverLimit);
        }
        Ok(())
    }

    fn answer(value: &[u8], out: &mut [u8]) -> Result<i32, HostError> {
        for (to, from) in out.iter_mut().zip(value) {
            *to = *from;
        }
        i32::try_from(value.len()).map_err(|_| HostError::OverLimit)
    }

    pub(crate) fn emit(topic: &str, payload: &[u8]) -> i32 {
        serve(|call| {
            parse_topic(topic.as_bytes()).map_err(|_| HostError::BadPointer)?;
            if !call.host.allow.emits(topic) {
                return Err(HostError::NotAllowed);
            }
            let total = call.output_bytes + topic.len() as u64 + payload.len() as u64;
            if total > call.host.limits.output_bytes {
                return Err(HostError::OverLimit);
            }
            call.output_bytes = total;
            call.emits.push((topic.into(), payload.into()));
            Ok(0)
        })
    }

    pub(crate) fn log(level: i32, text: &str) {
        let level = match level {
            0 => Level::Error,
            1 => Level::Warn,
            2 => Level::Info,
            3 => Level::Debug,
            _ => Level::Trace,
        };
        let end = (0..=text.len().min(LOG_LINE_MAX_BYTES)).rev().find(|&end| text.is_char_boundary(end));
        let text = text.get(..end.unwrap_or(0)).unwrap_or(text);
        CALL.with_borrow_mut(|call| call.iter_mut().for_each(|call| call.logs.push((level, text.into()))));
    }

    pub(crate) fn now_ms() -> i64 {
        CALL.with_borrow(|call| {
            call.as_ref().filter(|call| call.stage == Stage::Message).map_or(0, |call| call.host.now_ms)
        })
    }

    pub(crate) fn random(out: &mut [u8]) -> i32 {
        serve(|call| {
            for byte in out {
                // SplitMix64, one step a byte.
                call.host.seed = call.host.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (call.host.seed ^ (call.host.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                *byte = (mixed >> 56) as u8;
            }
            Ok(0)
        })
    }

    pub(crate) fn state_get(key: &str, out: &mut [u8]) -> i32 {
        serve_state(|call| {
            check_key(key)?;
            answer(call.host.state.get(key).ok_or(HostError::NotFound)?, out)
        })
    }

    pub(crate) fn state_set(key: &str, value: &[u8]) -> i32 {
        serve_state(|call| {
            check_key(key)?;
            let others = call.host.state.iter().filter(|(other, _)| *other != key);
            let others_bytes: usize = others.map(|(other, value)| other.len() + value.len()).sum();
            if (others_bytes + key.len() + value.len()) as u64 > call.host.limits.state_bytes {
                return Err(HostError::OverLimit);
            }
            call.host.state.insert(key.into(), value.into());
            Ok(0)
        })
    }

    pub(crate) fn state_delete(key: &str) -> i32 {
        serve_state(|call| {
            check_key(key)?;
            call.host.state.remove(key).map(|_| 0).ok_or(HostError::NotFound)
        })
    }

    pub(crate) fn config_get(key: &str, out: &mut [u8]) -> i32 {
        CALL.with_borrow(|call| {
            check_key(key)?;
            let value = call.as_ref().and_then(|call| call.host.config.get(key)).ok_or(HostError::NotFound)?;
            answer(value.as_bytes(), out)
        })
        .unwrap_or_else(HostError::code)
    }
}
