//! Whatever is done to a signed module, it is no longer signed by a key it was not signed with.

use eyot_trust::policy::{Grant, Policy};
use eyot_trust::verify::{Fit, Module};

use crate::common::{custom, module, read, signer};

fn is_signed(wasm: &[u8]) -> bool {
    Module::read(wasm).is_ok_and(|module| module.fit(signer(1, "ada").public()) == Fit::Signed)
}

fn is_accepted(wasm: &[u8]) -> bool {
    let policy = Policy { grants: vec![Grant::full(signer(1, "ada").public().clone())], ..Policy::default() };
    Module::read(wasm).is_ok_and(|module| policy.check_push(&module, 0).is_ok())
}

#[test]
fn every_byte_counts() {
    let signed = signer(1, "ada").sign(&module()).unwrap();
    assert!(is_signed(&signed) && is_accepted(&signed));
    for at in 0..signed.len() {
        for change in (0..8).map(|bit| 1 << bit).chain([0x7f, 0xff, signed[at]]) {
            let mut altered = signed.clone();
            altered[at] ^= change;
            if change != 0 {
                assert!(!is_signed(&altered) && !is_accepted(&altered), "byte {at} of {}, ^{change:#x}", signed.len());
            }
        }
    }
}

#[test]
fn nothing_can_be_taken_away_or_put_in() {
    let signed = signer(1, "ada").sign(&module()).unwrap();
    for at in 0..signed.len() {
        assert!(!is_signed(&signed[..at]), "cut at {at}");
        let mut without = signed.clone();
        without.remove(at);
        assert!(!is_signed(&without), "without {at}");
        for byte in [0, 1, 0x80, signed[at]] {
            let mut with = signed.clone();
            with.insert(at, byte);
            assert!(!is_signed(&with), "with {byte} at {at}");
        }
    }
    for tail in [custom("x", b""), custom("eyot.manifest", b""), vec![0], vec![11, 1, 0]] {
        assert!(!is_signed(&[signed.clone(), tail].concat()));
    }
}

#[test]
fn a_signature_does_not_fit_another_module() {
    let (one, other) = (module(), [module(), custom("x", b"y")].concat());
    let signed = signer(1, "ada").sign(&one).unwrap();
    let header = &signed[8..signed.len() - (one.len() - 8)];
    let moved = [&other[..8], header, &other[8..]].concat();
    assert_eq!(read(&moved).fit(signer(1, "ada").public()), Fit::Altered);
    assert!(!is_accepted(&moved));
}

#[test]
fn a_stripped_signature_is_no_signature() {
    let signed = signer(1, "ada").sign(&module()).unwrap();
    let stripped = module();
    assert!(signed.ends_with(&stripped[8..]));
    assert!(!is_signed(&stripped) && !is_accepted(&stripped));
}
