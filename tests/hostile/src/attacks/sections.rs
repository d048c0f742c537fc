//! Bytes that are no module, and custom sections that are not what they say.

use super::{Attack, End};
use crate::guest::guest;

/// Appends a section of `id` that says it has `size` bytes.
fn with_section(id: u8, size: &[u8], content: &[u8]) -> Vec<u8> {
    let mut wasm = guest("", "(i32.const 0)");
    wasm.push(id);
    wasm.extend_from_slice(size);
    wasm.extend_from_slice(content);
    wasm
}

fn custom(size: &[u8], content: &[u8]) -> Vec<u8> {
    with_section(0, size, content)
}

pub(super) fn all() -> Vec<Attack> {
    let refused = |name: &str, wasm: Vec<u8>, reason| Attack::new(name, wasm, End::Refused(reason));
    let good = guest("", "(i32.const 0)");
    let half = good.get(..good.len() / 2).unwrap_or_default().to_vec();
    let many = [good.as_slice(), &[0, 2, 1, b'x'].repeat(1_000_000)].concat();
    vec![
        refused("no-bytes", Vec::new(), "does not begin with"),
        refused("text", b"(module)".to_vec(), "does not begin with"),
        refused("only-a-preamble-of-a-component", b"\0asm\x0d\0\x01\0".to_vec(), "component"),
        refused("version-2", b"\0asm\x02\0\0\0".to_vec(), "version 2"),
        refused("half-a-module", half, "not loadable"),
        refused("section-over-the-end", custom(b"\xff\xff\xff\xff\x0f", b"\x01x"), "not loadable"),
        refused("section-size-without-end", custom(b"\x80\x80\x80\x80\x80\x80\x01", b""), "not loadable"),
        refused("section-name-over-the-section", custom(b"\x03", b"\x7fxx"), "not loadable"),
        refused("section-name-over-4-gib", custom(b"\x06", b"\xff\xff\xff\xff\x0fx"), "not loadable"),
        refused("section-name-not-utf8", custom(b"\x03", b"\x02\xff\xfe"), "not loadable"),
        refused("section-without-a-name", custom(b"\x00", b""), "not loadable"),
        refused("section-of-unknown-kind", with_section(77, b"\x01", b"\x00"), "not loadable"),
        refused("sections-out-of-order", with_section(1, b"\x01", b"\x00"), "not loadable"),
        refused("manifest-twice", with_manifests(&[b"a", b"b"]), "a second eyot.manifest"),
        Attack::new("a-million-empty-sections", many, End::Nothing),
    ]
}

fn with_manifests(texts: &[&[u8]]) -> Vec<u8> {
    texts.iter().fold(guest("", "(i32.const 0)"), |mut wasm, text| {
        wasm.extend_from_slice(&[0, 14 + text.len() as u8, 13]);
        wasm.extend_from_slice(b"eyot.manifest");
        wasm.extend_from_slice(text);
        wasm
    })
}
