//! What a key is trusted with.

use eyot_trust::policy::{unix_s, Expiry, Grant, Pattern, Policy, Reason, Refusal, Role, CLOCK_SET_FROM_S};
use eyot_trust::verify::Module;
use std::time::{Duration, UNIX_EPOCH};

use crate::common::{custom, module, read, signer};

const NOW_S: u64 = 1_800_000_000;

fn grant(number: u8, name: &str) -> Grant {
    Grant::full(signer(number, name).public().clone())
}

fn trusting(grants: Vec<Grant>) -> Policy {
    Policy { grants, ..Policy::default() }
}

fn signed_by(numbers: &[u8]) -> Vec<u8> {
    numbers.iter().fold(module(), |wasm, number| signer(*number, "").sign(&wasm).unwrap())
}

#[track_caller]
fn refusal(policy: &Policy, wasm: &[u8], now_s: u64, words: &[&str]) -> Refusal {
    let error = policy.check_push(&read(wasm), now_s).unwrap_err();
    for word in words {
        assert!(error.to_string().contains(word), "no \"{word}\" in: {error}");
    }
    error
}

#[test]
fn one_good_signer_suffices_and_strangers_do_not_matter() {
    let policy = trusting(vec![grant(1, "ada"), grant(2, "bob")]);
    for (signers, vouch) in [(&[1][..], 1), (&[2], 1), (&[1, 2], 2), (&[9, 1], 1), (&[1, 9, 8], 1)] {
        assert_eq!(policy.check_push(&read(&signed_by(signers)), NOW_S).unwrap().len(), vouch, "{signers:?}");
    }
    let stranger = signer(9, "").public().id().to_string();
    refusal(&policy, &signed_by(&[9]), NOW_S, &["no key that is trusted here", &stranger, "[trust]"]);
    assert_eq!(refusal(&policy, &module(), NOW_S, &["is not signed", "eyot sign"]), Refusal::Unsigned);
    refusal(&Policy::default(), &signed_by(&[1]), NOW_S, &["no key that is trusted"]);
}

#[test]
fn a_key_ends_when_it_expires() {
    let end = Expiry::parse("2027-01-15T08:00:00Z").unwrap();
    assert_eq!(end, Expiry(NOW_S));
    let policy = trusting(vec![Grant { expires: Some(end), ..grant(1, "ada") }, grant(2, "bob")]);
    let wasm = signed_by(&[1]);
    assert!(policy.check_push(&read(&wasm), NOW_S - 1).is_ok());
    let words = ["ada (", "expired at 2027-01-15T08:00:00Z", "another key"];
    refusal(&policy, &wasm, NOW_S, &words);
    assert!(policy.check_push(&read(&signed_by(&[1, 2])), NOW_S).is_ok(), "the other signer is good");
    refusal(&policy, &wasm, 0, &["clock is not set"]);
    refusal(&policy, &wasm, CLOCK_SET_FROM_S - 1, &["clock is not set"]);
    assert!(policy.check_push(&read(&signed_by(&[2])), 0).is_ok(), "a key without end needs no clock");
}

#[test]
fn a_revoked_key_is_good_for_nothing() {
    let mut policy = trusting(vec![grant(1, "ada"), grant(2, "bob")]);
    policy.revoked = vec![signer(1, "").public().id(), signer(3, "").public().id()];
    refusal(&policy, &signed_by(&[1]), NOW_S, &["ada (", "revoked"]);
    refusal(&policy, &signed_by(&[3]), NOW_S, &[&signer(3, "").public().id().to_string(), "revoked"]);
    assert_eq!(policy.check_push(&read(&signed_by(&[1, 2])), NOW_S).unwrap(), [signer(2, "").public()]);
    policy.allow_unsigned = true;
    refusal(&policy, &signed_by(&[1]), NOW_S, &["revoked"]);
}

#[test]
fn roles_and_functions_bound_a_key() {
    let of = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect::<Vec<_>>();
    let wasm = signed_by(&[1]);
    let policy = trusting(vec![Grant { roles: vec![Role::Command], ..grant(1, "ada") }]);
    refusal(&policy, &wasm, NOW_S, &["ada (", "may not push;", "`roles`"]);
    for (functions, good) in
        [(&["sample"][..], true), (&["sam*"], true), (&["x", "*"], true), (&["samples", "am*", "sampl"], false)]
    {
        let policy = trusting(vec![Grant { functions: of(functions), ..grant(1, "ada") }]);
        assert_eq!(policy.check_push(&read(&wasm), NOW_S).is_ok(), good, "{functions:?}");
        if !good {
            refusal(&policy, &wasm, NOW_S, &["ada (", "may not push \"sample\"", "`functions`"]);
        }
    }
    for bad in ["", "Lab", "a b", "lab-*x", "**", "lab/*", &"x".repeat(33)] {
        assert_eq!(Pattern::parse(bad), None, "{bad}");
    }
    assert_eq!(
        (Role::parse("push"), Role::parse("command"), Role::parse("Push")),
        (Some(Role::Push), Some(Role::Command), None)
    );
}

#[test]
fn every_reason_is_told() {
    let policy = trusting(vec![
        Grant { expires: Some(Expiry(CLOCK_SET_FROM_S)), ..grant(1, "ada") },
        Grant { roles: vec![], ..grant(2, "bob") },
    ]);
    let error = refusal(&policy, &signed_by(&[1, 2]), NOW_S, &["ada (", "expired", "; and ", "bob (", "may not push"]);
    let Refusal::NotEnough(reasons) = error else { panic!("{error}") };
    assert_eq!(reasons[1].1, Reason::NotForPush);
}

#[test]
fn unsigned_modules_pass_only_where_that_is_allowed() {
    let policy = Policy { allow_unsigned: true, ..trusting(vec![grant(1, "ada")]) };
    assert_eq!(policy.check_push(&read(&module()), NOW_S), Ok(vec![]));
    assert_eq!(policy.check_push(&read(&signed_by(&[9])), NOW_S), Ok(vec![]));
    assert_eq!(policy.check_push(&read(&signed_by(&[1])), NOW_S).unwrap().len(), 1);
    let altered = [signed_by(&[1]), custom("x", b"")].concat();
    refusal(&policy, &altered, NOW_S, &["altered after ada ("]);
}

#[test]
fn dates_are_read_and_shown() {
    assert_eq!(Expiry::parse("2027-01-01").map(|at| at.to_string()).as_deref(), Some("2027-01-01T00:00:00Z"));
    for bad in
        ["", "2027", "2027-13-01", "2027-02-30", "1969-12-31", "tomorrow", "2027-01-01T00:00:00+01:00", "éé7-01-01"]
    {
        assert_eq!(Expiry::parse(bad), None, "{bad}");
    }
    assert_eq!(Expiry(u64::MAX).to_string(), format!("Unix time {}", u64::MAX));
    assert_eq!(unix_s(UNIX_EPOCH - Duration::from_secs(5)), 0);
}

/// A signature that names no key, as wasmsign2 makes it unless told otherwise.
#[test]
fn a_signature_without_a_name_is_a_strangers() {
    let key = wasmsign2::KeyPair::generate();
    let own = eyot_trust::key::PublicKey::parse_file(&key.pk.to_bytes()).unwrap();
    let parsed = wasmsign2::Module::deserialize(&mut module().as_slice()).unwrap();
    let mut signed = Vec::new();
    key.sk.sign(parsed, None).unwrap().serialize(&mut signed).unwrap();
    let policy = trusting(vec![Grant::full(own)]);
    assert!(Module::read(&signed).unwrap().is_signed());
    refusal(&policy, &signed, NOW_S, &["names its key", "eyot sign"]);
}
