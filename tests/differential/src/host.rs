//! Function interface version 1 once more, from its description and in the simplest way, for the other runtime.

use std::collections::BTreeMap;

use eyot_engine::limits::{EMITS_MAX, LOG_LINES_MAX, STATE_KEYS_MAX, STATE_OPS_MAX};
use eyot_wire::module::{KEY_MAX_BYTES, LOG_LINE_MAX_BYTES};
use eyot_wire::topic::{matches, parse_topic};
use wasmtime::{Caller, Extern, Linker, ResourceLimiter};

use crate::seen::{Limits, Message, CONFIG};

const NOT_FOUND: i32 = -1;
const NOT_ALLOWED: i32 = -2;
const OVER_LIMIT: i32 = -3;
const BAD_POINTER: i32 = -4;

/// What a message works on.
pub struct Host {
    limits: Limits,
    /// None while an instance starts.
    pub message: Option<Message>,
    random: Option<Xoshiro>,
    pub emits: Vec<(String, Vec<u8>)>,
    pub refused: [u32; 3],
    pub logs: Vec<(u8, String)>,
    pub logs_dropped: u32,
    pub state: BTreeMap<Vec<u8>, Vec<u8>>,
    pub state_ops: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub growth_refused: bool,
    pub calls: u64,
}

impl Host {
    pub fn new(limits: Limits, state: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        Self {
            limits,
            message: None,
            random: None,
            emits: Vec::new(),
            refused: [0; 3],
            logs: Vec::new(),
            logs_dropped: 0,
            state,
            state_ops: Vec::new(),
            growth_refused: false,
            calls: 0,
        }
    }

    /// What the start of an instance said and did does not count.
    pub fn begin(&mut self, message: &Message) {
        *self = Self { message: Some(message.clone()), ..Self::new(self.limits, std::mem::take(&mut self.state)) };
    }

    pub fn random_used(&self) -> bool {
        self.random.is_some()
    }

    fn emit(&mut self, topic: Option<&[u8]>, payload: Option<&[u8]>) -> i32 {
        if self.message.is_none() {
            return NOT_ALLOWED;
        }
        let (Some(topic), Some(payload)) = (topic.and_then(|topic| parse_topic(topic).ok()), payload) else {
            self.refused[1] += 1;
            return BAD_POINTER;
        };
        if !["out/#", "+/b/c"].iter().any(|filter| matches(filter, topic)) {
            self.refused[0] += 1;
            return NOT_ALLOWED;
        }
        let before: usize = self.emits.iter().map(|(topic, payload)| topic.len() + payload.len()).sum();
        let total = before + topic.len() + payload.len();
        if total as u64 > self.limits.output_bytes || self.emits.len() == EMITS_MAX {
            self.refused[2] += 1;
            return OVER_LIMIT;
        }
        self.emits.push((topic.to_owned(), payload.to_vec()));
        0
    }

    fn log(&mut self, level: i32, text: Option<&[u8]>) {
        match text {
            Some(text) if self.logs.len() < LOG_LINES_MAX => {
                let whole = String::from_utf8_lossy(text);
                let cut = (0..=whole.len().min(LOG_LINE_MAX_BYTES)).rev().find(|end| whole.is_char_boundary(*end));
                let level = if (0..4).contains(&level) { level as u8 } else { 4 };
                self.logs.push((level, whole[..cut.unwrap()].to_owned()));
            }
            _ => self.logs_dropped += 1,
        }
    }

    fn random(&mut self, out: Option<&mut [u8]>) -> i32 {
        let Some(message) = &self.message else { return NOT_ALLOWED };
        let Some(out) = out else { return BAD_POINTER };
        let random = self.random.get_or_insert_with(|| Xoshiro::new(message.seed));
        for chunk in out.chunks_mut(8) {
            let length = chunk.len();
            chunk.copy_from_slice(&random.next().to_le_bytes()[..length]);
        }
        0
    }

    /// The state as the running message sees it.
    fn value(&self, key: &[u8]) -> Option<&Vec<u8>> {
        match self.state_ops.iter().find(|(known, _)| known == key) {
            Some((_, value)) => value.as_ref(),
            None => self.state.get(key),
        }
    }

    fn totals(&self) -> (usize, usize) {
        let state = self.after();
        (state.len(), state.iter().map(|(key, value)| key.len() + value.len()).sum())
    }

    /// The state with what the message did.
    pub fn after(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut state = self.state.clone();
        for (key, value) in &self.state_ops {
            match value {
                Some(value) => drop(state.insert(key.clone(), value.clone())),
                None => drop(state.remove(key)),
            }
        }
        state
    }

    fn operate(&mut self, key: &[u8], value: Option<Vec<u8>>) -> i32 {
        let known = self.state_ops.iter().position(|(known, _)| known == key);
        if known.is_none() && self.state_ops.len() == STATE_OPS_MAX {
            return OVER_LIMIT;
        }
        known.map(|known| self.state_ops.remove(known));
        self.state_ops.push((key.to_vec(), value));
        0
    }

    fn state_set(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> i32 {
        if self.message.is_none() {
            return NOT_ALLOWED;
        }
        let Some(key) = key else { return BAD_POINTER };
        if key.len() > KEY_MAX_BYTES {
            return OVER_LIMIT;
        }
        let Some(value) = value else { return BAD_POINTER };
        let (keys, bytes) = self.totals();
        let old = self.value(key).map(|value| key.len() + value.len());
        let grows = key.len() + value.len() > old.unwrap_or(0);
        let over = bytes - old.unwrap_or(0) + key.len() + value.len() > self.limits.state_bytes as usize;
        if grows && over || old.is_none() && keys == STATE_KEYS_MAX {
            return OVER_LIMIT;
        }
        self.operate(key, Some(value.to_vec()))
    }

    fn state_delete(&mut self, key: Option<&[u8]>) -> i32 {
        if self.message.is_none() {
            return NOT_ALLOWED;
        }
        match key {
            None => BAD_POINTER,
            Some(key) if key.len() > KEY_MAX_BYTES => OVER_LIMIT,
            Some(key) if self.value(key).is_none() => NOT_FOUND,
            Some(key) => self.operate(key, None),
        }
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // What the module itself rules out is no lack of memory.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let allowed = desired as u64 <= self.limits.memory_bytes;
        self.growth_refused |= !allowed;
        Ok(allowed)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

/// xoshiro256++ as its authors give it, seeded by splitmix64.
struct Xoshiro([u64; 4]);

impl Xoshiro {
    fn new(mut seed: u64) -> Self {
        Self([(); 4].map(|()| {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }
}

type Ctx<'a> = Caller<'a, Host>;

/// Memory and host, side by side.
fn split<'a>(ctx: &'a mut Ctx<'_>) -> (&'a mut [u8], &'a mut Host) {
    let Some(Extern::Memory(memory)) = ctx.get_export("memory") else { panic!("every module exports its memory") };
    let (memory, host) = memory.data_and_store_mut(ctx);
    host.calls += 1;
    (memory, host)
}

fn slice(memory: &[u8], ptr: i32, len: i32) -> Option<&[u8]> {
    let (start, len) = (ptr as u32 as usize, len as u32 as usize);
    memory.get(start..start + len)
}

fn slice_mut(memory: &mut [u8], ptr: i32, len: i32) -> Option<&mut [u8]> {
    let (start, len) = (ptr as u32 as usize, len as u32 as usize);
    memory.get_mut(start..start + len)
}

/// Looks a value up and copies what fits of it.
fn get(mut ctx: Ctx<'_>, key: (i32, i32), out: (i32, i32), find: fn(&Host, &[u8]) -> Result<Vec<u8>, i32>) -> i32 {
    let (memory, host) = split(&mut ctx);
    if slice(memory, out.0, out.1).is_none() {
        return BAD_POINTER;
    }
    let Some(key) = slice(memory, key.0, key.1) else { return BAD_POINTER };
    if key.len() > KEY_MAX_BYTES {
        return OVER_LIMIT;
    }
    match find(host, key) {
        Ok(value) => {
            slice_mut(memory, out.0, out.1).unwrap().iter_mut().zip(&value).for_each(|(to, from)| *to = *from);
            value.len() as i32
        }
        Err(code) => code,
    }
}

fn find_config(_: &Host, key: &[u8]) -> Result<Vec<u8>, i32> {
    let key = std::str::from_utf8(key).map_err(|_| BAD_POINTER)?;
    CONFIG.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_bytes().to_vec()).ok_or(NOT_FOUND)
}

fn find_state(host: &Host, key: &[u8]) -> Result<Vec<u8>, i32> {
    host.value(key).cloned().ok_or(NOT_FOUND)
}

/// All imports.
pub fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap("eyot", "emit", |mut ctx: Ctx<'_>, tp: i32, tl: i32, pp: i32, pl: i32| {
        let (memory, host) = split(&mut ctx);
        host.emit(slice(memory, tp, tl), slice(memory, pp, pl))
    })?;
    linker.func_wrap("eyot", "log", |mut ctx: Ctx<'_>, level: i32, ptr: i32, len: i32| {
        let (memory, host) = split(&mut ctx);
        host.log(level, slice(memory, ptr, len));
    })?;
    linker.func_wrap("eyot", "now_ms", |mut ctx: Ctx<'_>| {
        let (_, host) = split(&mut ctx);
        host.message.as_ref().map_or(0, |message| message.now_ms)
    })?;
    linker.func_wrap("eyot", "random", |mut ctx: Ctx<'_>, ptr: i32, len: i32| {
        let (memory, host) = split(&mut ctx);
        host.random(slice_mut(memory, ptr, len))
    })?;
    linker.func_wrap("eyot", "state_get", |ctx: Ctx<'_>, kp: i32, kl: i32, op: i32, oc: i32| {
        if ctx.data().message.is_none() {
            return NOT_ALLOWED;
        }
        get(ctx, (kp, kl), (op, oc), find_state)
    })?;
    linker.func_wrap("eyot", "state_set", |mut ctx: Ctx<'_>, kp: i32, kl: i32, vp: i32, vl: i32| {
        let (memory, host) = split(&mut ctx);
        host.state_set(slice(memory, kp, kl), slice(memory, vp, vl))
    })?;
    linker.func_wrap("eyot", "state_delete", |mut ctx: Ctx<'_>, kp: i32, kl: i32| {
        let (memory, host) = split(&mut ctx);
        host.state_delete(slice(memory, kp, kl))
    })?;
    linker.func_wrap("eyot", "config_get", |ctx: Ctx<'_>, kp: i32, kl: i32, op: i32, oc: i32| {
        get(ctx, (kp, kl), (op, oc), find_config)
    })?;
    Ok(())
}
