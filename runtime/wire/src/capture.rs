//! A capture: one message with everything a function read, and what came of it, so that it can be run again elsewhere.
//!
//! It is published as it stands in a `.cap` file, which is any number of captures one after the other; so what
//! `mosquitto_sub -N` writes is such a file. Layout of one:
//!
//! | bytes | |
//! |---|---|
//! | 3 | `EyC` |
//! | 1 | version, 1 |
//! | 4 | length of the rest, little-endian, at most [`CAPTURE_MAX_BYTES`] |
//! | … | [`Capture`], its fields in order, in postcard's encoding |

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::code::Failure;

/// Longest capture: the largest message, state, outputs and state operations there are, with room to spare.
pub const CAPTURE_MAX_BYTES: usize = 4 << 20;
/// Largest state, keys and values, that a capture holds; a larger one is left out.
pub const CAPTURE_STATE_MAX_BYTES: usize = 64 << 10;
/// Most messages that one command captures.
pub const CAPTURES_MAX: u32 = 10_000;

const MAGIC: [u8; 3] = *b"EyC";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// One message, what the function read, and what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// Name of the function.
    pub function: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its module.
    pub sha256: [u8; 32],
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// What `now_ms` answered: Unix time in milliseconds.
    pub now_ms: i64,
    /// Seed of `random`.
    pub seed: u64,
    /// The state before the message; none if it was larger than [`CAPTURE_STATE_MAX_BYTES`].
    pub state: Option<Vec<Entry>>,
    /// Configuration that differs from the manifest's.
    pub config: Vec<(String, String)>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it ended well.
    pub result: Result<(), Failure>,
    /// Topics and payloads, in order.
    pub emits: Vec<(String, Vec<u8>)>,
    /// Changes of the state, the last one of each key; `None` deletes.
    pub state: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Lines of the log, with their level from 0, error, to 4, trace.
    pub logs: Vec<(u8, String)>,
    /// Emits that were refused.
    pub emits_refused: u32,
}

/// Why bytes are not a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureError {
    /// They do not begin like one.
    NotACapture,
    /// A version that is not known here.
    Version(u8),
    /// It says that it is longer than a capture can be.
    TooLong(u32),
    /// It ends early.
    Cut,
    /// Its content is not that of a capture.
    Malformed,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACapture => f.write_str("does not begin with EyC, as a capture does"),
            Self::Version(version) => {
                write!(f, "is a capture of version {version}, and only version {VERSION} is known")
            }
            Self::TooLong(bytes) => write!(f, "claims {bytes} bytes, and a capture has at most {CAPTURE_MAX_BYTES}"),
            Self::Cut => f.write_str("ends in the middle of a capture"),
            Self::Malformed => f.write_str("is damaged"),
        }
    }
}

impl core::error::Error for CaptureError {}

impl Capture {
    /// As it is published, and stands in a file. `None` if it is longer than [`CAPTURE_MAX_BYTES`].
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(256 + self.payload.len());
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&[0; 4]);
        let mut out = postcard::to_extend(self, out).ok()?;
        let bytes = out.len() - HEADER_BYTES;
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= CAPTURE_MAX_BYTES)?;
        out.get_mut(4..HEADER_BYTES)?.copy_from_slice(&length.to_le_bytes());
        Some(out)
    }

    /// Reads the first capture in `bytes`, and returns it with what stands behind it.
    ///
    /// # Errors
    /// There is none, or not of this version.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), CaptureError> {
        let Some((&[m0, m1, m2, version, l0, l1, l2, l3], rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            let is_begun = MAGIC.iter().zip(bytes).all(|(a, b)| a == b) && !bytes.is_empty();
            return Err(if is_begun { CaptureError::Cut } else { CaptureError::NotACapture });
        };
        if [m0, m1, m2] != MAGIC {
            return Err(CaptureError::NotACapture);
        }
        if version != VERSION {
            return Err(CaptureError::Version(version));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let bytes = usize::try_from(length).ok().filter(|bytes| *bytes <= CAPTURE_MAX_BYTES);
        let (body, rest) =
            rest.split_at_checked(bytes.ok_or(CaptureError::TooLong(length))?).ok_or(CaptureError::Cut)?;
        match postcard::take_from_bytes(body) {
            Ok((capture, [])) => Ok((capture, rest)),
            _ => Err(CaptureError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};

    fn sample() -> Capture {
        Capture {
            function: "smooth".into(),
            version: "1.2.0".into(),
            sha256: [7; 32],
            topic: "in/7".into(),
            payload: b"{}".to_vec(),
            now_ms: 1_700_000_000_123,
            seed: 300,
            state: Some(vec![(b"k".to_vec(), b"v".to_vec())]),
            config: vec![("window".into(), "2".into())],
            outcome: Outcome {
                result: Ok(()),
                emits: vec![("out".into(), b"1".to_vec())],
                state: vec![(b"k".to_vec(), Some(b"w".to_vec())), (b"x".to_vec(), None)],
                logs: vec![(2, "hi".into())],
                emits_refused: 1,
            },
        }
    }

    fn failed() -> Capture {
        let outcome = Outcome {
            result: Err(Failure::Trap("boom".into())),
            emits: vec![],
            state: vec![],
            logs: vec![],
            emits_refused: 0,
        };
        Capture { state: None, config: vec![], outcome, ..sample() }
    }

    /// Format version 1, byte for byte: change it only together with the version byte.
    #[test]
    fn golden_bytes_of_version_1() {
        let head = |out: &mut Vec<u8>| {
            out.extend_from_slice(b"\x06smooth\x051.2.0");
            out.extend_from_slice(&[7; 32]);
            out.extend_from_slice(b"\x04in/7\x02{}\xf6\xa1\xab\xfe\xf9\x62\xac\x02");
        };
        let mut expected = b"EyC\x01\x64\0\0\0".to_vec();
        head(&mut expected);
        expected.extend_from_slice(b"\x01\x01\x01k\x01v\x01\x06window\x012");
        expected.extend_from_slice(b"\x00\x01\x03out\x011\x02\x01k\x01\x01w\x01x\x00\x01\x02\x02hi\x01");
        assert_eq!(sample().encode().unwrap(), expected);
        let mut expected = b"EyC\x01\x4a\0\0\0".to_vec();
        head(&mut expected);
        expected.extend_from_slice(b"\x00\x00\x01\x01\x04boom\x00\x00\x00\x00");
        assert_eq!(failed().encode().unwrap(), expected);
    }

    #[test]
    fn captures_stand_one_after_the_other() {
        let file = [sample().encode().unwrap(), failed().encode().unwrap()].concat();
        let (first, rest) = Capture::decode(&file).unwrap();
        let (second, rest) = Capture::decode(rest).unwrap();
        assert_eq!((first, second, rest), (sample(), failed(), &[][..]));
    }

    #[test]
    fn what_is_none_is_told_apart() {
        let good = sample().encode().unwrap();
        let with = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            Capture::decode(&bad).unwrap_err()
        };
        assert_eq!(with(0, b'e'), CaptureError::NotACapture);
        assert_eq!(with(3, 2), CaptureError::Version(2));
        assert_eq!(with(7, 0xff), CaptureError::TooLong(0xff00_0064));
        assert_eq!(with(4, 0x65), CaptureError::Cut);
        assert_eq!(with(4, 0x63), CaptureError::Malformed);
        assert_eq!(Capture::decode(b"").unwrap_err(), CaptureError::NotACapture);
        assert_eq!(Capture::decode(b"EyC").unwrap_err(), CaptureError::Cut);
        assert!(CaptureError::Version(2).to_string().contains("version 2"));
    }

    #[test]
    fn any_cut_or_flip_is_an_error_or_a_capture_but_never_a_panic() {
        let good = sample().encode().unwrap();
        for at in 0..good.len() {
            assert!(Capture::decode(&good[..at]).is_err(), "{at}");
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let _ = Capture::decode(&bad);
            }
        }
    }

    #[test]
    fn there_is_a_longest() {
        let longer = |payload_bytes| Capture { payload: vec![0; payload_bytes], ..sample() };
        assert!(longer(CAPTURE_MAX_BYTES - 200).encode().is_some());
        assert!(longer(CAPTURE_MAX_BYTES).encode().is_none());
    }
}
