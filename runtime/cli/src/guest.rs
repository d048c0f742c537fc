//! The thread in which functions run, and the loading of their files.

use std::path::Path;

use eyot_engine::limits::GUEST_STACK_MIN_BYTES;
use eyot_engine::{Function, LoadOptions};
use eyot_wire::module::MODULE_MAX_BYTES;

use crate::error::Error;
use crate::file;

/// What our own frames need below the guest's.
const OWN_STACK_BYTES: usize = 1 << 20;

/// Runs `work` in a thread whose stack no function can overflow.
///
/// # Errors
/// The thread cannot be started, or the error of `work`.
pub fn on_guest_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("guest".to_owned())
            .stack_size(GUEST_STACK_MIN_BYTES + OWN_STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|e| Error::failed("guest thread", format_args!("cannot be started: {e}"), "free some memory"))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Reads the module in `path`.
///
/// # Errors
/// It cannot be read, or is larger than a gateway loads.
pub fn read_module(path: &Path) -> Result<Vec<u8>, Error> {
    file::read(path, MODULE_MAX_BYTES)
}

/// Loads a module as a gateway would; to be called in [`on_guest_thread`].
///
/// # Errors
/// It is refused.
pub fn load(path: &Path, wasm: &[u8], options: LoadOptions<'_>) -> Result<Function, Error> {
    Function::load(wasm, options).map_err(|e| Error::refused(path.display(), &e))
}
