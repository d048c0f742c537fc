//! `eyot build`: from a folder to one `.wasm` file that carries its manifest.

mod cargo;
mod toolchain;

pub use cargo::path_dependencies;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use eyot_engine::{Function, LoadError, LoadOptions};
use eyot_trust::sign::Signer;
use eyot_wire::manifest::{Manifest, MANIFEST_MAX_BYTES};

use crate::error::Error;
use crate::module::{self, describe_manifest};
use crate::output::{self, GOOD};
use crate::{file, guest, keys, sign};

/// Build a function's folder into one .wasm file that carries its manifest.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder with function.toml and, unless --wasm is given, a Rust crate of type cdylib.
    dir: PathBuf,
    /// Where to write the function [default: DIR/<name>.wasm].
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Takes this module, built from C, Zig or another language, and only adds the manifest.
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
    /// Signs the function with this private key, as `eyot sign` would.
    #[arg(long, short, value_name = "FILE")]
    key: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  eyot build celsius
  eyot build celsius --out /tmp/celsius.wasm
  eyot build celsius --key ada
  clang --target=wasm32 -nostdlib -Wl,--no-entry -o filter/out.wasm filter/filter.c
  eyot build filter --wasm filter/out.wasm

Rust is built in release mode for wasm32-unknown-unknown, by the first of these toolchains that has it:
  1. $EYOT_WASM_TOOLCHAIN, a toolchain folder or the name of a rustup toolchain
  2. the active toolchain (`rustup target add wasm32-unknown-unknown`)
  3. ${XDG_CACHE_HOME:-~/.cache}/eyot/sysroot, made by tests/setup.sh in a clone of Eyot
The same sources and toolchain give the same bytes wherever they are built: paths of this machine are mapped away and \
RUSTFLAGS is not passed on. Linker options go to DIR/.cargo/config.toml below [target.wasm32-unknown-unknown].";

/// rustc gives a module 1 MiB of stack unless told otherwise, which alone fills the default memory.
const STACK_HINT: &str = "or link it with a smaller stack: rustflags = [\"-Clink-arg=-zstack-size=8192\"] below \
    [target.wasm32-unknown-unknown] in .cargo/config.toml, -Wl,-z,stack-size=8192 for C";
const MANIFEST_FILE: &str = "function.toml";

pub fn execute(args: &Args) -> Result<(), Error> {
    let signer = args.key.as_deref().map(keys::read_signer).transpose()?;
    let (text, manifest) = read_manifest(&args.dir)?;
    let wasm = function(&args.dir, args.wasm.as_deref(), &text, signer.as_ref())?;
    let out = args.out.clone().unwrap_or_else(|| module_path(&args.dir, &manifest));
    file::write_atomically(&out, &wasm)?;
    report(&out, &wasm, &manifest)
}

/// Where the module of a function's folder is.
pub fn module_path(dir: &Path, manifest: &Manifest) -> PathBuf {
    dir.join(format!("{}.wasm", manifest.name))
}

/// The function in a folder with the manifest `text`, built or from the module `wasm`, and signed if there is a signer.
///
/// # Errors
/// It cannot be built, or no gateway would load it.
pub fn function(dir: &Path, wasm: Option<&Path>, text: &str, signer: Option<&Signer>) -> Result<Vec<u8>, Error> {
    let built = match wasm {
        Some(path) => path.to_owned(),
        None => cargo::build(dir)?,
    };
    let bare = guest::read_module(&built)?;
    let wasm = module::with_manifest(&bare, text)
        .map_err(|reason| Error::bad_input(built.display(), reason, "a function is a core WebAssembly module"))?;
    guest::on_guest_thread(|| check(&built, &wasm))?;
    match signer {
        Some(signer) => sign::signed(&built, &wasm, signer),
        None => Ok(wasm),
    }
}

/// The manifest in a function's folder: its text, and what it says.
///
/// # Errors
/// It cannot be read, or is not valid.
pub fn read_manifest(dir: &Path) -> Result<(String, Manifest), Error> {
    let path = dir.join(MANIFEST_FILE);
    if let Err(e) = fs::metadata(&path) {
        let remedy = if e.kind() == io::ErrorKind::NotFound {
            "every function has one beside its sources; `eyot new` makes one"
        } else {
            "check the path and its permissions"
        };
        return Err(Error::bad_input(path.display(), format_args!("cannot be read: {e}"), remedy));
    }
    let bytes = file::read(&path, MANIFEST_MAX_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::bad_input(path.display(), format_args!("is not UTF-8 from byte {at} on"), "save it as UTF-8")
    })?;
    let manifest =
        Manifest::parse(&text).map_err(|e| Error::bad_input(path.display(), e, "correct this and build again"))?;
    Ok((text, manifest))
}

/// Loads it as a gateway would.
fn check(built: &Path, wasm: &[u8]) -> Result<(), Error> {
    match Function::load(wasm, LoadOptions::default()) {
        Ok(_) => Ok(()),
        Err(error @ LoadError::TooMany { what, .. }) if what.contains("initial memory") => {
            Err(Error::refused(built.display(), &error).with_hint(STACK_HINT))
        }
        Err(error) => Err(Error::refused(built.display(), &error)),
    }
}

fn report(out: &Path, wasm: &[u8], manifest: &Manifest) -> Result<(), Error> {
    let facts =
        module::read(wasm).map_err(|reason| Error::failed(out.display(), reason, "report this as a fault of eyot"))?;
    let mut text = format!("{GOOD}built{GOOD:#} {} ({} {})\n", out.display(), manifest.name, manifest.version);
    facts.describe(&mut text);
    describe_manifest(manifest, &mut text);
    output::print(&text)?;
    if manifest.triggers.is_empty() {
        output::warning(&format!(
            "{MANIFEST_FILE}: has no [[trigger]]: no message wakes the function; right for a reducer"
        ));
    }
    Ok(())
}
