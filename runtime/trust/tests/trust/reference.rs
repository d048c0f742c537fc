//! The format against its reference implementation: what one signs, the other verifies.

use eyot_trust::key::PublicKey;
use eyot_trust::verify::{Fit, Module};
use wasmsign2::{KeyPair, Module as Theirs};

use crate::common::{custom, module, read, signer, MANIFEST};

fn key_pair() -> (KeyPair, PublicKey, Vec<u8>) {
    let pair = KeyPair::generate();
    let ours = PublicKey::parse_file(&pair.pk.to_bytes()).unwrap();
    let id = pair.pk.clone().attach_default_key_id().key_id.unwrap();
    (pair, ours, id)
}

fn parsed(wasm: &[u8]) -> Theirs {
    Theirs::deserialize(&mut &*wasm).unwrap()
}

fn bytes(module: &Theirs) -> Vec<u8> {
    let mut out = Vec::new();
    module.serialize(&mut out).unwrap();
    out
}

#[test]
fn it_verifies_what_we_sign() {
    let both = signer(2, "").sign(&signer(1, "").sign(&module()).unwrap()).unwrap();
    for number in [1, 2] {
        let raw = [&[1], signer(number, "").public().as_bytes().as_slice()].concat();
        let key = wasmsign2::PublicKey::from_bytes(&raw).unwrap();
        key.verify(&mut both.as_slice(), None).unwrap();
        key.attach_default_key_id().verify(&mut both.as_slice(), None).unwrap();
    }
    let (_, stranger, _) = key_pair();
    let raw = [&[1], stranger.as_bytes().as_slice()].concat();
    assert!(wasmsign2::PublicKey::from_bytes(&raw).unwrap().verify(&mut both.as_slice(), None).is_err());
}

#[test]
fn we_verify_what_it_signs() {
    let (pair, ours, id) = key_pair();
    let signed = bytes(&pair.sk.sign(parsed(&module()), Some(&id)).unwrap());
    assert_eq!(read(&signed).fit(&ours), Fit::Signed);
    let (multi, _) = pair.sk.sign_multi(parsed(&module()), Some(&id), false, false).unwrap();
    assert_eq!(read(&bytes(&multi)).fit(&ours), Fit::Signed);
    let both = signer(1, "").sign(&signed).unwrap();
    assert_eq!((read(&both).fit(&ours), read(&both).fit(signer(1, "").public())), (Fit::Signed, Fit::Signed));
    let (third, other, other_id) = key_pair();
    let (three, _) = third.sk.sign_multi(parsed(&both), Some(&other_id), false, false).unwrap();
    let three = bytes(&three);
    for key in [&ours, &other, signer(1, "").public()] {
        assert_eq!(read(&three).fit(key), Fit::Signed);
    }
}

/// The convention lets a module be signed in parts, and parts be added later. The reference takes a hash of any part for
/// one of the whole; here only the whole counts.
#[test]
fn a_module_signed_in_parts_is_signed_only_as_a_whole() {
    let (pair, ours, id) = key_pair();
    let plain = [custom("eyot.manifest", MANIFEST.as_bytes()), custom("later", b"code")].concat();
    let plain = [b"\0asm\x01\0\0\0".as_slice(), &plain].concat();
    let split = parsed(&plain).split(|section| !format!("{section}").contains("later")).unwrap();
    let (signed, _) = pair.sk.sign_multi(split, Some(&id), false, false).unwrap();
    assert_eq!(read(&bytes(&signed)).fit(&ours), Fit::Signed);
    let mut cut = signed.clone();
    cut.sections.truncate(3);
    let cut = bytes(&cut);
    assert!(pair.pk.verify(&mut cut.as_slice(), None).is_ok(), "the reference would accept it");
    assert_eq!(read(&cut).fit(&ours), Fit::Altered);
    let mut extended = signed;
    extended.sections.extend(parsed(&[b"\0asm\x01\0\0\0".as_slice(), &custom("x", b"y")].concat()).sections);
    assert_eq!(read(&bytes(&extended)).fit(&ours), Fit::Altered);
}

/// A signature of a kind nobody knows yet, and one whose length is wrong, do not spoil the others.
#[test]
fn strange_signatures_are_kept_and_ignored() {
    let ours = signer(1, "");
    let signed = ours.sign(&module()).unwrap();
    let mut theirs = parsed(&signed);
    let wasmsign2::Section::Custom(section) = &theirs.sections[0] else { panic!() };
    let mut data = section.signature_data().unwrap();
    let mut strange = data.signed_hashes_set[0].signatures[0].clone();
    strange.key_id = Some(b"someone".to_vec());
    strange.signature.truncate(11);
    data.signed_hashes_set[0].signatures.insert(0, strange.clone());
    strange.alg_id = 9;
    data.signed_hashes_set[0].signatures.insert(0, strange);
    let section = wasmsign2::CustomSection::new("signature".to_owned(), data.serialize().unwrap());
    theirs.sections[0] = wasmsign2::Section::Custom(section);
    let strange = bytes(&theirs);
    assert_eq!(read(&strange).fit(ours.public()), Fit::Signed);
    assert_eq!(read(&strange).claimed_ids().len(), 1);
    let more = signer(2, "").sign(&strange).unwrap();
    assert_eq!(Module::read(&more).unwrap().fit(ours.public()), Fit::Signed);
    assert_eq!(Module::read(&more).unwrap().fit(signer(2, "").public()), Fit::Signed);
}
