//! Function modules from the files that `[[function]]` names.
//!
//! They are trusted because the configuration that names them is on this machine; signatures matter for what is pushed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use eyot_core::config::REDUCER_FUEL_MAX;
use eyot_core::needs::{Need, Needs};
use eyot_core::task::Overrides;
use eyot_core::{Loaded, Replica};
use eyot_engine::limits::GUEST_STACK_MIN_BYTES;
use eyot_engine::{Function, LoadError, LoadOptions};
use eyot_trust::verify::Module;
use eyot_wire::module::MODULE_MAX_BYTES;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use sha2::{Digest, Sha256};

use crate::config::{FunctionFile, Problem, Reduce, Run, Spool};
use crate::file;

/// Stack of a thread in which functions run: theirs, and what calls them.
pub const THREAD_STACK_BYTES: usize = GUEST_STACK_MIN_BYTES + (1 << 20);

/// Starts a thread in which functions may run.
pub fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).stack_size(THREAD_STACK_BYTES).spawn(work)
}

/// As [`spawn`], for work that is to give way to links, log and broker.
pub fn spawn_nice<T: Send + 'static>(
    name: &str,
    nice: i32,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    spawn(name, move || {
        // Best effort: without it, all threads are alike.
        let _ = setpriority_process(Some(gettid()), nice);
        work()
    })
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
                    Some(other) if other == path => "is named twice; leave one [[function]] out".to_owned(),
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
    make(path.to_owned(), &module, Sha256::digest(&module).into(), Overrides::new())
}

/// An instance of a module, and what makes more of them: from its file, so that modules take no memory while one instance
/// will do. If the file is not what it was by then, the function goes on with what it has.
///
/// # Errors
/// The module is refused: why.
pub(crate) fn make(path: PathBuf, module: &[u8], sha256: [u8; 32], overrides: Overrides) -> Result<Loaded, String> {
    let function = instance(module, &overrides).map_err(|e| format!("is refused: {e}"))?;
    let content_sha256 = *Module::read(module).map_err(|e| format!("is refused: it {e}"))?.content_sha256();
    let again: Replica = Arc::new(move || instance(&read_module(&path, &sha256).ok()?, &overrides).ok());
    Ok(Loaded { function: Box::new(function), sha256, content_sha256, replica: Some(again) })
}

fn instance(module: &[u8], overrides: &Overrides) -> Result<Function, LoadError> {
    let config: Vec<_> = overrides.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    Function::load(module, LoadOptions { config: &config, ..LoadOptions::default() })
}

/// The module in a file, which is to have this SHA-256.
///
/// # Errors
/// It cannot be read, or has another: reason and remedy.
pub(crate) fn read_module(path: &Path, sha256: &[u8; 32]) -> Result<Vec<u8>, String> {
    let module = file::read(path, MODULE_MAX_BYTES)
        .map_err(|error| format!("its module {} cannot be read: {error}; push it again", path.display()))?;
    if Sha256::digest(&module).as_slice() != sha256 {
        return Err(format!("its module {} is not what it was; check the disk, and push it again", path.display()));
    }
    Ok(module)
}
