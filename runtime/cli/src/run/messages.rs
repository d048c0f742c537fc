//! Where payloads come from: the command line, a file, or the lines of a file.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use eyot_wire::module::PAYLOAD_MAX_BYTES;

use crate::error::Error;
use crate::file;

/// One message to run.
pub struct Message {
    pub payload: Vec<u8>,
    /// Its line in the file, from 1, where lines are messages.
    pub line: Option<u64>,
}

/// Payloads, read as they are asked for, so that a recording may be longer than memory, or a pipe without end.
pub enum Messages {
    One(Option<Vec<u8>>),
    Lines { path: PathBuf, reader: BufReader<Box<dyn Read + Send>>, line: u64 },
}

impl Messages {
    /// Payload from the command line, else from `path`.
    ///
    /// # Errors
    /// The file cannot be read, or the payload is larger than a function is given.
    pub fn open(payload: Option<&str>, path: Option<&Path>, lines: bool) -> Result<Self, Error> {
        match (payload, path) {
            (None, Some(path)) if lines => {
                Ok(Self::Lines { path: path.to_owned(), reader: BufReader::new(file::open(path)?), line: 0 })
            }
            (None, Some(path)) => {
                // One byte more than fits, so that the limit is told by the same words whatever the source.
                let payload = file::read_start(path, PAYLOAD_MAX_BYTES + 1)?;
                checked(payload, || path.display().to_string()).map(|payload| Self::One(Some(payload)))
            }
            (payload, _) => {
                let payload = payload.unwrap_or_default().as_bytes().to_vec();
                checked(payload, || "--payload".to_owned()).map(|payload| Self::One(Some(payload)))
            }
        }
    }
}

impl Iterator for Messages {
    type Item = Result<Message, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(payload) => payload.take().map(|payload| Ok(Message { payload, line: None })),
            Self::Lines { path, reader, line } => loop {
                *line += 1;
                match next_line(reader) {
                    Ok(None) => return None,
                    Ok(Some(payload)) if payload.is_empty() => {}
                    Ok(Some(payload)) => {
                        let payload = checked(payload, || format!("{}:{line}", path.display()));
                        return Some(payload.map(|payload| Message { payload, line: Some(*line) }));
                    }
                    Err(e) => return Some(Err(file::unreadable(path, &e))),
                }
            },
        }
    }
}

/// A line without its end, cut a little above the limit of a payload; `None` at the end of the file.
fn next_line(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let most = PAYLOAD_MAX_BYTES as u64 + "\r\n".len() as u64;
    if reader.take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(Some(line))
}

fn checked(payload: Vec<u8>, thing: impl FnOnce() -> String) -> Result<Vec<u8>, Error> {
    if payload.len() > PAYLOAD_MAX_BYTES {
        return Err(Error::bad_input(
            thing(),
            format_args!("payload is larger than {PAYLOAD_MAX_BYTES} bytes, the most a function is given"),
            "send less in one message",
        ));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_end_and_nothing_else() {
        let mut reader = &b"a\r\n\n b \nlast"[..];
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader).unwrap() {
            lines.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(lines, ["a", "", " b ", "last"]);
    }

    #[test]
    fn a_line_without_end_is_not_read_into_memory() {
        let mut endless = BufReader::new(std::io::repeat(b'x'));
        let line = next_line(&mut endless).unwrap().unwrap();
        assert!(line.len() > PAYLOAD_MAX_BYTES && line.len() < PAYLOAD_MAX_BYTES + 10);
    }

    #[test]
    fn the_largest_payload_fits_a_line_of_any_kind() {
        let mut text = vec![b'x'; PAYLOAD_MAX_BYTES];
        text.extend_from_slice(b"\r\nnext");
        let mut reader = &text[..];
        assert_eq!(next_line(&mut reader).unwrap().unwrap().len(), PAYLOAD_MAX_BYTES);
        assert_eq!(next_line(&mut reader).unwrap().unwrap(), b"next");
    }
}
