//! Exports every mutable global, so that a reset can put it back.
//!
//! wasmi gives the host no way to reach a global that is not exported, and compilers keep at least the stack pointer
//! in one. Only the export section changes; indexes, code and all other bytes stay as they are.

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use crate::scan::Facts;

const SECTION_EXPORT: u8 = 7;
const KIND_GLOBAL: u8 = 3;

/// Name under which global `index` is exported. A module that uses it itself is refused as exporting a name twice.
pub(crate) fn global_name(index: u32) -> alloc::string::String {
    format!("eyot.global.{index}")
}

pub(crate) fn push_u32(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// A u32 of the format; sections are shorter than the module, whose size is capped far below 4 GiB.
pub(crate) fn push_len(out: &mut Vec<u8>, len: usize) {
    push_u32(out, u32::try_from(len).unwrap_or(u32::MAX));
}

/// The module with all mutable globals exported; `None` if it has no export section, or none to add.
pub(crate) fn export_globals(wasm: &[u8], facts: &Facts<'_>) -> Option<Vec<u8>> {
    let section = facts.exports.as_ref()?;
    if facts.mutable_globals.is_empty() {
        return None;
    }
    let mut content = Vec::new();
    push_u32(&mut content, section.count + facts.mutable_globals.len() as u32);
    content.extend_from_slice(wasm.get(section.entries.clone())?);
    for &index in &facts.mutable_globals {
        let name = global_name(index);
        push_len(&mut content, name.len());
        content.extend_from_slice(name.as_bytes());
        content.push(KIND_GLOBAL);
        push_u32(&mut content, index);
    }
    replace_section(wasm, section.header..section.entries.end, SECTION_EXPORT, &content)
}

/// The module with a section, of which `old` are the bytes from its header on, that has this content now.
pub(crate) fn replace_section(wasm: &[u8], old: Range<usize>, id: u8, content: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(wasm.len() + content.len());
    out.extend_from_slice(wasm.get(..old.start)?);
    out.push(id);
    push_len(&mut out, content.len());
    out.extend_from_slice(content);
    out.extend_from_slice(wasm.get(old.end..)?);
    Some(out)
}
