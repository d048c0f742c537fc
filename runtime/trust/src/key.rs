//! Public keys in the forms people have them.

use std::fmt;
use std::str::FromStr;

use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use base64::Engine as _;
use ring::{digest, hmac, signature};
use thiserror::Error;

use crate::limits::{COMMENT_MAX_CHARS, KEY_TEXT_MAX_BYTES};

/// Bytes of an ed25519 public key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a key's short name.
pub const KEY_ID_BYTES: usize = 12;

const SSH_KIND: &str = "ssh-ed25519";
/// What stands before the key in the binary part of an OpenSSH key.
const SSH_HEAD: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";
/// What stands before the key in DER (SubjectPublicKeyInfo).
const DER_HEAD: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\0";
/// What stands before the key in a key file of wasmsign2.
const RAW_HEAD: &[u8] = b"\x01";
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// Why something is no public key. The text has reason and remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It looks like none.
    #[error(
        "is no ed25519 public key; write a line of ssh-keygen -t ed25519 or eyot keys new (the .pub file), or the \
         {KEY_BYTES} bytes in hex or base64"
    )]
    NotAKey,
    /// It is one of another kind.
    #[error("is a key of kind {0}; only ed25519 is accepted, make one with eyot keys new or ssh-keygen -t ed25519")]
    OtherKind(String),
    /// It is a secret.
    #[error("is a private key; give its public half, the .pub file, and keep this one to yourself")]
    Private,
    /// Signatures of this key can be made without its private half.
    #[error("is a key for which anyone can sign; make one with eyot keys new or ssh-keygen -t ed25519")]
    Weak,
    /// It has several keys.
    #[error("has more than one line with a key; give one key at a time")]
    Several,
}

/// An ed25519 public key, with the comment it came with. Keys are equal if they are the same key, whatever the comment.
#[derive(Clone, Debug)]
pub struct PublicKey {
    bytes: [u8; KEY_BYTES],
    comment: String,
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl PublicKey {
    /// The key with these bytes. The comment is cut to [`COMMENT_MAX_CHARS`] and loses control characters.
    ///
    /// # Errors
    /// [`KeyError::Weak`].
    pub fn new(bytes: [u8; KEY_BYTES], comment: &str) -> Result<Self, KeyError> {
        if is_weak(&bytes) {
            return Err(KeyError::Weak);
        }
        let cut: String = comment.trim().chars().filter(|c| !c.is_control()).take(COMMENT_MAX_CHARS).collect();
        Ok(Self { bytes, comment: cut.trim().to_owned() })
    }

    /// Reads a line of an OpenSSH `.pub` file, PEM, or the bytes (alone, in DER, or as wasmsign2 has them) in hex or
    /// base64. Empty lines and such that begin with `#` do not count.
    ///
    /// # Errors
    /// It is none of these, or more than one.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.len() > KEY_TEXT_MAX_BYTES {
            return Err(KeyError::NotAKey);
        }
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        if let Some(body) = text.trim().strip_prefix(PEM_BEGIN) {
            let body = body.strip_suffix(PEM_END).ok_or(KeyError::NotAKey)?;
            let body: String = body.split_whitespace().collect();
            return Self::from_bytes(&STANDARD.decode(body).map_err(|_| KeyError::NotAKey)?);
        }
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().ok_or(KeyError::NotAKey)?;
        if lines.next().is_some() {
            return Err(KeyError::Several);
        }
        Self::parse_line(line)
    }

    fn parse_line(line: &str) -> Result<Self, KeyError> {
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        if first == SSH_KIND {
            let (body, comment) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let body = STANDARD.decode(body).map_err(|_| KeyError::NotAKey)?;
            let key = body.strip_prefix(SSH_HEAD).and_then(|key| key.try_into().ok()).ok_or(KeyError::NotAKey)?;
            return Self::new(key, comment);
        }
        if ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"].iter().any(|kind| first.starts_with(kind)) {
            return Err(KeyError::OtherKind(first.chars().filter(|c| !c.is_control()).take(40).collect()));
        }
        if !rest.is_empty() {
            return Err(KeyError::NotAKey);
        }
        match hex::decode(first) {
            Ok(bytes) => Self::from_bytes(&bytes),
            Err(_) => Self::from_bytes(&STANDARD.decode(first).map_err(|_| KeyError::NotAKey)?),
        }
    }

    /// Reads a key file: text as for [`parse`](Self::parse), or the same bytes as they are.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn parse_file(file: &[u8]) -> Result<Self, KeyError> {
        match Self::from_bytes(file) {
            Err(KeyError::NotAKey) => Self::parse(std::str::from_utf8(file).map_err(|_| KeyError::NotAKey)?),
            read => read,
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let key = match bytes.len().checked_sub(KEY_BYTES) {
            Some(0) => Some(bytes),
            Some(1) => bytes.strip_prefix(RAW_HEAD),
            _ => bytes.strip_prefix(DER_HEAD),
        };
        Self::new(key.and_then(|key| key.try_into().ok()).ok_or(KeyError::NotAKey)?, "")
    }

    /// The key itself.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }

    /// What its owner calls it; may be empty.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Its short name, as it stands in signatures.
    pub fn id(&self) -> KeyId {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.bytes), b"key_id");
        let mut id = [0; KEY_ID_BYTES];
        id.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        KeyId(id)
    }

    /// The line of an OpenSSH `.pub` file, without its end.
    pub fn to_openssh(&self) -> String {
        let line = format!("{SSH_KIND} {} {}", STANDARD.encode(self.ssh_blob()), self.comment);
        line.trim_end().to_owned()
    }

    /// What `ssh-keygen -l` prints: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        let hash = digest::digest(&digest::SHA256, &self.ssh_blob());
        format!("SHA256:{}", STANDARD_NO_PAD.encode(hash))
    }

    fn ssh_blob(&self) -> Vec<u8> {
        [SSH_HEAD, &self.bytes].concat()
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        signature::UnparsedPublicKey::new(&signature::ED25519, self.bytes).verify(message, signature).is_ok()
    }
}

/// For messages: comment and short name.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.comment.as_str() {
            "" => write!(f, "{}", self.id()),
            comment => write!(f, "{comment} ({})", self.id()),
        }
    }
}

/// Short name of a key: 24 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    pub(crate) fn as_bytes(&self) -> &[u8; KEY_ID_BYTES] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut id = [0; KEY_ID_BYTES];
        hex::decode_to_slice(text, &mut id).map_err(|_| KeyError::NotAKey)?;
        Ok(Self(id))
    }
}

/// Whether a point of small order is meant: 32 zero bytes, for example, which someone may leave as a placeholder. Verifiers
/// accept signatures for these that nobody needs a secret to make.
fn is_weak(key: &[u8; KEY_BYTES]) -> bool {
    let mut y = *key;
    // The sign of x does not matter.
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    WEAK.contains(&y)
}

/// The y of all points whose order divides 8, in each encoding.
const WEAK: [[u8; KEY_BYTES]; 7] = [
    [0; KEY_BYTES],
    end_to_end(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    end_to_end(0xec, 0xff, 0x7f),
    end_to_end(0xed, 0xff, 0x7f),
    end_to_end(0xee, 0xff, 0x7f),
];

const fn end_to_end(first: u8, between: u8, last: u8) -> [u8; KEY_BYTES] {
    let mut bytes = [between; KEY_BYTES];
    bytes[0] = first;
    bytes[KEY_BYTES - 1] = last;
    bytes
}
