//! What stands in a module file, and how a manifest is put into it.

use eyot_wire::manifest::{Manifest, Trigger};
use eyot_wire::module::SECTION_MANIFEST;
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasm_encoder::{CustomSection, Module, RawSection};
use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

use crate::output::{line, size};

/// What a file holds, whether or not a gateway would accept it.
#[derive(Debug, Default, Serialize)]
pub struct Facts {
    /// Size of the file.
    pub size_bytes: usize,
    /// The function's identity, in hex.
    pub sha256: String,
    /// Bytes of code.
    pub code_bytes: usize,
    /// Bytes of data segments.
    pub data_bytes: usize,
    /// Linear memory at the start.
    pub memory_bytes: Option<u64>,
    /// What it may grow to by its own declaration.
    pub memory_max_bytes: Option<u64>,
    /// Names of exports.
    pub exports: Vec<String>,
    /// Imports as `module.name`.
    pub imports: Vec<String>,
    /// Custom sections.
    pub custom_sections: Vec<CustomFact>,
    /// The text of `eyot.manifest`, lossy where it is not UTF-8.
    #[serde(skip)]
    pub manifest: Option<String>,
}

/// A custom section.
#[derive(Debug, Serialize)]
pub struct CustomFact {
    name: String,
    bytes: usize,
}

/// Reads the structure of a module; code is skipped.
///
/// # Errors
/// It is not a core WebAssembly module; the text says from which byte on.
pub fn read(wasm: &[u8]) -> Result<Facts, String> {
    let mut facts = Facts { size_bytes: wasm.len(), sha256: hex::encode(Sha256::digest(wasm)), ..Facts::default() };
    check_magic(wasm)?;
    for payload in Parser::new(0).parse_all(wasm) {
        add(&mut facts, payload.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    }
    Ok(facts)
}

/// The parser's own words for this fill ten lines.
fn check_magic(wasm: &[u8]) -> Result<(), String> {
    if wasm.starts_with(b"\0asm") {
        return Ok(());
    }
    Err("is not WebAssembly: its first bytes are not \"\\0asm\"".to_owned())
}

fn add(facts: &mut Facts, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
    match payload {
        Payload::CodeSectionStart { size, .. } => facts.code_bytes = size as usize,
        Payload::DataSection(section) => facts.data_bytes = section.range().len(),
        Payload::MemorySection(section) => {
            for memory in section {
                let memory = memory?;
                let bytes = |pages: u64| pages.saturating_mul(1 << memory.page_size_log2.unwrap_or(16).min(16));
                facts.memory_bytes = Some(bytes(memory.initial));
                facts.memory_max_bytes = memory.maximum.map(bytes);
            }
        }
        Payload::ExportSection(section) => {
            for export in section {
                facts.exports.push(export?.name.to_owned());
            }
        }
        Payload::ImportSection(section) => {
            for import in section {
                let import = import?;
                facts.imports.push(format!("{}.{}", import.module, import.name));
            }
        }
        Payload::CustomSection(section) => {
            if section.name() == SECTION_MANIFEST {
                facts.manifest = Some(String::from_utf8_lossy(section.data()).into_owned());
            }
            facts.custom_sections.push(CustomFact { name: section.name().to_owned(), bytes: section.data().len() });
        }
        _ => {}
    }
    Ok(())
}

/// The module with `manifest` as its only custom section.
///
/// All others go: neither gateway nor node reads them, names and debug sections make up most of a module as the linker
/// leaves it, they hold paths of the machine it was built on, and a signature would no longer fit.
///
/// # Errors
/// It is not a core WebAssembly module; the text says from which byte on.
pub fn with_manifest(wasm: &[u8], manifest: &str) -> Result<Vec<u8>, String> {
    check_magic(wasm)?;
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|e| e.to_string())?;
        match &payload {
            Payload::Version { encoding: Encoding::Component, .. } => {
                return Err("is a component; build a core module".to_owned());
            }
            Payload::CustomSection(_) => {}
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    let data = wasm.get(range).unwrap_or_default();
                    module.section(&RawSection { id, data });
                }
            }
        }
    }
    module.section(&CustomSection { name: SECTION_MANIFEST.into(), data: manifest.as_bytes().into() });
    Ok(module.finish())
}

impl Facts {
    /// Lines for people.
    pub fn describe(&self, text: &mut String) {
        line(
            text,
            "size",
            format_args!(
                "{} ({} bytes; code {}, data {})",
                size(self.size_bytes as u64),
                self.size_bytes,
                self.code_bytes,
                self.data_bytes
            ),
        );
        line(text, "sha256", &self.sha256);
        line(text, "exports", or_none(&self.exports));
        line(text, "imports", or_none(&self.imports));
        if let Some(bytes) = self.memory_bytes {
            line(text, "memory", size(bytes));
        }
    }
}

/// Lines for people about a manifest.
pub fn describe_manifest(manifest: &Manifest, text: &mut String) {
    let rate = |trigger: &Trigger| trigger.rate.map(|rate| format!(" at {rate}")).unwrap_or_default();
    let triggers: Vec<_> =
        manifest.triggers.iter().map(|trigger| format!("{}{}", trigger.mqtt, rate(trigger))).collect();
    let limits = &manifest.limits;
    line(text, "triggers", or_none(&triggers));
    line(text, "may emit", or_none(&manifest.allow.emit));
    line(
        text,
        "limits",
        format_args!(
            "fuel {}, memory {}, output {}, state {}, deadline {} ms",
            limits.fuel,
            size(limits.memory_bytes),
            size(limits.output_bytes),
            size(limits.state_bytes),
            limits.deadline_ms
        ),
    );
    line(text, "on error", manifest.on_error);
    if let Some(rollout) = manifest.rollout {
        line(text, "rollout", rollout);
    }
}

fn or_none<T: AsRef<str>>(words: &[T]) -> String {
    if words.is_empty() {
        return "none".to_owned();
    }
    let words: Vec<_> = words.iter().map(|word| crate::output::shown(word.as_ref().as_bytes())).collect();
    words.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_the_only_custom_section_and_the_rest_stays() {
        let text = r#"(module (@custom "junk" "/home/ada") (memory (export "memory") 1 2)
            (func $named (export "f") (result i32) i32.const 7) (data (i32.const 0) "hello"))"#;
        let wasm = wat::parse_str(text).unwrap();
        let before = read(&wasm).unwrap();
        assert!(before.custom_sections.len() > 1 && before.manifest.is_none());
        let once = with_manifest(&wasm, "first").unwrap();
        let twice = with_manifest(&once, "name").unwrap();
        let after = read(&twice).unwrap();
        assert_eq!(after.custom_sections.len(), 1);
        assert_eq!(after.manifest.as_deref(), Some("name"));
        assert_eq!(
            (&after.exports, after.code_bytes, after.data_bytes),
            (&before.exports, before.code_bytes, before.data_bytes)
        );
        assert_eq!((after.memory_bytes, after.memory_max_bytes), (Some(65_536), Some(131_072)));
        wasmparser::validate(&twice).unwrap();
        assert!(!twice.windows(4).any(|bytes| bytes == b"/hom"));
    }

    #[test]
    fn what_is_no_module_is_refused() {
        for bad in [&b""[..], b"\0asm", b"hello world", b"\0asm\x0d\0\x01\0"] {
            assert!(with_manifest(bad, "").is_err(), "{bad:?}");
        }
    }
}
