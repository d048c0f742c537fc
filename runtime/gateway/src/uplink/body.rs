//! Records as bytes: JSON lines or a JSON array, compressed or not.

use std::io::{self, Write as _};

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

/// The records of `gateway` as one body. Each record's bytes, and all of them together, are the same at every try.
pub fn encode(gateway: &str, records: &[Record], format: Format) -> Vec<u8> {
    let mut body = Vec::new();
    let (open, between, close) = match format {
        Format::Ndjson => ("", "\n", "\n"),
        Format::Json => ("[", ",\n", "]"),
    };
    body.extend_from_slice(open.as_bytes());
    for (index, record) in records.iter().enumerate() {
        if index > 0 {
            body.extend_from_slice(between.as_bytes());
        }
        let start = body.len();
        body.extend_from_slice(&envelope::wrap(gateway, record.stamp, &record.topic, &record.payload));
        // A payload keeps its white space, which may hold line breaks; anywhere else JSON text has none.
        for byte in body.iter_mut().skip(start).filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
    }
    body.extend_from_slice(close.as_bytes());
    body
}

/// Compresses a body. Takes milliseconds for each megabyte: not for a thread on which others wait.
///
/// # Errors
/// None that memory does not make.
pub fn compress(body: Vec<u8>, how: Compress) -> io::Result<Vec<u8>> {
    match how {
        Compress::None => Ok(body),
        Compress::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&body)?;
            encoder.finish()
        }
        Compress::Zstd => Ok(compress_to_vec(body.as_slice(), CompressionLevel::Fastest)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

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

    #[test]
    fn a_line_is_a_record_whatever_its_payload() {
        let text = String::from_utf8(encode("g", &records(), Format::Ndjson)).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                r#"{"gateway":"g","epoch":9,"seq":1,"topic":"cloud/a","payload":{   "t": 21.5 }}"#,
                r#"{"gateway":"g","epoch":9,"seq":2,"topic":"cloud/a","payload_base64":"b24Kb2Zm"}"#
            ]
        );
        assert!(text.ends_with('\n'));
        let array: Vec<serde_json::Value> = serde_json::from_slice(&encode("g", &records(), Format::Json)).unwrap();
        assert_eq!((array.len(), &array[0]["payload"]["t"]), (2, &serde_json::json!(21.5)));
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let many: Vec<_> = std::iter::repeat_with(records).take(1000).flatten().collect();
        let body = encode("g", &many, Format::Ndjson);
        assert_eq!(compress(body.clone(), Compress::None).unwrap(), body);
        let gzip = compress(body.clone(), Compress::Gzip).unwrap();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, body);
        let zstd = compress(body.clone(), Compress::Zstd).unwrap();
        let mut back = Vec::new();
        ruzstd::decoding::StreamingDecoder::new(&zstd[..]).unwrap().read_to_end(&mut back).unwrap();
        assert_eq!(back, body);
        assert!(gzip.len() * 10 < body.len() && zstd.len() * 10 < body.len());
    }
}
