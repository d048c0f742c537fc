//! Function modules from the files that `[[function]]` names.
//!
//! They are trusted because the configuration that names them is on this machine; signatures matter for what is pushed.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::thread::{Builder, JoinHandle};

use eyot_core::Loaded;
use eyot_engine::limits::GUEST_STACK_MIN_BYTES;
use eyot_engine::{Function, LoadOptions};
use eyot_wire::module::MODULE_MAX_BYTES;
use sha2::{Digest, Sha256};

use crate::config::{FunctionFile, Problem, Reduce};
use crate::file;

/// Stack of a thread in which functions run: theirs, and what calls them.
pub const THREAD_STACK_BYTES: usize = GUEST_STACK_MIN_BYTES + (1 << 20);

/// Starts a thread in which functions may run.
pub fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).stack_size(THREAD_STACK_BYTES).spawn(work)
}

/// Loads every file, or says what is wrong with each that does not load, and if none of them is the reducer. Call it on a
/// thread of [`spawn`].
pub fn load(files: &[FunctionFile], reduce: Option<&Reduce>) -> Result<Vec<Loaded>, Vec<Problem>> {
    let (mut loaded, mut problems, mut names) = (Vec::new(), Vec::new(), BTreeMap::new());
    for FunctionFile { path, line } in files {
        let reason = match load_one(path) {
            Ok(function) => {
                let name = function.function.manifest().name.clone();
                loaded.push(function);
                match names.insert(name.clone(), path) {
                    None => continue,
                    Some(other) => format!(
                        "is called \"{name}\" like {}; give one of them another name in its function.toml",
                        other.display()
                    ),
                }
            }
            Err(reason) => reason,
        };
        let reason = format!("{} {reason}", path.display());
        problems.push(Problem { line: *line, key: "function.path".to_owned(), reason });
    }
    if let Some(Reduce { function, line, .. }) =
        reduce.filter(|r| problems.is_empty() && !names.contains_key(&r.function))
    {
        let reason = format!("no function is called \"{function}\"; name its module with [[function]] path");
        problems.push(Problem { line: *line, key: "spool.reduce.function".to_owned(), reason });
    }
    if problems.is_empty() {
        Ok(loaded)
    } else {
        Err(problems)
    }
}

fn load_one(path: &Path) -> Result<Loaded, String> {
    let module = file::read(path, MODULE_MAX_BYTES)
        .map_err(|e| format!("cannot be read: {e}; name a module with at most {MODULE_MAX_BYTES} bytes"))?;
    let function = Function::load(&module, LoadOptions::default()).map_err(|e| format!("is refused: {e}"))?;
    Ok(Loaded { function, sha256: Sha256::digest(&module).into() })
}
