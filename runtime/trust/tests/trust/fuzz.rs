//! Whatever bytes come, the parsers answer: they never panic, and never take for signed what was not.
//!
//! `EYOT_FUZZ_SEED` starts from another seed, `EYOT_FUZZ_ROUNDS` runs longer.

use eyot_trust::command::{claimed, open, seal};
use eyot_trust::key::PublicKey;
use eyot_trust::policy::{Expiry, Grant, Pattern, Policy};
use eyot_trust::verify::{Fit, Module};
use eyot_wire::control::{Command, Order};
use fastrand::Rng;

use crate::common::{module, signer};

const ROUNDS: u64 = 20_000;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Some bytes changed, cut out, doubled or put in.
fn mangle(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..6) {
            0 if at < bytes.len() => bytes[at] = rng.u8(..),
            1 if at < bytes.len() => bytes[at] = *rng.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap(),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.u8(..)),
            4 => drop(bytes.drain(at..bytes.len().min(at + rng.usize(..40)))),
            _ => {
                let from = bytes[at..bytes.len().min(at + rng.usize(..120))].to_vec();
                let to = rng.usize(..=bytes.len());
                bytes.splice(to..to, from);
            }
        }
    }
}

#[test]
fn mangled_modules_are_never_taken_for_signed() {
    let seed = from_env("EYOT_FUZZ_SEED", 1);
    let (ada, bob) = (signer(1, "ada"), signer(2, "bob"));
    let plain = module();
    let originals = [plain.clone(), ada.sign(&plain).unwrap(), bob.sign(&ada.sign(&plain).unwrap()).unwrap()];
    let mut read = 0;
    for round in seed..seed + from_env("EYOT_FUZZ_ROUNDS", ROUNDS) {
        let mut rng = Rng::with_seed(round);
        let mut wasm = rng.choice(&originals).unwrap().clone();
        mangle(&mut rng, &mut wasm);
        let Ok(module) = Module::read(&wasm) else { continue };
        read += 1;
        let is_original =
            wasm.ends_with(&plain[8..]) && module.content_sha256() == Module::read(&plain).unwrap().content_sha256();
        for signer in [&ada, &bob] {
            let fits = module.fit(signer.public()) == Fit::Signed;
            assert!(!fits || is_original, "EYOT_FUZZ_SEED={round}: taken for signed");
        }
        // What reads can be signed or is refused, and what is signed reads.
        if let Ok(signed) = signer(3, "").sign(&wasm) {
            let fit = Module::read(&signed).unwrap().fit(signer(3, "").public());
            assert_eq!(fit, Fit::Signed, "EYOT_FUZZ_SEED={round}");
        }
    }
    assert!(read > 100, "only {read} modules were read: the corpus shows nothing");
}

#[test]
fn mangled_texts_are_read_or_refused() {
    let seed = from_env("EYOT_FUZZ_SEED", 1);
    let key = signer(1, "ada@lab").public().clone();
    let pem = wasmsign2::PublicKey::from_bytes(&[&[1], key.as_bytes().as_slice()].concat()).unwrap().to_pem();
    let originals =
        [key.to_openssh(), hex::encode(key.as_bytes()), pem, "2027-01-01T00:00:00Z".to_owned(), "lab-*".to_owned()];
    for round in seed..seed + from_env("EYOT_FUZZ_ROUNDS", ROUNDS) {
        let mut rng = Rng::with_seed(round);
        let mut bytes = rng.choice(&originals).unwrap().clone().into_bytes();
        mangle(&mut rng, &mut bytes);
        if let Ok(read) = PublicKey::parse_file(&bytes) {
            let again = PublicKey::parse(&read.to_openssh());
            assert_eq!(again.as_ref(), Ok(&read), "EYOT_FUZZ_SEED={round}");
            assert_eq!(again.unwrap().comment(), read.comment(), "EYOT_FUZZ_SEED={round}");
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = (PublicKey::parse(&text), Pattern::parse(&text), Expiry::parse(&text).map(|at| at.to_string()));
    }
}

#[test]
fn mangled_commands_are_never_followed() {
    let seed = from_env("EYOT_FUZZ_SEED", 1);
    let policy = Policy { grants: vec![Grant::full(signer(1, "ada").public().clone())], ..Policy::default() };
    let orders = ["first-nonce", "second-nonce"].map(|nonce| Order {
        gateway: "barn-7".to_owned(),
        nonce: nonce.to_owned(),
        expires: 1_800_000_000,
        command: Command::Remove { function: "celsius".to_owned() },
    });
    let originals = orders.each_ref().map(|order| seal(&signer(1, "ada"), order).unwrap());
    let mut readable = 0;
    for round in seed..seed + from_env("EYOT_FUZZ_ROUNDS", ROUNDS) {
        let mut rng = Rng::with_seed(round);
        let mut text = rng.choice(&originals).unwrap().clone().into_bytes();
        mangle(&mut rng, &mut text);
        readable += u32::from(claimed(&text).is_some());
        if let Ok((order, _)) = open(&policy, &["barn-7"], &text, 1_799_999_000) {
            assert!(orders.contains(&order), "EYOT_FUZZ_SEED={round}: taken for signed");
        }
    }
    assert!(readable > 100, "only {readable} texts were read: the corpus shows nothing");
}
