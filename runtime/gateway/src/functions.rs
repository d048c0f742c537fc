//! Function modules from the files that `[[function]]` names.
//!
//! They are trusted because the configuration that names them is on this machine; signatures matter for what is pushed.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use eyot_core::config::REDUCER_FUEL_MAX;
use eyot_core::needs::{Need, Needs};
use eyot_core::{Loaded, Replica};
use eyot_engine::limits::GUEST_STACK_MIN_BYTES;
use eyot_engine::{Function, LoadOptions};
use eyot_trust::verify::Module;
use eyot_wire::module::MODULE_MAX_BYTES;
use sha2::{Digest, Sha256};

use crate::config::{FunctionFile, Problem, Reduce, Run, Spool};
use crate::file;

/// Stack of a thread in which functions run: theirs, and what calls them.
pub const THREAD_STACK_BYTES: usize = GUEST_STACK_MIN_BYTES + (1 << 20);

/// Starts a thread in which functions may run.
pub fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).stack_size(THREAD_STACK_BYTES).spawn(work)
}

/// Loads every file, or says what is wrong with each that does not load, with the reducer, and with what all of them need of
/// log and processor. Call it on a thread of [`spawn`].
pub fn load(files: &[FunctionFile], spool: &Spool, run: Run) -> Result<Vec<Loaded>, Vec<Problem>> {
    let (mut loaded, mut problems, mut names) = (Vec::<Loaded>::new(), Vec::new(), BTreeMap::new());
    let mut needs = Needs::new(spool.max_bytes, run.fuel_budget_per_s);
    for FunctionFile { path, line } in files {
        let reason = match load_one(path) {
            Ok(function) => {
                let name = function.function.manifest().name.clone();
                // A reducer's state is in memory only.
                let is_reducer = spool.reduce.as_ref().is_some_and(|reduce| reduce.function == name);
                let need = Need::of(&function.function);
                let state_bytes = if is_reducer { 0 } else { need.state_bytes };
                let found = needs.add(&Need { state_bytes, ..need });
                loaded.push(function);
                match names.insert(name.clone(), path) {
                    None => match found {
                        Ok(()) => continue,
                        Err(reason) => reason,
                    },
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
    if let (Some(reduce), true) = (&spool.reduce, problems.is_empty()) {
        problems.extend(reducer_problem(reduce, &loaded));
    }
    if problems.is_empty() {
        Ok(loaded)
    } else {
        Err(problems)
    }
}

fn reducer_problem(reduce: &Reduce, loaded: &[Loaded]) -> Option<Problem> {
    let Reduce { function, line, .. } = reduce;
    let found = loaded.iter().map(|l| l.function.manifest()).find(|manifest| manifest.name == *function);
    let reason = match found.map(|manifest| (manifest.triggers.first(), manifest.limits.fuel)) {
        Some((None, ..=REDUCER_FUEL_MAX)) => return None,
        Some((None, fuel)) => format!(
            "\"{function}\" has [limits] fuel = {fuel}, and messages wait while a reducer runs; lower it to \
             {REDUCER_FUEL_MAX} or less in its function.toml"
        ),
        Some((Some(trigger), _)) => format!(
            "\"{function}\" has the trigger \"{}\", and a reducer is woken by no message; name a function without \
             [[trigger]], or remove it from its function.toml",
            trigger.mqtt
        ),
        None => format!("no function is called \"{function}\"; name its module with [[function]] path"),
    };
    Some(Problem { line: *line, key: "spool.reduce.function".to_owned(), reason })
}

/// Loads every file and says what is wrong, on a thread of its own.
///
/// # Errors
/// There is no thread, or it failed.
pub fn check(files: Vec<FunctionFile>, spool: Spool, run: Run) -> io::Result<Vec<Problem>> {
    let checking = spawn("check", move || load(&files, &spool, run).map(|_| ()).err().unwrap_or_default())?;
    checking.join().map_err(|_| io::Error::other("checking the functions failed"))
}

fn load_one(path: &Path) -> Result<Loaded, String> {
    let module = file::read(path, MODULE_MAX_BYTES)
        .map_err(|e| format!("cannot be read: {e}; name a module with at most {MODULE_MAX_BYTES} bytes"))?;
    let function = Function::load(&module, LoadOptions::default()).map_err(|e| format!("is refused: {e}"))?;
    let sha256: [u8; 32] = Sha256::digest(&module).into();
    let path = path.to_owned();
    let again: Replica = Arc::new(move || load_again(&path, sha256));
    let content_sha256 = *Module::read(&module).map_err(|e| format!("is refused: it {e}"))?.content_sha256();
    Ok(Loaded { function, sha256, content_sha256, replica: Some(again) })
}

/// Another instance, from the file, so that modules take no memory while one instance will do. None if the file is not
/// what it was: the function goes on with what it has.
fn load_again(path: &Path, sha256: [u8; 32]) -> Option<Function> {
    let module = file::read(path, MODULE_MAX_BYTES).ok()?;
    let digest: [u8; 32] = Sha256::digest(&module).into();
    (digest == sha256).then(|| Function::load(&module, LoadOptions::default()).ok()).flatten()
}
