//! Records as bytes: JSON lines or a JSON array, compressed or not.

use std::io::{self, Read as _};

use flate2::write::GzEncoder;
use flate2::Compression;
use ruzstd::encoding::{compress_to_vec, CompressionLevel};

use super::batch::Record;
use crate::envelope;

/// How records stand beside each other. Each is an [`envelope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object on each line.
    Ndjson,
    /// An array of JSON objects.
    Json,
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compress {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Format {
    /// Media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Json => "application/json",
        }
    }
}

impl Compress {
    /// Content coding; none if there is nothing to tell.
    pub fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// The records of `gateway` as one body, the same at every try. It is compressed while it is made: at no time is all of it
/// in memory uncompressed. Takes milliseconds for each megabyte: not for a thread on which others wait.
///
/// # Errors
/// None that memory does not make.
pub fn encode(gateway: &str, records: &[Record], format: Format, how: Compress) -> io::Result<Vec<u8>> {
    let mut text = Text::new(gateway, records, format);
    match how {
        Compress::None => {
            // What it takes, unless payloads are wrapped in base64.
            let mut body = Vec::with_capacity(records.iter().map(Record::cost).sum());
            text.read_to_end(&mut body)?;
            Ok(body)
        }
        Compress::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            io::copy(&mut text, &mut encoder)?;
            encoder.finish()
        }
        Compress::Zstd => Ok(compress_to_vec(text, CompressionLevel::Fastest)),
    }
}

/// Records as text, one by one.
struct Text<'r> {
    gateway: &'r str,
    records: std::slice::Iter<'r, Record>,
    between: &'static [u8],
    close: &'static [u8],
    /// What is to be read next, and how much of it was.
    piece: Vec<u8>,
    read: usize,
}

impl<'r> Text<'r> {
    fn new(gateway: &'r str, records: &'r [Record], format: Format) -> Self {
        let (open, between, close): (&[u8], &[u8], &[u8]) = match format {
            Format::Ndjson => (b"", b"\n", b"\n"),
            Format::Json => (b"[", b",\n", b"]"),
        };
        Self { gateway, records: records.iter(), between, close, piece: open.to_vec(), read: 0 }
    }

    /// Goes on to the next record; false behind the last.
    fn advance(&mut self) -> bool {
        (self.read, self.piece) = (0, Vec::new());
        if let Some(record) = self.records.next() {
            self.piece = envelope::wrap(self.gateway, record.stamp, &record.topic, &record.payload).into();
            // A payload keeps its white space, which may hold line breaks; anywhere else JSON text has none.
            for byte in self.piece.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
                *byte = b' ';
            }
            let behind = if self.records.len() > 0 { self.between } else { std::mem::take(&mut self.close) };
            self.piece.extend_from_slice(behind);
        } else {
            self.piece.extend_from_slice(std::mem::take(&mut self.close));
        }
        !self.piece.is_empty()
    }
}

impl io::Read for Text<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest = self.piece.get(self.read..).unwrap_or_default();
            let count = rest.len().min(out.len());
            if let (Some(from), Some(to), true) = (rest.get(..count), out.get_mut(..count), count > 0) {
                to.copy_from_slice(from);
                self.read += count;
                return Ok(count);
            }
            if out.is_empty() || !self.advance() {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::Stamp;

    fn records() -> Vec<Record> {
        let record = |seq, payload: &'static str| Record {
            token: seq,
            stamp: Stamp { epoch: 9, seq },
            topic: Bytes::from_static(b"cloud/a"),
            payload: Bytes::from_static(payload.as_bytes()),
            received_at_ms: 0,
        };
        vec![record(1, "{\r\n \"t\": 21.5\n}"), record(2, "on\noff")]
    }

    fn plain(records: &[Record], format: Format) -> Vec<u8> {
        encode("g", records, format, Compress::None).unwrap()
    }

    #[test]
    fn a_line_is_a_record_whatever_its_payload() {
        let text = String::from_utf8(plain(&records(), Format::Ndjson)).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                r#"{"gateway":"g","epoch":9,"seq":1,"topic":"cloud/a","payload":{   "t": 21.5 }}"#,
                r#"{"gateway":"g","epoch":9,"seq":2,"topic":"cloud/a","payload_base64":"b24Kb2Zm"}"#
            ]
        );
        assert!(text.ends_with("}\n"));
        let array: Vec<serde_json::Value> = serde_json::from_slice(&plain(&records(), Format::Json)).unwrap();
        assert_eq!((array.len(), &array[0]["payload"]["t"]), (2, &serde_json::json!(21.5)));
        assert_eq!(plain(&[], Format::Json), b"[]");
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let many: Vec<_> = std::iter::repeat_with(records).take(1000).flatten().collect();
        let compressed = |how| encode("g", &many, Format::Ndjson, how).unwrap();
        let body = compressed(Compress::None);
        assert!(body.capacity() < 2 * body.len(), "one allocation, about as large as it must be");
        let gzip = compressed(Compress::Gzip);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, body);
        let zstd = compressed(Compress::Zstd);
        let mut back = Vec::new();
        ruzstd::decoding::StreamingDecoder::new(&zstd[..]).unwrap().read_to_end(&mut back).unwrap();
        assert_eq!(back, body);
        assert!(gzip.len() * 10 < body.len() && zstd.len() * 10 < body.len());
    }
}
