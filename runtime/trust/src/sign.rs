//! A signer added to a module.

use eyot_wire::module::MODULE_MAX_BYTES;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use thiserror::Error;

use crate::header::{Set, Signature};
use crate::key::{KeyError, PublicKey, KEY_BYTES};
use crate::limits::SIGNATURES_MAX;
use crate::verify::{Fit, FormatError, Module, MODULE_HEAD};

/// Why a module is not signed. The text has reason and remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignError {
    /// It is not a function.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Someone signed something else.
    #[error(
        "was altered after it was signed, or was signed only in part; build it again and sign that, so that nobody \
         vouches for what they did not see"
    )]
    Stale,
    /// No room for another signer.
    #[error("has {SIGNATURES_MAX} signatures already, the most that are accepted; build it again and sign that")]
    Full,
}

/// A private key, ready to sign.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Signer {
    /// The signer with this seed: 32 random bytes that nobody else knows.
    ///
    /// # Errors
    /// The seed makes no usable key; take another.
    pub fn from_seed(seed: &[u8; KEY_BYTES], comment: &str) -> Result<Self, KeyError> {
        Self::from_pair(Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::NotAKey)?, comment)
    }

    /// The signer in PKCS #8, as OpenSSL writes it in DER.
    ///
    /// # Errors
    /// It is not an ed25519 private key.
    pub fn from_pkcs8(der: &[u8], comment: &str) -> Result<Self, KeyError> {
        Self::from_pair(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError::NotAKey)?, comment)
    }

    fn from_pair(pair: Ed25519KeyPair, comment: &str) -> Result<Self, KeyError> {
        let bytes = pair.public_key().as_ref().try_into().map_err(|_| KeyError::NotAKey)?;
        Ok(Self { public: PublicKey::new(bytes, comment)?, pair })
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn sign_bytes(&self, message: &[u8]) -> impl AsRef<[u8]> {
        self.pair.sign(message)
    }

    /// `module` with this signer added to those it has; the same bytes if this one signed it already.
    ///
    /// # Errors
    /// It is not a whole function, or others signed something else, or there is no room.
    pub fn sign(&self, module: &[u8]) -> Result<Vec<u8>, SignError> {
        let read = Module::read(module)?;
        if read.fit(&self.public) == Fit::Signed {
            return Ok(module.to_vec());
        }
        let mut header = read.header.clone();
        if header.sets.iter().any(|set| !set.covers(read.content_sha256())) {
            return Err(SignError::Stale);
        }
        if header.signatures() == SIGNATURES_MAX {
            return Err(SignError::Full);
        }
        let mut own = Set { hashes: read.content_sha256(), signatures: Vec::new() };
        let id = self.public.id();
        let bytes = self.pair.sign(&own.message());
        let signature = Signature { key_id: id.as_bytes(), bytes: bytes.as_ref() }.encode();
        match header.sets.iter_mut().find(|set| set.hashes == own.hashes) {
            Some(set) => set.signatures.push(&signature),
            None => {
                own.signatures.push(&signature);
                header.sets.push(own);
            }
        }
        let signed = [MODULE_HEAD, &header.encode(), read.body].concat();
        if signed.len() > MODULE_MAX_BYTES {
            return Err(FormatError::TooLarge { bytes: signed.len() }.into());
        }
        Ok(signed)
    }
}
