//! Signers added, and what they vouch for.

use eyot_trust::limits::{HASHES_MAX, HEADER_MAX_BYTES, SETS_MAX, SIGNATURES_MAX};
use eyot_trust::sign::SignError;
use eyot_trust::verify::{Fit, FormatError, Module};
use eyot_wire::module::MODULE_MAX_BYTES;

use crate::common::{custom, module, module_with, read, signer, MANIFEST};

#[test]
fn a_signed_module_is_signed_by_its_signer_and_nobody_else() {
    let (ada, bob) = (signer(1, "ada"), signer(2, "bob"));
    let plain = module();
    assert!(!read(&plain).is_signed());
    assert_eq!(read(&plain).fit(ada.public()), Fit::Absent);
    let signed = ada.sign(&plain).unwrap();
    let module = read(&signed);
    assert_eq!((module.fit(ada.public()), module.fit(bob.public())), (Fit::Signed, Fit::Absent));
    assert_eq!(module.claimed_ids(), [ada.public().id().to_string()]);
    assert_eq!((module.manifest().name.as_str(), module.manifest().version.minor), ("sample", 2));
}

#[test]
fn signers_add_up_in_any_order_and_the_content_stays() {
    let (ada, bob) = (signer(1, "ada"), signer(2, "bob"));
    let plain = module();
    for (first, second) in [(&ada, &bob), (&bob, &ada)] {
        let once = first.sign(&plain).unwrap();
        let both = second.sign(&once).unwrap();
        let module = read(&both);
        assert_eq!((module.fit(ada.public()), module.fit(bob.public())), (Fit::Signed, Fit::Signed));
        assert_eq!(module.content_sha256(), read(&plain).content_sha256());
        assert!(both.ends_with(&plain[8..]), "what was built is not touched");
    }
}

#[test]
fn signing_again_changes_nothing() {
    let ada = signer(1, "ada");
    let once = ada.sign(&module()).unwrap();
    assert_eq!(ada.sign(&once).unwrap(), once);
    let both = signer(2, "bob").sign(&once).unwrap();
    assert_eq!(ada.sign(&both).unwrap(), both);
}

#[test]
fn what_was_altered_is_not_signed_over() {
    let signed = signer(1, "ada").sign(&module()).unwrap();
    let longer = [signed, custom("x", b"more")].concat();
    let error = signer(2, "bob").sign(&longer).unwrap_err();
    assert_eq!(error, SignError::Stale);
    assert!(error.to_string().contains("build it again"), "{error}");
}

#[test]
fn signers_have_a_limit() {
    let mut wasm = module();
    for number in 0..SIGNATURES_MAX {
        wasm = signer(number as u8 + 1, "").sign(&wasm).unwrap();
    }
    assert_eq!(read(&wasm).fit(signer(SIGNATURES_MAX as u8, "").public()), Fit::Signed);
    assert_eq!(signer(99, "").sign(&wasm), Err(SignError::Full));
    assert_eq!(signer(1, "").sign(&wasm).unwrap(), wasm, "one of them may sign again");
}

#[test]
fn what_is_no_function_is_neither_read_nor_signed() {
    let manifest = custom("eyot.manifest", MANIFEST.as_bytes());
    let signed = signer(1, "").sign(&module()).unwrap();
    let header = signed[8..signed.len() - (module().len() - 8)].to_vec();
    let component = [b"\0asm\x0d\0\x01\0".as_slice(), &manifest].concat();
    for (wasm, words) in [
        (vec![], "not a core WebAssembly module"),
        (b"hello".to_vec(), "not a core WebAssembly module"),
        (component, "not a core WebAssembly module"),
        (vec![0; MODULE_MAX_BYTES + 1], "at most 8388608"),
        (module_with(&[]), "no section eyot.manifest"),
        (module_with(&[manifest.clone(), manifest.clone()].concat()), "second section eyot.manifest"),
        (module_with(&custom("eyot.manifest", b"name = 1")), "no function.toml"),
        (module_with(&custom("eyot.manifest", b"\xff")), "not UTF-8"),
        (module_with(&[manifest.clone(), header.clone()].concat()), "not its first section"),
        ([&signed[..8], &header, &header, &signed[8 + header.len()..]].concat(), "not its first section"),
    ] {
        let error = Module::read(&wasm).err().expect(words);
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(signer(1, "").sign(&wasm), Err(SignError::Format(error)));
    }
}

/// A number as it stands in sections.
fn number(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn slice(bytes: &[u8]) -> Vec<u8> {
    [number(bytes.len()), bytes.to_vec()].concat()
}

/// A signature section of so many sets, each with so many hashes and signatures of a kind that nobody knows.
fn strange_header(sets: usize, hashes: usize, signatures: usize, signature_bytes: usize, tail: &[u8]) -> Vec<u8> {
    let signature = slice(&vec![9; signature_bytes]);
    let set = slice(&[number(hashes), vec![7; 32 * hashes], number(signatures), signature.repeat(signatures)].concat());
    let payload = [slice(b"signature"), vec![1, 1, 1], number(sets), set.repeat(sets), tail.to_vec()].concat();
    [b"\0asm\x01\0\0\0\0".to_vec(), slice(&payload), custom("eyot.manifest", MANIFEST.as_bytes())].concat()
}

#[test]
fn a_signature_section_has_limits() {
    for at_most in [
        strange_header(SETS_MAX, 1, 2, 66, b""),
        strange_header(1, HASHES_MAX, 1, 66, b""),
        strange_header(1, 1, SIGNATURES_MAX, 66, b""),
        strange_header(1, 1, 1, HEADER_MAX_BYTES - 42, b""),
    ] {
        assert!(read(&at_most).is_signed());
    }
    for (beyond, words) in [
        (strange_header(SETS_MAX + 1, 1, 1, 66, b""), "too many sets"),
        (strange_header(1, HASHES_MAX + 1, 1, 66, b""), "no hashes, or too many"),
        (strange_header(1, 0, 1, 66, b""), "no hashes, or too many"),
        (strange_header(1, 1, SIGNATURES_MAX + 1, 66, b""), "too many signatures"),
        (strange_header(3, 1, SIGNATURES_MAX / 2, 66, b""), "too many signatures"),
        (strange_header(1, 1, 1, HEADER_MAX_BYTES - 41, b""), "too large"),
        (strange_header(1, 1, 1, 66, b"x"), "behind its end"),
    ] {
        let error = Module::read(&beyond).err().expect(words).to_string();
        assert!(error.contains(words) && error.contains("sign it again"), "{error}");
    }
}

/// A module may say of a section, a name, a slice or a list that it is of any length.
#[test]
fn claims_of_length_cost_nothing() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let header = |payload: &[u8]| {
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        wasm.extend(custom("signature", payload));
        wasm.extend(custom("eyot.manifest", MANIFEST.as_bytes()));
        wasm
    };
    let with = |front: &[u8]| [front, &huge].concat();
    for payload in [
        with(&[1, 1, 1]),
        with(&[1, 1, 1, 1]),
        [&with(&[1, 1, 1, 1, 5])[..], &[0; 3]].concat(),
        [&[1, 1, 1, 1, 38, 1][..], &[7; 32], &huge].concat(),
        [&[1, 1, 1, 1, 39, 1][..], &[7; 32], &[1], &huge].concat(),
    ] {
        assert!(matches!(Module::read(&header(&payload)), Err(FormatError::Header(_))), "{payload:?}");
    }
    for tail in [with(&[0]), with(&[1]), [&[0, 6][..], &huge, b"x"].concat()] {
        assert!(matches!(Module::read(&module_with(&tail)), Err(FormatError::CutOff { .. })), "{tail:?}");
    }
}
