//! The function that is pushed: built, signed and checked here first, so that what no gateway would take costs no trip.

use std::path::Path;

use bytes::Bytes;
use eyot_engine::LoadOptions;
use eyot_trust::sign::Signer;
use eyot_trust::verify::Module as Signed;
use eyot_wire::manifest::Manifest;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::{build, file, guest, output, sign};

/// It.
pub struct Module {
    pub manifest: Manifest,
    pub wasm: Bytes,
    /// Its identity, in hex.
    pub sha256: String,
}

impl Module {
    pub fn bytes(&self) -> u64 {
        self.wasm.len() as u64
    }
}

/// The function in `path`, a module or a folder, as it is to be sent.
///
/// # Errors
/// It cannot be read or built, or no gateway would load it.
pub fn prepare(path: &Path, signer: Option<&Signer>) -> Result<Module, Error> {
    let wasm = if path.is_dir() { build(path, signer)? } else { read(path, signer)? };
    if !Signed::read(&wasm).is_ok_and(|module| module.is_signed()) {
        let remedy = "only gateways with allow_unsigned take it, sign it with --key";
        output::warning(&format!("{}: is not signed; {remedy}", path.display()));
    }
    of(path, wasm)
}

/// A module that is to be sent as it is; `path` is for messages.
///
/// # Errors
/// It is no function.
pub fn of(path: &Path, wasm: Vec<u8>) -> Result<Module, Error> {
    let manifest = Signed::read(&wasm).map_err(|e| Error::unusable(path.display(), e))?.manifest().clone();
    Ok(Module { manifest, sha256: hex::encode(Sha256::digest(&wasm)), wasm: Bytes::from(wasm) })
}

/// As `eyot build` does it.
fn build(dir: &Path, signer: Option<&Signer>) -> Result<Vec<u8>, Error> {
    let (text, manifest) = build::read_manifest(dir)?;
    let wasm = build::function(dir, None, &text, signer)?;
    file::write_atomically(&build::module_path(dir, &manifest), &wasm)?;
    Ok(wasm)
}

fn read(path: &Path, signer: Option<&Signer>) -> Result<Vec<u8>, Error> {
    let mut wasm = guest::read_module(path)?;
    if let Some(signer) = signer {
        wasm = sign::signed(path, &wasm, signer)?;
    }
    guest::on_guest_thread(|| guest::load(path, &wasm, LoadOptions::default()).map(|_| ()))?;
    Ok(wasm)
}
