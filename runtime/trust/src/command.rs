//! Signed commands: an [`Order`] in a flattened JSON Web Signature (RFC 7515) with Ed25519 (RFC 8037).
//!
//! `{"protected":"…","payload":"…","signature":"…"}`, where `protected` is `{"alg":"EdDSA","kid":"<key id>"}` and `payload` the
//! order, both as JSON in base64url. Nothing else is read: no header that is not signed, no critical extension, no other
//! algorithm, and no key that the text itself brings along.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine as _;
use eyot_wire::control::{is_nonce, Command, Order, ORDER_MAX_BYTES};
use eyot_wire::manifest::is_name;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::key::{KeyId, PublicKey};
use crate::limits::ORDER_VALID_MAX_S;
use crate::policy::{Expiry, Grant, Policy, Role, CLOCK_SET_FROM_S};
use crate::sign::Signer;

const ALGORITHM: &str = "EdDSA";

/// Why something is no command that is to be followed. The text has reason and remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// More bytes than any command has.
    #[error("has {bytes} bytes, and a command at most {ORDER_MAX_BYTES}; set fewer or shorter values at a time")]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// It is not in the form of a signed command.
    #[error("is no signed command: {0}; make it with the eyot tool")]
    Malformed(String),
    /// Signed in another way.
    #[error("is signed by the algorithm {0:?}; only {ALGORITHM} is accepted, make it with the eyot tool")]
    Algorithm(String),
    /// Signed by a key nobody here trusts.
    #[error(
        "is signed by {0}, which is not trusted here; sign it with a trusted key, or add the public key to [trust]"
    )]
    Stranger(KeyId),
    /// The key is revoked.
    #[error("is signed by {0}, which is revoked; sign it with another key")]
    Revoked(String),
    /// The signature does not fit.
    #[error("was altered after {0} signed it; send it again")]
    Altered(String),
    /// Commands expire, and nobody knows what time it is.
    #[error("expires at {0}, and this machine's clock is not set; set it and try again")]
    ClockNotSet(Expiry),
    /// The key is no longer good.
    #[error("is signed by {key}, which expired at {at}; sign it with another key, or set a later `expires`")]
    KeyExpired {
        /// The key.
        key: String,
        /// When.
        at: Expiry,
    },
    /// The key may not sign commands.
    #[error("is signed by {0}, which may not command; sign it with another key, or add \"command\" to its `roles`")]
    NotForCommands(String),
    /// The key may not replace systems.
    #[error(
        "is signed by {0}, which may not update systems; sign it with another key, or add \"update\" to its `roles`"
    )]
    NotForUpdates(String),
    /// The key may not command this function.
    #[error("is signed by {key}, which may not command \"{function}\"; sign it with another key, or add it to its `functions`")]
    NotForFunction {
        /// The key.
        key: String,
        /// The function.
        function: String,
    },
    /// It is for another gateway or group.
    #[error("is meant for {0:?}, not for this gateway; send it there, or sign one for this gateway")]
    Elsewhere(String),
    /// It is void.
    #[error("expired at {0}; sign it anew, and check the clocks of both machines if it is new")]
    Expired(Expiry),
    /// It would have to be remembered for too long.
    #[error("expires at {0}, more than 30 days from now; let it expire sooner, and check the clocks of both machines")]
    ValidTooLong(Expiry),
}

/// Parsers quote what they do not like, which can be long, and say anything.
fn malformed(what: &str, error: impl std::fmt::Display) -> CommandError {
    let text = format!("{what} {error}");
    CommandError::Malformed(text.chars().filter(|c| !c.is_control()).take(REASON_MAX_CHARS).collect())
}

const REASON_MAX_CHARS: usize = 160;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    protected: String,
    payload: String,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
}

impl Envelope {
    fn read(text: &[u8]) -> Result<Self, CommandError> {
        if text.len() > ORDER_MAX_BYTES {
            return Err(CommandError::TooLarge { bytes: text.len() });
        }
        serde_json::from_slice(text).map_err(|e| malformed("the text:", e))
    }

    fn signed(&self) -> Vec<u8> {
        signed(&self.protected, &self.payload)
    }
}

/// What a signature is made of.
fn signed(protected: &str, payload: &str) -> Vec<u8> {
    [protected, ".", payload].concat().into_bytes()
}

fn decode<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, CommandError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|e| malformed(what, e))?;
    serde_json::from_slice(&bytes).map_err(|e| malformed(what, e))
}

fn encode(what: &str, document: &impl Serialize) -> Result<String, CommandError> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(document).map_err(|e| malformed(what, e))?))
}

/// `order`, signed.
///
/// # Errors
/// It is too large, or no gateway would take it for a command.
pub fn seal(signer: &Signer, order: &Order) -> Result<String, CommandError> {
    check_form(order)?;
    let protected =
        encode("the header:", &Header { alg: ALGORITHM.to_owned(), kid: signer.public().id().to_string() })?;
    let payload = encode("the order:", order)?;
    let signature = URL_SAFE_NO_PAD.encode(signer.sign_bytes(&signed(&protected, &payload)));
    let envelope = Envelope { protected, payload, signature };
    let text = serde_json::to_string(&envelope).map_err(|e| malformed("the text:", e))?;
    if text.len() > ORDER_MAX_BYTES {
        return Err(CommandError::TooLarge { bytes: text.len() });
    }
    Ok(text)
}

/// The order in `text` and the key that signed it, if that suffices at `now_s`, Unix time in seconds, on the gateway that
/// answers to `ids`: its own, and `@<group>` for each of its groups. That it was not followed before is the caller's to check:
/// the nonce has to be remembered until the order expires, which is in [`ORDER_VALID_MAX_S`] at the latest.
///
/// # Errors
/// It is not a command for this gateway by somebody who may give it.
pub fn open<'p>(
    policy: &'p Policy,
    ids: &[&str],
    text: &[u8],
    now_s: u64,
) -> Result<(Order, &'p PublicKey), CommandError> {
    let envelope = Envelope::read(text)?;
    let header: Header = decode("the header:", &envelope.protected)?;
    if header.alg != ALGORITHM {
        return Err(CommandError::Algorithm(header.alg.chars().take(ALGORITHM_MAX_CHARS).collect()));
    }
    let kid: KeyId = header.kid.parse().map_err(|_| malformed("the header", "names no key by its id"))?;
    let grant = policy.grants.iter().find(|grant| grant.key.id() == kid);
    if policy.revoked.contains(&kid) {
        return Err(CommandError::Revoked(grant.map_or_else(|| kid.to_string(), |grant| grant.key.to_string())));
    }
    let grant = grant.ok_or(CommandError::Stranger(kid))?;
    let signature = URL_SAFE_NO_PAD.decode(&envelope.signature).map_err(|e| malformed("the signature:", e))?;
    if !grant.key.verifies(&envelope.signed(), &signature) {
        return Err(CommandError::Altered(grant.key.to_string()));
    }
    let order: Order = decode("the order:", &envelope.payload)?;
    check_form(&order)?;
    check_key(grant, &order, now_s)?;
    check_order(&order, ids, now_s)?;
    Ok((order, &grant.key))
}

/// What `text` asks for, whether or not anybody signed it: good for an answer to whoever sent it, and for nothing else.
pub fn claimed(text: &[u8]) -> Option<Order> {
    let order = decode("the order:", &Envelope::read(text).ok()?.payload).ok()?;
    check_form(&order).ok().map(|()| order)
}

/// Of the name of an algorithm, in messages.
const ALGORITHM_MAX_CHARS: usize = 16;

fn check_form(order: &Order) -> Result<(), CommandError> {
    if !is_nonce(&order.nonce) {
        return Err(malformed("the nonce", "is not 8 to 64 letters, digits, - and _"));
    }
    if let Command::Update(update) = &order.command {
        return match update.has_form() {
            true => Ok(()),
            false => Err(malformed("the system", "has a board, version or SHA-256 that no system has")),
        };
    }
    if !is_name(order.command.function()) {
        return Err(malformed("the function", "has a name that no function has"));
    }
    Ok(())
}

fn check_key(grant: &Grant, order: &Order, now_s: u64) -> Result<(), CommandError> {
    let key = || grant.key.to_string();
    if now_s < CLOCK_SET_FROM_S {
        return Err(CommandError::ClockNotSet(Expiry(order.expires)));
    }
    if let Some(at) = grant.expires.filter(|at| now_s >= at.0) {
        return Err(CommandError::KeyExpired { key: key(), at });
    }
    if let Command::Update(_) = order.command {
        return grant.roles.contains(&Role::Update).then_some(()).ok_or_else(|| CommandError::NotForUpdates(key()));
    }
    if !grant.roles.contains(&Role::Command) {
        return Err(CommandError::NotForCommands(key()));
    }
    let function = order.command.function();
    if !grant.functions.iter().any(|pattern| pattern.matches(function)) {
        return Err(CommandError::NotForFunction { key: key(), function: function.to_owned() });
    }
    Ok(())
}

fn check_order(order: &Order, ids: &[&str], now_s: u64) -> Result<(), CommandError> {
    if !ids.contains(&order.gateway.as_str()) {
        return Err(CommandError::Elsewhere(order.gateway.chars().take(GATEWAY_MAX_CHARS).collect()));
    }
    let expires = Expiry(order.expires);
    if now_s >= order.expires {
        return Err(CommandError::Expired(expires));
    }
    if order.expires - now_s > ORDER_VALID_MAX_S {
        return Err(CommandError::ValidTooLong(expires));
    }
    Ok(())
}

/// Of the name of another gateway, in messages.
const GATEWAY_MAX_CHARS: usize = 64;
