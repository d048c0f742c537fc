//! Lines: one message each, from its bytes on the wire and back.
//!
//! `COBS(version ‖ message ‖ CRC-32C of both, little-endian) ‖ 0`. The only zero on the wire ends a line, so whoever comes
//! in the middle, or loses bytes, is back in step with the next one. Empty lines are nothing.

use core::fmt;

use crc::{Crc, CRC_32_ISCSI};
use postcard::ser_flavors::crc::CrcModifier;
use postcard::ser_flavors::{Cobs, Slice};
use serde::{Deserialize, Serialize};

/// Of the link; the first byte of each frame.
pub const VERSION: u8 = 1;
/// Largest frame: version and message.
pub const FRAME_MAX_BYTES: usize = 640;
const CRC_BYTES: usize = 4;
/// Largest line, with checksum, stuffing and its end.
pub const LINE_MAX_BYTES: usize = FRAME_MAX_BYTES + CRC_BYTES + (FRAME_MAX_BYTES + CRC_BYTES) / 254 + 2;

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Why a line says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// Longer than [`LINE_MAX_BYTES`].
    TooLong,
    /// Not stuffed as COBS is.
    Stuffing,
    /// Some of its bits are not those that were sent.
    Checksum,
    /// It is whole, and of another version of the link.
    Version(u8),
    /// It is whole, and holds no message that is known here.
    Unknown,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "line is longer than {LINE_MAX_BYTES} bytes"),
            Self::Stuffing => f.write_str("line is not stuffed as COBS is"),
            Self::Checksum => f.write_str("line is damaged: its checksum is another"),
            Self::Version(version) => {
                write!(f, "line is of link version {version}, this is {VERSION}; update the older of gateway and node")
            }
            Self::Unknown => f.write_str("line holds a message that is not known here; update gateway or node"),
        }
    }
}

impl core::error::Error for LineError {}

/// Writes `message` as a line to the front of `out`, and returns that part.
///
/// # Errors
/// [`LineError::TooLong`] if it does not fit into `out`, or a line.
pub fn encode<'a>(message: &impl Serialize, out: &'a mut [u8; LINE_MAX_BYTES]) -> Result<&'a [u8], LineError> {
    let stuffed = Cobs::try_new(Slice::new(out)).map_err(|_| LineError::TooLong)?;
    let line = postcard::serialize_with_flavor(&(VERSION, message), CrcModifier::new(stuffed, CRC.digest()));
    line.map(|line| &*line).map_err(|_| LineError::TooLong)
}

/// What is in a line that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    /// Reads its message.
    ///
    /// # Errors
    /// It is of another version, or none of `T`.
    pub fn message<T: Deserialize<'a>>(&self) -> Result<T, LineError> {
        match self.0.split_first() {
            Some((&VERSION, message)) => match postcard::take_from_bytes(message) {
                Ok((message, [])) => Ok(message),
                _ => Err(LineError::Unknown),
            },
            Some((&version, _)) => Err(LineError::Version(version)),
            None => Err(LineError::Unknown),
        }
    }
}

/// Gathers bytes until a line is there.
#[derive(Clone, Debug)]
pub struct Line {
    buffer: [u8; LINE_MAX_BYTES],
    len: usize,
    is_too_long: bool,
    /// What is in the buffer was handed out.
    is_done: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self { buffer: [0; LINE_MAX_BYTES], len: 0, is_too_long: false, is_done: false }
    }
}

impl Line {
    /// Takes bytes off the front of `bytes`, up to the end of the next line or all of them; returns that line if it has
    /// ended and is not empty. Call it until `bytes` is empty.
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Option<Result<Body<'_>, LineError>> {
        if self.is_done {
            self.forget();
        }
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            if byte != 0 {
                self.push(byte);
            } else if self.len > 0 {
                self.is_done = true;
                return Some(self.open());
            }
        }
        None
    }

    /// Forgets the line begun, if any: what comes next is of another connection.
    pub fn forget(&mut self) {
        (self.len, self.is_too_long, self.is_done) = (0, false, false);
    }

    fn push(&mut self, byte: u8) {
        match self.buffer.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.is_too_long = true,
        }
    }

    fn open(&mut self) -> Result<Body<'_>, LineError> {
        if self.is_too_long {
            return Err(LineError::TooLong);
        }
        let line = self.buffer.get_mut(..self.len).unwrap_or_default();
        let len = cobs::decode_in_place(line).map_err(|_| LineError::Stuffing)?;
        let frame = line.get(..len).unwrap_or_default();
        let (body, crc) = frame.split_last_chunk::<CRC_BYTES>().ok_or(LineError::Checksum)?;
        match CRC.checksum(body) == u32::from_le_bytes(*crc) {
            true => Ok(Body(body)),
            false => Err(LineError::Checksum),
        }
    }
}
