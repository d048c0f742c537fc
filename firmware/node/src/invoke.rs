//! The function: loaded under limits that fit the node, run on one sample after the other.

use eyot_engine::limits::{LOAD_BYTES, LOAD_BYTES_PER_BYTE};
use eyot_engine::{
    Effects, Function, Invocation, LoadError, LoadOptions, OverCeiling, StackLimits, State, Step, Usage,
};
use eyot_wire::code::Failure;
use eyot_wire::manifest::{Limits, Manifest};

use crate::Board;

/// What a function may use here, whatever its manifest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Largest module. While it is loaded it is in memory as a whole.
    pub module_bytes: usize,
    /// Its manifest's limits are lowered to these.
    pub limits: Limits,
    /// The interpreter's stacks, on the heap.
    pub stack: StackLimits,
}

impl NodeLimits {
    /// Most bytes of heap that a module takes while it is loaded and when it runs.
    pub fn heap_bytes(&self, module_bytes: usize) -> u64 {
        let Limits { memory_bytes, output_bytes, state_bytes, .. } = self.limits;
        let load_bytes = LOAD_BYTES_PER_BYTE.saturating_mul(module_bytes as u64);
        let parts = [LOAD_BYTES, memory_bytes, output_bytes, state_bytes, self.stack.values_bytes as u64];
        parts.into_iter().fold(load_bytes, u64::saturating_add)
    }

    /// Largest module that can be loaded into a heap of this size, if it has it for itself.
    pub fn module_max_bytes(&self, heap_bytes: usize) -> usize {
        let most = (heap_bytes as u64).saturating_sub(LOAD_BYTES) / LOAD_BYTES_PER_BYTE;
        usize::try_from(most).map_or(self.module_bytes, |most| most.min(self.module_bytes))
    }
}

impl Default for NodeLimits {
    /// For a node with 256 KiB of memory.
    fn default() -> Self {
        Self {
            module_bytes: 24 << 10,
            limits: Limits {
                fuel: 1_000_000,
                memory_bytes: 64 << 10,
                output_bytes: 4 << 10,
                state_bytes: 4 << 10,
                deadline_ms: 1000,
            },
            stack: StackLimits { calls: 64, values_bytes: 8 << 10 },
        }
    }
}

struct Loaded {
    function: Function,
    sha256: [u8; 32],
}

/// The function of a node, if it has one.
pub struct Program {
    limits: NodeLimits,
    loaded: Option<Loaded>,
}

impl Program {
    /// None yet.
    pub fn new(limits: NodeLimits) -> Self {
        Self { limits, loaded: None }
    }

    /// What functions may use.
    pub fn limits(&self) -> &NodeLimits {
        &self.limits
    }

    /// Puts a module in the place of the function, with a state that is empty.
    ///
    /// # Errors
    /// It is refused, and the function that was there goes on.
    pub fn load(&mut self, wasm: &[u8], sha256: [u8; 32]) -> Result<(), LoadError> {
        let options = LoadOptions {
            ceiling: self.limits.limits,
            over_ceiling: OverCeiling::Lower,
            stack: self.limits.stack,
            ..LoadOptions::default()
        };
        let function = Function::load(wasm, options)?;
        self.loaded = Some(Loaded { function, sha256 });
        Ok(())
    }

    /// The function goes, with its state.
    pub fn remove(&mut self) {
        self.loaded = None;
    }

    /// The function's state, with the SHA-256 of its module.
    pub fn state(&self) -> Option<(&[u8; 32], &State)> {
        self.loaded.as_ref().map(|loaded| (&loaded.sha256, &**loaded.function.state()))
    }

    /// It goes on with this state.
    pub fn restore(&mut self, state: State) {
        if let Some(loaded) = &mut self.loaded {
            *loaded.function.state_mut() = state;
        }
    }

    /// SHA-256 of the module.
    pub fn sha256(&self) -> Option<[u8; 32]> {
        self.loaded.as_ref().map(|loaded| loaded.sha256)
    }

    /// The function's manifest.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.loaded.as_ref().map(|loaded| &**loaded.function.manifest())
    }

    /// Runs the function on a sample, to its end. None if there is none, or none of its triggers matches the topic. On `Ok`
    /// its state is changed, and [`effects`](Self::effects) has what it emits.
    pub fn run(&mut self, message: &Invocation<'_>, board: &mut impl Board) -> Option<Result<Usage, Failure>> {
        let function = &mut self.loaded.as_mut()?.function;
        if !function.manifest().triggered_by(message.topic) {
            return None;
        }
        let until_ms = board.uptime_ms().saturating_add(function.manifest().limits.deadline_ms);
        let mut step = function.begin(message);
        loop {
            match step {
                Step::Done(result) => {
                    if result.is_ok() {
                        function.keep();
                    }
                    return Some(result);
                }
                Step::Yield => {
                    board.alive();
                    if board.uptime_ms() >= until_ms {
                        function.abort();
                        return Some(Err(Failure::Deadline));
                    }
                    step = function.resume();
                }
            }
        }
    }

    /// What the function did with the last sample.
    pub fn effects(&self) -> Option<&Effects> {
        self.loaded.as_ref().map(|loaded| loaded.function.effects())
    }

    /// Fuel it used for that.
    pub fn fuel(&self) -> u64 {
        self.loaded.as_ref().map_or(0, |loaded| loaded.function.fuel_spent())
    }
}
