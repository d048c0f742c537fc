//! Private keys as people have them: of OpenSSH, of OpenSSL (PKCS #8), of wasmsign2.

use base64::prelude::{Engine as _, BASE64_STANDARD};
use eyot_trust::key::{PublicKey, KEY_BYTES};
use eyot_trust::sign::Signer;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{LineEnding, PrivateKey};

use crate::error::Error;

const PKCS8_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PKCS8_END: &str = "-----END PRIVATE KEY-----";
/// How a key file of wasmsign2 begins; the seed and the public key follow.
const RAW_HEAD: u8 = 0x81;

/// Reason and remedy.
type Wrong = (&'static str, &'static str);

const ANOTHER: &str = "make one with `eyot keys new`";
const PROTECTED: Wrong = (
    "is protected by a passphrase, which is not supported",
    "make a key for signing with `eyot keys new`, or take the passphrase off a copy with ssh-keygen -p",
);

/// The signer in a key file; `None` if it does not look like a private key at all.
pub fn signer(file: &[u8]) -> Option<Result<Signer, Wrong>> {
    if let Some((&RAW_HEAD, key)) = file.split_first() {
        return Some(raw(key));
    }
    let text = std::str::from_utf8(file).ok()?.trim();
    if text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") {
        return Some(openssh(text));
    }
    if let Some(body) = text.strip_prefix(PKCS8_BEGIN) {
        return Some(pkcs8(body));
    }
    if text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Some(Err(PROTECTED));
    }
    text.contains("PRIVATE KEY-----").then_some(Err(("is a private key of a kind that is not supported", ANOTHER)))
}

fn raw(key: &[u8]) -> Result<Signer, Wrong> {
    let wrong = ("is cut off or damaged", ANOTHER);
    let (seed, public) = key.split_at_checked(KEY_BYTES).ok_or(wrong)?;
    let signer = Signer::from_seed(seed.try_into().map_err(|_| wrong)?, "").map_err(|_| wrong)?;
    if signer.public().as_bytes() == public {
        Ok(signer)
    } else {
        Err(wrong)
    }
}

fn openssh(text: &str) -> Result<Signer, Wrong> {
    let key = PrivateKey::from_openssh(text).map_err(|_| ("is cut off or damaged", ANOTHER))?;
    if key.is_encrypted() {
        return Err(PROTECTED);
    }
    let pair = key.key_data().ed25519().ok_or(("is not an ed25519 key", ANOTHER))?;
    Signer::from_seed(&pair.private.to_bytes(), key.comment()).map_err(|_| ("is not a usable key", ANOTHER))
}

fn pkcs8(body: &str) -> Result<Signer, Wrong> {
    let wrong = ("is not an ed25519 key, or damaged", ANOTHER);
    let body: String = body.strip_suffix(PKCS8_END).ok_or(wrong)?.split_whitespace().collect();
    let der = BASE64_STANDARD.decode(body).map_err(|_| wrong)?;
    Signer::from_pkcs8(&der, "").map_err(|_| wrong)
}

/// The text of a private key file.
///
/// # Errors
/// It cannot be put together.
pub fn to_openssh(seed: &[u8; KEY_BYTES], public: &PublicKey) -> Result<String, Error> {
    let pair =
        Ed25519Keypair { public: Ed25519PublicKey(*public.as_bytes()), private: Ed25519PrivateKey::from_bytes(seed) };
    let text =
        PrivateKey::new(KeypairData::Ed25519(pair), public.comment()).and_then(|key| key.to_openssh(LineEnding::LF));
    text.map(|text| text.to_string()).map_err(|e| Error::failed("new key", e, "report this as a fault of eyot"))
}
