//! Files that are whole or not there, and logs that are not too long.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::{AUDIT_MAX_BYTES, UNFINISHED};

/// Adds a line to a log, durably; one that is too long begins anew.
pub fn note(log: &Path, line: &str) -> io::Result<()> {
    if fs::metadata(log).is_ok_and(|log| log.len() >= AUDIT_MAX_BYTES) {
        fs::rename(log, before(log))?;
    }
    let mut log = OpenOptions::new().create(true).read(true).append(true).open(log)?;
    let mut last = [b'\n'];
    if log.seek(SeekFrom::End(-1)).is_ok() {
        log.read_exact(&mut last)?;
    }
    // After a power cut in the middle of a line, the next is one of its own.
    let begin = if last == [b'\n'] { "" } else { "\n" };
    log.write_all(format!("{begin}{line}\n").as_bytes())?;
    log.sync_data()
}

/// The log before the present one.
pub fn before(log: &Path) -> PathBuf {
    log.with_extension("1.ndjson")
}

/// Writes a file so that it is whole or not there, also after a power cut.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(dir) = path.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    make(dir)?;
    let unfinished = dir.join(format!("{}.{UNFINISHED}", name(path)));
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&unfinished, path)) {
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

/// As [`write`]; if the same is in another file already, that gets a second name, which is one write less. Not every file
/// system can.
pub fn write_or_link(path: &Path, bytes: &[u8], same: Option<PathBuf>) -> io::Result<()> {
    let Some(dir) = path.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    make(dir)?;
    match same {
        Some(same) if fs::hard_link(&same, path).is_ok() => File::open(dir)?.sync_all(),
        _ => write(path, bytes),
    }
}

/// Makes a directory, and its name durable.
fn make(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(above) = dir.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    make(above)?;
    fs::create_dir(dir)?;
    File::open(above)?.sync_all()
}

pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

pub fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
