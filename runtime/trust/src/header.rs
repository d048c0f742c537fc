//! The section `signature`, read and written byte by byte.
//!
//! Version, content type, hash function, then sets: hashes that are signed together, and the signatures over them. A
//! signature of a kind unknown here is kept as it is: its signer is a stranger, which is no reason to refuse the others.

use crate::cursor::{put_number, put_slice, Cursor};
use crate::limits::{HASHES_MAX, HEADER_MAX_BYTES, SETS_MAX, SIGNATURES_MAX};

/// Name of the custom section.
pub const SECTION_SIGNATURE: &[u8] = b"signature";
/// What is signed begins with this: the domain, version, content type and hash function of the convention.
const DOMAIN: &[u8] = b"wasmsig\x01\x01\x01";
const PREAMBLE: [u8; 3] = [1, 1, 1];
const ED25519: u8 = 1;
const HASH_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

#[derive(Clone, Default)]
pub struct Header<'a> {
    pub sets: Vec<Set<'a>>,
}

/// Hashes that are signed together, and who signed them.
#[derive(Clone)]
pub struct Set<'a> {
    /// One behind the other. The last is that of the whole module as its signers had it.
    pub hashes: &'a [u8],
    /// As they stand in the section.
    pub signatures: Vec<&'a [u8]>,
}

/// A signature that may be verified.
pub struct Signature<'a> {
    pub key_id: &'a [u8],
    pub bytes: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads a section without its name; the error is a reason.
    pub fn decode(section: &'a [u8]) -> Result<Self, &'static str> {
        if section.len() > HEADER_MAX_BYTES {
            return Err("it is too large");
        }
        let mut from = Cursor::new(section);
        if from.bytes(PREAMBLE.len()).ok_or("it is cut off")? != PREAMBLE {
            return Err("it is of an unknown version, content type or hash function");
        }
        let count = from.minimal_number().ok_or("it is cut off")?;
        if count > SETS_MAX {
            return Err("it has too many sets of hashes");
        }
        let (mut sets, mut signatures_left) = (Vec::new(), SIGNATURES_MAX);
        for _ in 0..count {
            let set = Set::decode(from.slice().ok_or("it is cut off")?)?;
            signatures_left = signatures_left.checked_sub(set.signatures.len()).ok_or("it has too many signatures")?;
            sets.push(set);
        }
        if !from.rest().is_empty() {
            return Err("it goes on behind its end");
        }
        Ok(Self { sets })
    }

    /// The whole custom section, with its id and name.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        put_slice(&mut payload, SECTION_SIGNATURE);
        payload.extend_from_slice(&PREAMBLE);
        put_number(&mut payload, self.sets.len());
        for set in &self.sets {
            put_slice(&mut payload, &set.encode());
        }
        let mut section = vec![0];
        put_slice(&mut section, &payload);
        section
    }

    pub fn signatures(&self) -> usize {
        self.sets.iter().map(|set| set.signatures.len()).sum()
    }
}

impl<'a> Set<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let mut from = Cursor::new(bytes);
        let count = from.minimal_number().ok_or("a set of hashes is cut off")?;
        if count == 0 || count > HASHES_MAX {
            return Err("a set has no hashes, or too many");
        }
        let hashes = from.bytes(count * HASH_BYTES).ok_or("a set of hashes is cut off")?;
        let count = from.minimal_number().ok_or("a set of hashes is cut off")?;
        if count > SIGNATURES_MAX {
            return Err("it has too many signatures");
        }
        let mut signatures = Vec::new();
        for _ in 0..count {
            signatures.push(from.slice().ok_or("a signature is cut off")?);
        }
        if !from.rest().is_empty() {
            return Err("a set of hashes goes on behind its end");
        }
        Ok(Self { hashes, signatures })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, self.hashes.len() / HASH_BYTES);
        out.extend_from_slice(self.hashes);
        put_number(&mut out, self.signatures.len());
        for signature in &self.signatures {
            put_slice(&mut out, signature);
        }
        out
    }

    /// Whether its signers signed all of the module with this hash, and nothing more.
    pub fn covers(&self, content_sha256: &[u8; HASH_BYTES]) -> bool {
        self.hashes.ends_with(content_sha256)
    }

    /// What its signers signed.
    pub fn message(&self) -> Vec<u8> {
        [DOMAIN, self.hashes].concat()
    }
}

impl<'a> Signature<'a> {
    /// Reads one, unless it is of a kind unknown here.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Cursor::new(bytes);
        let key_id = from.slice()?;
        if from.byte()? != ED25519 {
            return None;
        }
        let bytes = from.slice()?;
        (bytes.len() == SIGNATURE_BYTES && from.rest().is_empty()).then_some(Self { key_id, bytes })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_slice(&mut out, self.key_id);
        out.push(ED25519);
        put_slice(&mut out, self.bytes);
        out
    }
}
