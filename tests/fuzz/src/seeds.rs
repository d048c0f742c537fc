//! The corpus: a folder for each target, of small files that its reader takes. They are what our own writers made once, so
//! they also show that what was written before is still read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Target;

/// Where the corpus of a target stands.
pub fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// Its files, in the order of their names.
///
/// # Errors
/// The folder cannot be read.
pub fn read(target: &Target) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut paths = fs::read_dir(folder(target))?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let name = |path: &Path| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    paths.iter().map(|path| Ok((name(path), fs::read(path)?))).collect()
}

/// Writes the seeds of a target that have no file yet.
///
/// # Errors
/// A file cannot be written.
pub fn write_missing(target: &Target) -> io::Result<()> {
    let folder = folder(target);
    fs::create_dir_all(&folder)?;
    for (name, bytes) in (target.seeds)() {
        let path = folder.join(name);
        if !path.exists() {
            fs::write(path, bytes)?;
        }
    }
    Ok(())
}
