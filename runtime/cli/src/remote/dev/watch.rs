//! Which files of a function change. What builds write is none of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{channel, Receiver};
use tokio::time::{timeout_at, Instant};

use crate::error::Error;

/// A change is over when nothing more came for so long: editors write a file in several steps.
const SETTLED: Duration = Duration::from_millis(200);
/// Changes that wait; one is enough to know that there are some.
const WAITING_MAX: usize = 64;

/// The watcher.
pub struct Watch {
    watcher: RecommendedWatcher,
    /// The function's folder, and those of crates it depends on by their path.
    tops: Arc<RwLock<BTreeSet<PathBuf>>>,
    folders: BTreeSet<PathBuf>,
    changes: Receiver<()>,
    /// When the change that has begun is over, if nothing more comes.
    settled_at: Option<Instant>,
}

impl Watch {
    /// Of a function's folder, and of a module that is built elsewhere.
    ///
    /// # Errors
    /// The system does not watch it.
    pub fn start(dir: &Path, wasm: Option<&Path>) -> Result<Self, Error> {
        let failed = |path: &Path, e: &dyn std::fmt::Display| {
            let remedy = "check the path, and the system's limit of watches (fs.inotify.max_user_watches)";
            Error::failed(path.display(), format_args!("cannot be watched: {e}"), remedy)
        };
        let dir = fs::canonicalize(dir).map_err(|e| failed(dir, &e))?;
        let wasm = wasm.map(|path| fs::canonicalize(path).map_err(|e| failed(path, &e))).transpose()?;
        let (sender, changes) = channel(WAITING_MAX);
        let tops = Arc::new(RwLock::new(BTreeSet::from([dir.clone()])));
        let (watched, module) = (Arc::clone(&tops), wasm.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // What the system lost track of may be a change.
            let tops = watched.read().unwrap_or_else(PoisonError::into_inner);
            let is_change = event.map_or(true, |event| {
                let is_source = |path: &PathBuf| tops.iter().any(|top| is_source(top, module.as_deref(), path));
                !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(is_source)
            });
            if is_change {
                // A full queue says as much as one more.
                let _ = sender.try_send(());
            }
        })
        .map_err(|e| failed(&dir, &e))?;
        let mut watch = Self { watcher, tops, folders: BTreeSet::new(), changes, settled_at: None };
        watch.add(&dir, RecursiveMode::NonRecursive).map_err(|e| failed(&dir, &e))?;
        if let Some(folder) = wasm.as_deref().and_then(Path::parent).filter(|folder| *folder != dir) {
            watch.add(folder, RecursiveMode::NonRecursive).map_err(|e| failed(folder, &e))?;
        }
        watch.look_for_folders();
        Ok(watch)
    }

    /// From here on also these folders, of crates the function depends on by their path. One that cannot be watched is not.
    pub fn follow(&mut self, folders: &BTreeSet<PathBuf>) {
        for folder in folders {
            let Ok(folder) = fs::canonicalize(folder) else { continue };
            if self.add(&folder, RecursiveMode::NonRecursive).is_ok() {
                self.tops.write().unwrap_or_else(PoisonError::into_inner).insert(folder);
            }
        }
        self.look_for_folders();
    }

    fn add(&mut self, path: &Path, mode: RecursiveMode) -> notify::Result<()> {
        if self.folders.insert(path.to_owned()) {
            self.watcher.watch(path, mode)?;
        }
        Ok(())
    }

    /// Those of sources; cargo's own has thousands.
    fn look_for_folders(&mut self) {
        let tops = self.tops.read().unwrap_or_else(PoisonError::into_inner).clone();
        for top in &tops {
            for entry in fs::read_dir(top).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() && is_source(top, None, &path) {
                    // One that is gone already has nothing to be watched.
                    let _ = self.add(&path, RecursiveMode::Recursive);
                }
            }
        }
        self.folders.retain(|folder| folder.exists());
    }

    /// Waits for the next change, until it is over. Cancelling it loses nothing.
    pub async fn next(&mut self) {
        loop {
            match self.settled_at {
                None => drop(self.changes.recv().await),
                Some(at) if timeout_at(at, self.changes.recv()).await.is_err() => break,
                Some(_) => {}
            }
            self.settled_at = Some(Instant::now() + SETTLED);
        }
        self.settled_at = None;
        self.look_for_folders();
    }
}

/// Whether a change of this file can be one of the function.
fn is_source(dir: &Path, wasm: Option<&Path>, path: &Path) -> bool {
    if let Some(wasm) = wasm {
        if path == wasm {
            return true;
        }
    }
    let Ok(rest) = path.strip_prefix(dir) else { return false };
    let name = rest.file_name().unwrap_or_default().to_string_lossy();
    let first = rest.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned());
    let first = first.unwrap_or_default();
    let is_hidden = first.starts_with('.') && first != ".cargo" || name.starts_with('.') && name != ".cargo";
    let is_built = rest.components().any(|part| part.as_os_str() == "target");
    let is_written = is_built || name == "Cargo.lock" || name.ends_with('~') || name.ends_with(".wasm");
    !first.is_empty() && !is_hidden && !is_written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn crates_it_depends_on_by_their_path_are_watched_once_they_are_known() {
        let site = tempfile::tempdir().unwrap();
        let (function, other) = (site.path().join("f"), site.path().join("other"));
        for folder in [&function, &other.join("src")] {
            fs::create_dir_all(folder).unwrap();
        }
        let mut watch = Watch::start(&function, None).unwrap();
        watch.follow(&BTreeSet::from([other.clone(), site.path().join("gone")]));
        fs::write(other.join("src/lib.rs"), "// changed").unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("the change is seen");
        fs::create_dir(other.join("target")).unwrap();
        fs::write(other.join("Cargo.lock"), "").unwrap();
        fs::write(other.join("Cargo.toml"), "").unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("the change is seen");
    }

    #[test]
    fn sources_are_told_from_what_builds_and_editors_write() {
        let is = |path: &str| is_source(Path::new("/f"), Some(Path::new("/out/f.wasm")), Path::new(path));
        for path in ["/f/function.toml", "/f/src/lib.rs", "/f/tests/a.json", "/f/.cargo/config.toml", "/out/f.wasm"] {
            assert!(is(path), "{path}");
        }
        for path in [
            "/f",
            "/f/target/x/lib.rs",
            "/f/more/target/x/lib.rs",
            "/f/Cargo.lock",
            "/f/f.wasm",
            "/f/src/.lib.rs.swp",
            "/f/src/lib.rs~",
            "/out/g",
        ] {
            assert!(!is(path), "{path}");
        }
    }
}
