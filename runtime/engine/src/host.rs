//! The imports of function interface version 1, and what they work on.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use eyot_wire::code::HostError;
use eyot_wire::manifest::{Allow, Limits};
use eyot_wire::module::{IMPORT_MODULE, KEY_MAX_BYTES, LOG_LINE_MAX_BYTES};
use eyot_wire::topic::parse_topic;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use wasmi::errors::LinkerError;
use wasmi::{Caller, Linker, Memory, TrapCode};

use crate::effects::Effects;
use crate::growth::Growth;
use crate::limits::{EMITS_MAX, HOST_BYTES_PER_FUEL, HOST_CALL_FUEL, KEY_BYTES_PER_FUEL, MIGRATION_OPS_MAX};
use crate::meter::Meter;
use crate::state::State;

/// Names of all imports.
pub(crate) const HOST_CALLS: [&str; 8] =
    ["emit", "log", "now_ms", "random", "state_get", "state_set", "state_delete", "config_get"];
/// What the names of those begin with that read or change the state.
pub(crate) const STATE_CALLS: &str = "state_";

/// What belongs to one function and outlives its instances.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) effects: Effects,
    pub(crate) state: Arc<State>,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) allow: Allow,
    pub(crate) limits: Limits,
    pub(crate) growth: Growth,
    pub(crate) meter: Meter,
    /// The running instance's memory.
    pub(crate) memory: Option<Memory>,
    /// The running message; `None` while an instance starts, when only configuration and log may be used, so that
    /// every instance starts the same.
    pub(crate) message: Option<MessageContext>,
}

impl Host {
    /// A migration may touch every key: it works on a state of its own, which what it did becomes part of now and then, so
    /// that there are never more operations than of a message.
    fn settle_migration(&mut self) {
        let is_migration = self.message.as_ref().is_some_and(|message| message.is_migration);
        if is_migration && self.effects.state.len() >= MIGRATION_OPS_MAX {
            self.effects.state.settle(Arc::make_mut(&mut self.state));
        }
    }
}

/// What the imports answer from during one message.
pub(crate) struct MessageContext {
    pub(crate) now_ms: i64,
    pub(crate) seed: u64,
    pub(crate) random: Option<Xoshiro256PlusPlus>,
    /// There is no message, only a state to change: nothing may go out, and nothing is random.
    pub(crate) is_migration: bool,
}

impl MessageContext {
    /// What `eyot_migrate` runs in.
    pub(crate) fn migration() -> Self {
        Self { now_ms: 0, seed: 0, random: None, is_migration: true }
    }
}

type Ctx<'a> = Caller<'a, Host>;
type Answer = Result<i32, wasmi::Error>;

/// The imports, ready to be instantiated with.
pub(crate) fn linker(engine: &wasmi::Engine) -> Result<Linker<Host>, LinkerError> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap(IMPORT_MODULE, "emit", emit)?
        .func_wrap(IMPORT_MODULE, "log", log)?
        .func_wrap(IMPORT_MODULE, "now_ms", now_ms)?
        .func_wrap(IMPORT_MODULE, "random", random)?
        .func_wrap(IMPORT_MODULE, "state_get", state_get)?
        .func_wrap(IMPORT_MODULE, "state_set", state_set)?
        .func_wrap(IMPORT_MODULE, "state_delete", state_delete)?
        .func_wrap(IMPORT_MODULE, "config_get", config_get)?;
    Ok(linker)
}

/// Pays for a host call before it works, so that no call is served on credit.
fn charge(ctx: &mut Ctx<'_>, fuel: u64) -> Result<(), wasmi::Error> {
    let left = ctx.get_fuel()?;
    let left = match left.checked_sub(fuel) {
        Some(left) => left,
        None if ctx.data_mut().meter.overdraw(fuel - left) => 0,
        None => return Err(TrapCode::OutOfFuel.into()),
    };
    ctx.set_fuel(left)
}

/// A length as the function passed it, for charging.
fn len(value: i32) -> u64 {
    u64::from(value as u32)
}

/// The linear memory and the host, side by side.
fn split<'a>(ctx: &'a mut Ctx<'_>) -> Option<(&'a mut [u8], &'a mut Host)> {
    let memory = ctx.data().memory?;
    Some(memory.data_and_store_mut(ctx))
}

/// `len` bytes at `ptr`, both u32 carried as i32.
fn bytes(memory: &[u8], ptr: i32, len: i32) -> Result<&[u8], HostError> {
    let start = ptr as u32 as usize;
    let end = start.checked_add(len as u32 as usize).ok_or(HostError::BadPointer)?;
    memory.get(start..end).ok_or(HostError::BadPointer)
}

fn bytes_mut(memory: &mut [u8], ptr: i32, len: i32) -> Result<&mut [u8], HostError> {
    let start = ptr as u32 as usize;
    let end = start.checked_add(len as u32 as usize).ok_or(HostError::BadPointer)?;
    memory.get_mut(start..end).ok_or(HostError::BadPointer)
}

fn key(memory: &[u8], ptr: i32, len: i32) -> Result<&[u8], HostError> {
    let key = bytes(memory, ptr, len)?;
    if key.len() > KEY_MAX_BYTES {
        return Err(HostError::OverLimit);
    }
    Ok(key)
}

fn code(result: Result<i32, HostError>) -> i32 {
    result.unwrap_or_else(HostError::code)
}

/// Runs the body of a call that may be refused, once it is paid for.
fn serve(mut ctx: Ctx<'_>, fuel: u64, body: impl FnOnce(&mut [u8], &mut Host) -> Result<i32, HostError>) -> Answer {
    charge(&mut ctx, HOST_CALL_FUEL.saturating_add(fuel))?;
    let Some((memory, host)) = split(&mut ctx) else { return Ok(HostError::NotAllowed.code()) };
    Ok(code(body(memory, host)))
}

fn emit(ctx: Ctx<'_>, topic_ptr: i32, topic_len: i32, payload_ptr: i32, payload_len: i32) -> Answer {
    // Each filter may read the whole topic.
    let matching = len(topic_len).saturating_mul(1 + ctx.data().allow.emit.len() as u64) / 4;
    let fuel = matching.saturating_add(len(payload_len) / HOST_BYTES_PER_FUEL);
    serve(ctx, fuel, |memory, host| {
        if host.message.as_ref().is_none_or(|message| message.is_migration) {
            return Err(HostError::NotAllowed);
        }
        let result = emit_checked(memory, host, (topic_ptr, topic_len), (payload_ptr, payload_len));
        if let Err(error) = result {
            let refused = host.effects.refused_mut();
            let counter = match error {
                HostError::NotAllowed => &mut refused.not_allowed,
                HostError::OverLimit => &mut refused.over_limit,
                HostError::BadPointer | HostError::NotFound => &mut refused.malformed,
            };
            *counter = counter.saturating_add(1);
        }
        result.map(|()| 0)
    })
}

fn emit_checked(memory: &[u8], host: &mut Host, topic: (i32, i32), payload: (i32, i32)) -> Result<(), HostError> {
    let topic = bytes(memory, topic.0, topic.1)?;
    let payload = bytes(memory, payload.0, payload.1)?;
    let topic = parse_topic(topic).map_err(|_| HostError::BadPointer)?;
    if !host.allow.emits(topic) {
        return Err(HostError::NotAllowed);
    }
    let total = host.effects.emit_bytes() as u64 + topic.len() as u64 + payload.len() as u64;
    if total > host.limits.output_bytes || host.effects.emit_count() >= EMITS_MAX {
        return Err(HostError::OverLimit);
    }
    host.effects.push_emit(topic, payload);
    Ok(())
}

fn log(mut ctx: Ctx<'_>, level: i32, ptr: i32, text_len: i32) -> Result<(), wasmi::Error> {
    let kept = len(text_len).min(LOG_LINE_MAX_BYTES as u64);
    charge(&mut ctx, HOST_CALL_FUEL + kept)?;
    let Some((memory, host)) = split(&mut ctx) else { return Ok(()) };
    match bytes(memory, ptr, text_len) {
        // One character more than is kept, so that it is seen whether the last one is whole.
        Ok(text) if !host.effects.logs_full() => {
            let end = text.len().min(LOG_LINE_MAX_BYTES + char::MAX.len_utf8());
            host.effects.push_log(level, text.get(..end).unwrap_or(text));
        }
        _ => host.effects.drop_log(),
    }
    Ok(())
}

fn now_ms(mut ctx: Ctx<'_>) -> Result<i64, wasmi::Error> {
    charge(&mut ctx, HOST_CALL_FUEL)?;
    Ok(ctx.data().message.as_ref().map_or(0, |message| message.now_ms))
}

fn random(ctx: Ctx<'_>, ptr: i32, out_len: i32) -> Answer {
    serve(ctx, len(out_len) / 4, |memory, host| {
        let message = host.message.as_mut().filter(|message| !message.is_migration).ok_or(HostError::NotAllowed)?;
        let out = bytes_mut(memory, ptr, out_len)?;
        let seed = message.seed;
        message.random.get_or_insert_with(|| Xoshiro256PlusPlus::seed_from_u64(seed)).fill_bytes(out);
        Ok(0)
    })
}

/// Fuel of looking a key up: it is compared with some keys of the state and with all of the running message, which may
/// differ from it only at their ends.
fn lookup(ctx: &Ctx<'_>, key_len: i32) -> u64 {
    let compared = (ctx.data().effects.state.len() as u64).saturating_mul(1 + len(key_len) / KEY_BYTES_PER_FUEL);
    len(key_len).saturating_add(compared)
}

/// Copies as much of `value` as fits and answers its full length.
fn answer(out: &mut [u8], value: &[u8]) -> Result<i32, HostError> {
    let copied = out.len().min(value.len());
    if let (Some(out), Some(value)) = (out.get_mut(..copied), value.get(..copied)) {
        out.copy_from_slice(value);
    }
    i32::try_from(value.len()).map_err(|_| HostError::OverLimit)
}

fn state_get(ctx: Ctx<'_>, key_ptr: i32, key_len: i32, out_ptr: i32, out_cap: i32) -> Answer {
    let fuel = lookup(&ctx, key_len).saturating_add(len(out_cap) / HOST_BYTES_PER_FUEL);
    serve(ctx, fuel, |memory, host| {
        host.message.as_ref().ok_or(HostError::NotAllowed)?;
        bytes(memory, out_ptr, out_cap)?;
        let key = key(memory, key_ptr, key_len)?;
        let value = host.effects.state.get(&host.state, key).ok_or(HostError::NotFound)?;
        answer(bytes_mut(memory, out_ptr, out_cap)?, value)
    })
}

fn state_set(ctx: Ctx<'_>, key_ptr: i32, key_len: i32, value_ptr: i32, value_len: i32) -> Answer {
    let fuel = lookup(&ctx, key_len).saturating_add(len(value_len) / HOST_BYTES_PER_FUEL);
    serve(ctx, fuel, |memory, host| {
        host.message.as_ref().ok_or(HostError::NotAllowed)?;
        let key = key(memory, key_ptr, key_len)?;
        let value = bytes(memory, value_ptr, value_len)?;
        let limit_bytes = usize::try_from(host.limits.state_bytes).unwrap_or(usize::MAX);
        host.settle_migration();
        host.effects.state.set(&host.state, key, value, limit_bytes).map(|()| 0)
    })
}

fn state_delete(ctx: Ctx<'_>, key_ptr: i32, key_len: i32) -> Answer {
    let fuel = lookup(&ctx, key_len);
    serve(ctx, fuel, |memory, host| {
        host.message.as_ref().ok_or(HostError::NotAllowed)?;
        let key = key(memory, key_ptr, key_len)?;
        host.settle_migration();
        host.effects.state.delete(&host.state, key).map(|()| 0)
    })
}

fn config_get(ctx: Ctx<'_>, key_ptr: i32, key_len: i32, out_ptr: i32, out_cap: i32) -> Answer {
    let fuel = len(key_len).saturating_add(len(out_cap) / HOST_BYTES_PER_FUEL);
    serve(ctx, fuel, |memory, host| {
        bytes(memory, out_ptr, out_cap)?;
        let key = core::str::from_utf8(key(memory, key_ptr, key_len)?).map_err(|_| HostError::BadPointer)?;
        let value = host.config.get(key).ok_or(HostError::NotFound)?;
        answer(bytes_mut(memory, out_ptr, out_cap)?, value.as_bytes())
    })
}
