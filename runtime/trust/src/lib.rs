//! Who may put functions on a gateway and command them: public keys, signatures inside modules and of commands, what a key is
//! trusted with, and which version may follow which.
//!
//! This crate does no I/O, looks at no clock and makes no keys: bytes, the time and seeds are inputs. All it is given
//! comes from strangers: it allocates nothing on the word of a length field, and each list has a limit.
//!
//! The signature format is that of the WebAssembly module-signatures convention, version 1, as the crate `wasmsign2`
//! writes it: a custom section `signature` in front of all others, with ed25519 signatures over the SHA-256 of everything
//! behind it. Two things are stricter here. A signature counts only if it names its key, so that a module costs no more
//! than [`SIGNATURES_MAX`](limits::SIGNATURES_MAX) verifications however many keys are trusted. And it must cover the
//! module to its end: signed first parts of a module, which the convention allows, are no signature of the whole.
//!
//! Modules, in the order a signature passes through them:
//! - [`key`]: public keys in the forms people have them, and their short names;
//! - [`sign`]: a signer added to a module;
//! - [`verify`]: what a module says of itself, and whose signature fits;
//! - [`policy`]: whether that suffices to push it;
//! - [`release`]: whether its version may replace the one that runs;
//! - [`command`]: what else someone may ask of a gateway, signed;
//! - [`limits`]: the bounds of all of these.

pub mod command;
mod cursor;
mod header;
pub mod key;
pub mod limits;
pub mod policy;
pub mod release;
pub mod sign;
pub mod verify;
