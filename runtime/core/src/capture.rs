//! Captures: messages that are recorded, on command, with all that a function read and what came of it. They are published
//! and not kept: what nobody hears is gone, and so is a command to capture when the gateway restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use eyot_engine::{Effects, Usage};
use eyot_wire::capture::{Capture, CAPTURES_MAX, CAPTURE_STATE_MAX_BYTES};
use eyot_wire::code::Failure;

use crate::active::Active;
use crate::functions::Waking;

/// Functions whose messages are captured at one time, at most.
const FUNCTIONS_MAX: usize = 16;
/// Bytes of captures in a second. What happens beyond is not captured: nobody waits for captures, and they wait in memory
/// where they are sent.
const BYTES_PER_S_MAX: usize = 1 << 20;

/// What is wanted of one function.
struct Wanted {
    left: u32,
    /// Only what it fails on.
    on_error: bool,
}

/// What is to be captured, and what was and is to be published.
#[derive(Default)]
pub(crate) struct Captures {
    wanted: BTreeMap<Arc<str>, Wanted>,
    ready: Vec<(Arc<str>, Vec<u8>)>,
    /// Bytes of this second.
    bytes: usize,
    second: u64,
}

impl Captures {
    /// The next `count` messages of a function are to be captured; 0 ends it.
    ///
    /// # Errors
    /// Reason and remedy.
    pub fn want(&mut self, function: &str, count: u32, on_error: bool) -> Result<(), String> {
        if count == 0 {
            self.wanted.remove(function);
            return Ok(());
        }
        if count > CAPTURES_MAX {
            return Err(format!("{count} captures are too many for one command; ask for at most {CAPTURES_MAX}"));
        }
        if self.wanted.len() >= FUNCTIONS_MAX && !self.wanted.contains_key(function) {
            return Err(format!("{FUNCTIONS_MAX} functions are being captured already; end one with a count of 0"));
        }
        self.wanted.insert(function.into(), Wanted { left: count, on_error });
        Ok(())
    }

    /// A message has ended: captures it if that is wanted. The state must be as it was before the message.
    pub fn see(
        &mut self,
        active: &Active,
        waking: &Waking<'_>,
        result: &Result<Usage, Failure>,
        effects: Option<&Effects>,
    ) {
        let Some(wanted) = self.wanted.get_mut(&active.name) else { return };
        let was_run = *result != Err(Failure::Quarantined);
        let is_wanted = was_run && (result.is_err() || !wanted.on_error) && self.bytes < BYTES_PER_S_MAX;
        let Some(effects) = effects.filter(|_| is_wanted) else { return };
        let Some(capture) = capture(active, waking, result, effects) else { return };
        self.bytes += capture.len();
        self.ready.push((Arc::clone(&active.name), capture));
        wanted.left -= 1;
        if wanted.left == 0 {
            self.wanted.remove(&active.name);
        }
    }

    /// What was captured since, with the functions' names.
    pub fn take(&mut self, mono_us: u64) -> Vec<(Arc<str>, Vec<u8>)> {
        let second = mono_us / 1_000_000;
        if second != self.second {
            (self.second, self.bytes) = (second, 0);
        }
        std::mem::take(&mut self.ready)
    }
}

/// The capture of one message that has ended, as it is published. `None` if it is too long.
fn capture(
    active: &Active,
    waking: &Waking<'_>,
    result: &Result<Usage, Failure>,
    effects: &Effects,
) -> Option<Vec<u8>> {
    let state = active.instances.state();
    let entries = || state.entries().clone().into_iter().collect();
    let capture = Capture {
        function: active.name.to_string(),
        version: active.manifest.version.to_string(),
        sha256: active.sha256,
        topic: waking.topic.to_owned(),
        payload: waking.payload.to_vec(),
        now_ms: waking.now_ms,
        seed: waking.seed,
        state: (state.bytes() <= CAPTURE_STATE_MAX_BYTES).then(entries),
        config: active.overrides.clone(),
        outcome: effects.outcome(result.as_ref().map(|_| ()).map_err(Failure::clone)),
    };
    capture.encode()
}
