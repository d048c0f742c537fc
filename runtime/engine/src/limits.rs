//! Every limit of the engine that the manifest does not set, and why it has its value.

/// Stack, in bytes, that a thread needs in which functions run.
///
/// wasmi 2.0.0 leaves a native frame behind for each failed `memory.grow` until it returns to the engine, so a
/// function could use up the stack of its host, and the process with it. Two things bound the number of such frames:
/// a slice ends after [`SLICE_FUEL`], and what an earlier slice has paid for but not run is at most [`GROWS_MAX`]
/// instructions in each of [`CALLS_MAX`] nested calls (wasmi charges code up to the next branch before it runs, calls
/// included, so fuel alone bounds nothing). This stack holds them all twice over.
pub const GUEST_STACK_MIN_BYTES: usize = 4 << 20;
/// Fuel given to a function at once. At its end the native stack unwinds, and the caller may turn to other work.
pub const SLICE_FUEL: u64 = 20_000;
/// Fuel of one `memory.grow`: the most that wasmi can be told, to make failing ones rare in a slice.
pub const GROW_FUEL: u8 = u8::MAX;
/// Fuel of a call. It takes the time of about six ordinary instructions, and of sixteen with [`LOCALS_MAX`] locals, which
/// are zeroed.
pub const CALL_FUEL: u8 = 12;
/// Fuel of one bulk instruction on memory or tables, however little it moves.
pub const BULK_FUEL: u8 = 4;
/// Bytes that a bulk instruction moves for one unit of fuel, when memory is larger than the processor's caches.
pub const BULK_BYTES_PER_FUEL: u32 = 24;
/// Fuel of rounding a float and of a square root. Arithmetic on subnormal numbers costs what other arithmetic costs, though
/// some processors (Intel's) take up to fifty times as long for it: fuel is the same everywhere, and others take no longer.
/// There a message of nothing else ends by its deadline, before its fuel.
pub const ROUND_FUEL: u8 = 2;
/// `memory.grow` instructions in one function. Compilers write one or two.
pub const GROWS_MAX: u32 = 8;
/// Nested calls, whatever [`StackLimits`] say.
pub const CALLS_MAX: usize = 512;
/// Fuel that code without a branch, or one bulk instruction, may ask for at once; more ends the message as out of
/// fuel. wasmi charges such code before it runs, so the slice that runs it must be this large.
pub const STRAIGHT_RUN_FUEL_MAX: u64 = 1_000_000;
/// Fuel for `eyot_abi` and `eyot_init` together. They run again for each fresh instance, that is after a failed message
/// and, for functions that begin with more than [`RESET_KEPT_MAX_BYTES`] in memory, after every message; so this is low.
pub const INIT_FUEL: u64 = 1_000_000;

/// Native stack, in bytes, that one failed `memory.grow` keeps in an optimised build (measured 176).
const FAILED_GROW_FRAME_BYTES: usize = 256;
const _: () = {
    let failed_grows = CALLS_MAX * GROWS_MAX as usize + SLICE_FUEL as usize / GROW_FUEL as usize;
    assert!(
        failed_grows * FAILED_GROW_FRAME_BYTES * 2 <= GUEST_STACK_MIN_BYTES,
        "frames must fit the guest stack twice"
    );
};

/// Fuel of any host call, before what it moves is charged.
pub const HOST_CALL_FUEL: u64 = 64;
/// Bytes that a host call copies for one unit of fuel.
pub const HOST_BYTES_PER_FUEL: u64 = 16;
/// Bytes of a key that are compared with those of another for one unit of fuel.
pub const KEY_BYTES_PER_FUEL: u64 = 32;

/// Most content of a memory that is kept for resets. A function that begins with more gets a fresh instance for each
/// message: that takes about as long, and does not hold all of it twice.
pub const RESET_KEPT_MAX_BYTES: usize = 512 << 10;

/// Most bytes of heap that loading takes for each byte of a module, by the example `heap`.
pub const LOAD_BYTES_PER_BYTE: u64 = 8;
/// And besides.
pub const LOAD_BYTES: u64 = 16 << 10;

/// Log lines kept of one message; more are counted.
pub const LOG_LINES_MAX: usize = 32;
/// Emits of one message.
pub const EMITS_MAX: usize = 4096;
/// Keys one message may set or delete.
pub const STATE_OPS_MAX: usize = 1024;
/// Operations of a migration that are looked through for a key before they become part of the state.
pub const MIGRATION_OPS_MAX: usize = 64;
/// Fuel of a migration, if a message of the function may use more: it runs to its end between two messages, and those of all
/// functions wait meanwhile. That is some 40 ms on a PC, and by estimate 200 ms on a Raspberry Pi.
pub const MIGRATION_FUEL_MAX: u64 = 20_000_000;
/// Keys a function may keep.
pub const STATE_KEYS_MAX: usize = 4096;

/// Imports of one module; there are eight to choose from.
pub const IMPORTS_MAX: u32 = 64;
/// Function types of one module.
pub const TYPES_MAX: u32 = 1000;
/// Functions of one module.
pub const FUNCTIONS_MAX: u32 = 10_000;
/// Tables of one module.
pub const TABLES_MAX: u32 = 4;
/// Elements of all tables together, and of all element segments together.
pub const TABLE_ELEMENTS_MAX: u64 = 65_536;
/// Globals of one module.
pub const GLOBALS_MAX: u32 = 1000;
/// Exports of one module.
pub const EXPORTS_MAX: u32 = 1000;
/// Element segments, and data segments, of one module.
pub const SEGMENTS_MAX: u32 = 1000;
/// Locals of one function. Zeroing them at each call is not charged.
pub const LOCALS_MAX: u64 = 256;
/// Blocks, loops and ifs inside each other. Compilers nest one for each arm of a switch; each takes some 400 bytes while the
/// module is loaded.
pub const BLOCKS_NESTED_MAX: u64 = 4096;
/// Code of one function, in bytes. Bounds what is charged at once.
pub const BODY_MAX_BYTES: usize = 256 << 10;

/// The stacks of the interpreter (on the heap, not the native stack). A function that needs more traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackLimits {
    /// Nested calls, at most [`CALLS_MAX`].
    pub calls: usize,
    /// Locals and operands of all nested calls, in bytes.
    pub values_bytes: usize,
}

impl Default for StackLimits {
    fn default() -> Self {
        Self { calls: CALLS_MAX, values_bytes: 256 << 10 }
    }
}
