//! Readers of `eyot-trust`: nothing is ever taken for signed that was not.

use eyot_trust::command::{claimed, open, seal};
use eyot_trust::key::{KeyId, PublicKey};
use eyot_trust::policy::{Expiry, Grant, Pattern, Policy};
use eyot_trust::sign::Signer;
use eyot_trust::verify::{Fit, Module};
use eyot_wire::control::{Command, Order};

/// Unix time in seconds at which everything is read.
const NOW_S: u64 = 1_799_999_000;

/// A signer that is the same in every run.
fn signer(number: u8, name: &str) -> Signer {
    Signer::from_seed(&[number; 32], name).unwrap_or_else(|error| panic!("{error}"))
}

fn policy() -> Policy {
    Policy { grants: vec![Grant::full(signer(1, "ada").public().clone())], ..Policy::default() }
}

fn custom(name: &str, data: &[u8]) -> Vec<u8> {
    let mut section = vec![0, (1 + name.len() + data.len()) as u8, name.len() as u8];
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(data);
    section
}

fn plain() -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0\x05\x03\x01\x00\x01".to_vec();
    wasm.extend(custom("eyot.manifest", b"name = \"sample\"\nversion = \"1.2.3\"\n"));
    wasm
}

/// A module that fits a signature is the one that was signed; what is read can be signed, and reads then as signed.
pub fn signature(bytes: &[u8]) -> bool {
    let Ok(module) = Module::read(bytes) else { return false };
    let original = plain();
    let is_original = Module::read(&original).is_ok_and(|plain| plain.content_sha256() == module.content_sha256());
    for by in [signer(1, "ada"), signer(2, "bob")] {
        assert!(is_original || module.fit(by.public()) != Fit::Signed, "taken for signed");
    }
    let policy = policy();
    let pushed = policy.check_push(&module, NOW_S);
    assert!(is_original || pushed.is_err(), "an altered module may be pushed");
    assert!(pushed.err().is_none_or(|refusal| !refusal.to_string().is_empty()));
    let third = signer(3, "");
    if let Ok(signed) = third.sign(bytes) {
        let fit = Module::read(&signed).map(|module| module.fit(third.public()));
        assert_eq!(fit, Ok(Fit::Signed));
    }
    true
}

pub fn signature_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let sign = |by: Signer, wasm: &[u8]| by.sign(wasm).unwrap_or_default();
    let once = sign(signer(1, "ada"), &plain());
    vec![("plain.wasm", plain()), ("twice.wasm", sign(signer(2, "bob"), &once)), ("once.wasm", once)]
}

fn orders() -> Vec<(&'static str, Order)> {
    let order = |nonce: &str, command| Order {
        gateway: "barn-7".to_owned(),
        nonce: nonce.to_owned(),
        expires: 1_800_000_000,
        command,
    };
    let function = || "celsius".to_owned();
    let set = [("rh_max".to_owned(), "90".to_owned())].into();
    let config = Command::Config { function: function(), set, unset: vec!["unit".to_owned()] };
    vec![
        ("remove.json", order("first-nonce", Command::Remove { function: function() })),
        (
            "rollback.json",
            order("second-nonce", Command::Rollback { function: function(), to: Some("1.0.0".to_owned()) }),
        ),
        ("config.json", order("third-nonce", config)),
        ("capture.json", order("fourth-nonce", Command::Capture { function: function(), count: 7, on_error: true })),
    ]
}

/// An order that is followed is one that was signed.
pub fn command(bytes: &[u8]) -> bool {
    match open(&policy(), &["barn-7", "@barns"], bytes, NOW_S) {
        Ok((order, _)) => assert!(orders().iter().any(|(_, signed)| *signed == order), "taken for signed: {order:?}"),
        Err(error) => assert!(error.to_string().len() < 1024, "a reason is short: {error}"),
    }
    claimed(bytes).is_some()
}

pub fn command_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let sealed = |order: &Order| seal(&signer(1, "ada"), order).unwrap_or_default().into_bytes();
    orders().iter().map(|(name, order)| (*name, sealed(order))).collect()
}

/// A key that is read can be written, and reads the same; and so can moments and patterns.
pub fn key(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let _ = (Pattern::parse(&text), text.parse::<KeyId>());
    if let Some(expiry) = Expiry::parse(&text) {
        assert_eq!(Expiry::parse(&expiry.to_string()), Some(expiry));
    }
    let Ok(read) = PublicKey::parse_file(bytes) else { return false };
    let again = PublicKey::parse(&read.to_openssh());
    assert!(again.as_ref().is_ok_and(|again| *again == read && again.comment() == read.comment()), "{again:?}");
    true
}

pub fn key_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let key = signer(1, "ada@lab").public().clone();
    let hex: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let pem = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    vec![
        ("openssh.pub", key.to_openssh().into_bytes()),
        ("hex.txt", hex.into_bytes()),
        ("raw.bin", key.as_bytes().to_vec()),
        ("pem.txt", pem.to_vec()),
    ]
}
