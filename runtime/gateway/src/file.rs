//! Files that the configuration names, read whole.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Whether there is a regular file at `path`: a FIFO would block whoever opens it, a device never end.
///
/// # Errors
/// It is something else, or nothing.
pub fn regular(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_file() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// Reads the regular file `path`. Anything else is refused before it is opened.
///
/// # Errors
/// It cannot be read, is no regular file, or has more than `most_bytes`.
pub fn read(path: &Path, most_bytes: usize) -> io::Result<Vec<u8>> {
    regular(path)?;
    let mut bytes = Vec::new();
    File::open(path)?.take((most_bytes as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > most_bytes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {most_bytes} bytes")));
    }
    Ok(bytes)
}

/// Like [`read`], for text.
///
/// # Errors
/// As for [`read`], or it is not UTF-8.
pub fn read_text(path: &Path, most_bytes: usize) -> io::Result<String> {
    String::from_utf8(read(path, most_bytes)?).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 from byte {at} on"))
    })
}
