//! Files: read up to a limit, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::output::size;

/// Reads all of `path`, or of standard input if it is `-`.
///
/// # Errors
/// It cannot be read, or has more than `most_bytes`.
pub fn read(path: &Path, most_bytes: usize) -> Result<Vec<u8>, Error> {
    let bytes = read_start(path, most_bytes + 1)?;
    if bytes.len() > most_bytes {
        return Err(Error::bad_input(
            path.display(),
            format_args!("is larger than {}", size(most_bytes as u64)),
            "that is the most a gateway takes; make it smaller",
        ));
    }
    Ok(bytes)
}

/// Reads at most the first `most_bytes` of `path`, or of standard input if it is `-`.
///
/// # Errors
/// It cannot be read.
pub fn read_start(path: &Path, most_bytes: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    open(path)?.take(most_bytes as u64).read_to_end(&mut bytes).map_err(|e| unreadable(path, &e))?;
    Ok(bytes)
}

/// Opens `path`, or standard input if it is `-`.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> Result<Box<dyn Read + Send>, Error> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(File::open(path).map_err(|e| unreadable(path, &e))?))
}

/// The error for a file that cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::bad_input(path.display(), format_args!("cannot be read: {error}"), "check the path and its permissions")
}

/// Writes `bytes` to `path`: afterwards it holds either what it held before, or all of them.
///
/// # Errors
/// It cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = beside(path);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|e| {
        // What is left of it is of no use; that it cannot be removed either adds nothing.
        let _ = fs::remove_file(&beside);
        Error::failed(
            path.display(),
            format_args!("cannot be written: {e}"),
            "check the folder, its permissions and space",
        )
    })
}

/// A name in the same folder that nobody else uses.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}
