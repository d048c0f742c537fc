//! Signers and modules.

use eyot_trust::sign::Signer;
use eyot_trust::verify::Module;

pub const MANIFEST: &str = "name = \"sample\"\nversion = \"1.2.3\"\n";

/// A signer that is the same in every run.
pub fn signer(number: u8, name: &str) -> Signer {
    Signer::from_seed(&[number; 32], name).unwrap()
}

/// A custom section; short names and contents only.
pub fn custom(name: &str, data: &[u8]) -> Vec<u8> {
    assert!(name.len() + data.len() < 127);
    let mut section = vec![0, (1 + name.len() + data.len()) as u8, name.len() as u8];
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(data);
    section
}

/// A small module with these bytes behind its code.
pub fn module_with(tail: &[u8]) -> Vec<u8> {
    let mut wasm = wat::parse_str("(module (memory (export \"memory\") 1) (data (i32.const 0) \"hello\"))").unwrap();
    wasm.extend_from_slice(tail);
    wasm
}

/// A small module with [`MANIFEST`].
pub fn module() -> Vec<u8> {
    module_with(&custom("eyot.manifest", MANIFEST.as_bytes()))
}

/// Takes it apart.
#[track_caller]
pub fn read(wasm: &[u8]) -> Module<'_> {
    Module::read(wasm).unwrap()
}
