//! `eyot sign`: a signer added to a function.

use std::path::{Path, PathBuf};

use eyot_trust::sign::Signer;
use eyot_trust::verify::Module;

use crate::error::Error;
use crate::output::{self, line, GOOD};
use crate::{file, guest, keys};

/// Sign a function, so that gateways which trust the key accept it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The function, as `eyot build` wrote it; signers it has are kept.
    #[arg(value_name = "FN.wasm")]
    file: PathBuf,
    /// Private key to sign with.
    #[arg(long, short, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the signed function [default: back to where it was].
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  eyot sign celsius.wasm --key ada
  eyot sign celsius.wasm --key ada --out celsius.signed.wasm
  eyot sign celsius.wasm --key ~/.ssh/id_ed25519
  eyot sign - --key ada --out celsius.wasm < unsigned.wasm

The signature covers every byte of the function and its manifest. It is in the WebAssembly module-signatures format: \
other tools take the file for the module it is, and wasmsign2 verifies it.";

pub fn execute(args: &Args) -> Result<(), Error> {
    if args.out.is_none() && args.file == Path::new("-") {
        return Err(Error::bad_input("standard input", "cannot be signed in place", "say where to write with --out"));
    }
    let signer = keys::read_signer(&args.key)?;
    let wasm = guest::read_module(&args.file)?;
    let signed = signed(&args.file, &wasm, &signer)?;
    let out = args.out.as_ref().unwrap_or(&args.file);
    if out == &args.file && signed == wasm {
        return report(out, &signed, &signer, "signed before");
    }
    file::write_atomically(out, &signed)?;
    report(out, &signed, &signer, "signed")
}

/// The module in `path` with one more signer.
///
/// # Errors
/// It is no function that can be signed.
pub fn signed(path: &Path, wasm: &[u8], signer: &Signer) -> Result<Vec<u8>, Error> {
    signer.sign(wasm).map_err(|e| Error::unusable(path.display(), e))
}

fn report(out: &Path, wasm: &[u8], signer: &Signer, done: &str) -> Result<(), Error> {
    let module = Module::read(wasm).map_err(|e| Error::failed(out.display(), e, "report this as a fault of eyot"))?;
    let manifest = module.manifest();
    let mut text = format!("{GOOD}{done}{GOOD:#} {} ({} {})\n", out.display(), manifest.name, manifest.version);
    line(&mut text, "by", signer.public());
    line(&mut text, "content", hex::encode(module.content_sha256()));
    output::print(&text)
}
