//! Signed commands.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine as _;
use eyot_trust::command::{claimed, open, seal, CommandError};
use eyot_trust::limits::ORDER_VALID_MAX_S;
use eyot_trust::policy::{Expiry, Grant, Pattern, Policy, Role, CLOCK_SET_FROM_S};
use eyot_wire::control::{Command, Order, ORDER_MAX_BYTES};
use eyot_wire::system::SystemUpdate;
use serde_json::{json, Value};

use crate::common::signer;

const NOW_S: u64 = 1_800_000_000;
const IDS: [&str; 2] = ["barn-7", "@barns"];

/// The order of [`order`] by `signer(1)`, as joserfc 1.8 signed it.
const BY_JOSERFC: &str = concat!(
    r#"{"payload":"eyJnYXRld2F5IjoiYmFybi03Iiwibm9uY2UiOiIzZjljMmI3ZS0wMDAxIiwiZXhwaXJlcyI6MTgwMDAwMDYwMCwiY29tbWFuZCI6"#,
    r#"InJvbGxiYWNrIiwiZnVuY3Rpb24iOiJjZWxzaXVzIiwidG8iOiIxLjIuMCJ9","signature":"Gxj6hcKxldlQlnyN7HJOKI_DlrhFjv6MMpY"#,
    r#"6Rcsykt2x8COO3uqnc7gj_XmM2-UbVaDs3Hs4omaJ5qPUB6bTBQ","protected":"eyJhbGciOiJFZERTQSIsImtpZCI6IjIzNmM3OWE5MzY4"#,
    r#"Mzc1MjZlN2I4NzQ2YSJ9"}"#
);

fn order() -> Order {
    Order {
        gateway: "barn-7".to_owned(),
        nonce: "3f9c2b7e-0001".to_owned(),
        expires: NOW_S + 600,
        command: Command::Rollback { function: "celsius".to_owned(), to: Some("1.2.0".to_owned()) },
    }
}

fn grant(number: u8, name: &str) -> Grant {
    Grant::full(signer(number, name).public().clone())
}

fn trusting(grants: Vec<Grant>) -> Policy {
    Policy { grants, ..Policy::default() }
}

fn by_ada() -> String {
    seal(&signer(1, "ada"), &order()).unwrap()
}

#[track_caller]
fn refusal(policy: &Policy, text: impl AsRef<[u8]>, now_s: u64, words: &[&str]) -> CommandError {
    let error = open(policy, &IDS, text.as_ref(), now_s).unwrap_err();
    for word in words {
        assert!(error.to_string().contains(word), "no \"{word}\" in: {error}");
    }
    error
}

/// Any text, signed by `signer(1)` as it is.
fn sign_raw(header: &Value, payload: &str) -> Value {
    let key = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let (protected, payload) = (URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
    let signature = key.sign(format!("{protected}.{payload}").as_bytes());
    json!({"protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(signature)})
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": signer(1, "").public().id().to_string()})
}

fn update() -> SystemUpdate {
    SystemUpdate { node: None, board: "rpi-4b".into(), version: "0.2.0".into(), sha256: "ab".repeat(32), bytes: 1000 }
}

#[test]
fn a_system_is_replaced_only_by_keys_that_are_good_for_it() {
    let order = |update| Order { command: Command::Update(update), ..order() };
    let text = seal(&signer(1, "ada"), &order(update())).unwrap();
    for (roles, is_good) in [(vec![Role::Update], true), (vec![Role::Push, Role::Command], false)] {
        let policy = trusting(vec![Grant { roles, functions: Vec::new(), ..grant(1, "ada") }]);
        match open(&policy, &IDS, text.as_bytes(), NOW_S) {
            Ok(_) => assert!(is_good),
            Err(error) => assert!(!is_good && error.to_string().contains("\"update\""), "{error}"),
        }
    }
    let only_update = trusting(vec![Grant { roles: vec![Role::Update], ..grant(1, "ada") }]);
    refusal(&only_update, by_ada(), NOW_S, &["which may not command"]);
    let bad = SystemUpdate { version: "1\n2".into(), ..update() };
    assert!(seal(&signer(1, "ada"), &order(bad)).unwrap_err().to_string().contains("the system"));
}

#[test]
fn what_is_sealed_is_opened_by_the_gateway_it_is_for() {
    let policy = trusting(vec![grant(2, "bob"), grant(1, "ada")]);
    let name = || "celsius".to_owned();
    for command in [
        Command::Rollback { function: name(), to: None },
        Command::Promote { function: name() },
        Command::Remove { function: name() },
        Command::Config { function: name(), set: [("k".into(), "v".into())].into(), unset: vec!["l".into()] },
        Command::Capture { function: name(), count: 3, on_error: true },
        Command::Update(update()),
        Command::Update(SystemUpdate { node: Some("north".into()), ..update() }),
    ] {
        for gateway in IDS {
            let order = Order { gateway: gateway.to_owned(), command: command.clone(), ..order() };
            let text = seal(&signer(1, "ada"), &order).unwrap();
            let (opened, key) = open(&policy, &IDS, text.as_bytes(), NOW_S).unwrap();
            assert_eq!((&opened, key.comment()), (&order, "ada"));
            assert_eq!(claimed(text.as_bytes()), Some(order));
        }
    }
}

#[test]
fn other_libraries_write_and_read_the_same() {
    let (opened, _) = open(&trusting(vec![grant(1, "ada")]), &IDS, BY_JOSERFC.as_bytes(), NOW_S).unwrap();
    assert_eq!(opened, order());
    let (theirs, ours): (Value, Value) =
        (serde_json::from_str(BY_JOSERFC).unwrap(), serde_json::from_str(&by_ada()).unwrap());
    assert_eq!(ours, theirs, "Ed25519 signs the same bytes the same");
}

#[test]
fn every_byte_counts() {
    let policy = trusting(vec![grant(1, "ada")]);
    let text = by_ada().into_bytes();
    assert!(open(&policy, &IDS, &text, NOW_S).is_ok());
    for at in 0..text.len() {
        assert!(open(&policy, &IDS, &text[..at], NOW_S).is_err(), "cut at {at}");
        for change in (0..8).map(|bit| 1 << bit).chain([0x7f, 0xff]) {
            let mut altered = text.clone();
            altered[at] ^= change;
            assert!(open(&policy, &IDS, &altered, NOW_S).is_err(), "byte {at}, ^{change:#x}");
        }
    }
}

#[test]
fn a_signature_does_not_fit_another_order_or_key() {
    let policy = trusting(vec![grant(1, "ada"), grant(2, "bob")]);
    let other = seal(&signer(1, "ada"), &Order { nonce: "another-nonce".to_owned(), ..order() }).unwrap();
    let (mut mixed, other): (Value, Value) =
        (serde_json::from_str(&by_ada()).unwrap(), serde_json::from_str(&other).unwrap());
    mixed["payload"] = other["payload"].clone();
    refusal(&policy, mixed.to_string(), NOW_S, &["was altered after ada ("]);
    let by_bob: Value = serde_json::from_str(&seal(&signer(2, "bob"), &order()).unwrap()).unwrap();
    let mut claimed_for_bob: Value = serde_json::from_str(&by_ada()).unwrap();
    claimed_for_bob["protected"] = by_bob["protected"].clone();
    refusal(&policy, claimed_for_bob.to_string(), NOW_S, &["was altered after bob ("]);
    for signature in ["", "AAAA", &"A".repeat(86), &"A".repeat(128)] {
        let mut without: Value = serde_json::from_str(&by_ada()).unwrap();
        without["signature"] = json!(signature);
        refusal(&policy, without.to_string(), NOW_S, &["was altered"]);
    }
}

#[test]
fn the_form_is_strict() {
    let policy = trusting(vec![grant(1, "ada")]);
    let payload = serde_json::to_string(&order()).unwrap();
    let good = sign_raw(&header(), &payload);
    assert!(open(&policy, &IDS, good.to_string().as_bytes(), NOW_S).is_ok());
    let with = |mut value: Value, key: &str, member: Value| {
        value[key] = member;
        value
    };
    // Headers that nobody signed, or that ask for what is not supported, and keys that come along.
    for (key, member) in [("header", json!({})), ("signatures", json!([])), ("x", json!(1))] {
        refusal(&policy, with(good.clone(), key, member).to_string(), NOW_S, &["no signed command", "unknown field"]);
    }
    for (key, member) in [("crit", json!([])), ("jwk", json!({})), ("b64", json!(false)), ("typ", json!("JWT"))] {
        let text = sign_raw(&with(header(), key, member), &payload).to_string();
        refusal(&policy, text, NOW_S, &["the header: unknown field"]);
    }
    for algorithm in ["none", "HS256", "eddsa", "ES256", ""] {
        let text = sign_raw(&with(header(), "alg", json!(algorithm)), &payload).to_string();
        refusal(&policy, text, NOW_S, &["algorithm", algorithm, "only EdDSA"]);
    }
    refusal(
        &policy,
        sign_raw(&with(header(), "kid", json!("ada")), &payload).to_string(),
        NOW_S,
        &["no key by its id"],
    );
    refusal(&policy, sign_raw(&json!({"alg": "EdDSA"}), &payload).to_string(), NOW_S, &["missing field `kid`"]);
    for (from, to, words) in [
        ("\"to\":", "\"too\":", "unknown field"),
        ("\"command\":", "\"x\":1,\"command\":", "unknown field"),
        ("rollback", "explode", "unknown variant"),
        ("\"expires\":", "\"nonce\":\"another-nonce\",\"expires\":", "duplicate field"),
        ("1800000600", "-1", "invalid value"),
        ("1800000600", "1e12", "invalid type"),
        ("3f9c2b7e-0001", "short", "the nonce is not"),
        ("3f9c2b7e-0001", "3f9c2b7e 0001", "the nonce is not"),
        ("celsius", "*", "name that no function has"),
    ] {
        let text = sign_raw(&header(), &payload.replace(from, to)).to_string();
        refusal(&policy, &text, NOW_S, &["no signed command", words, "eyot tool"]);
        assert_eq!(claimed(text.as_bytes()), None);
    }
    for text in ["", "{}", "[]", "null", "celsius", "{\"protected\":\"\\u0000\"}"] {
        refusal(&policy, text, NOW_S, &["no signed command"]);
    }
    let long = with(good, "x".repeat(9000).as_str(), json!(1)).to_string();
    assert!(refusal(&policy, long, NOW_S, &["unknown field"]).to_string().len() < 300);
}

#[test]
fn size_is_bounded_at_both_ends() {
    let set = |bytes: usize| Order {
        command: Command::Config {
            function: "celsius".to_owned(),
            set: [("k".to_owned(), "v".repeat(bytes))].into(),
            unset: vec![],
        },
        ..order()
    };
    let policy = trusting(vec![grant(1, "ada")]);
    let largest = (1..ORDER_MAX_BYTES).rev().find_map(|bytes| seal(&signer(1, ""), &set(bytes)).ok()).unwrap();
    assert!(largest.len() > ORDER_MAX_BYTES - 4, "{}", largest.len());
    assert!(open(&policy, &IDS, largest.as_bytes(), NOW_S).is_ok());
    let error = seal(&signer(1, ""), &set(ORDER_MAX_BYTES)).unwrap_err().to_string();
    assert!(error.contains("at most 16384") && error.contains("fewer"), "{error}");
    refusal(&policy, format!("{largest:>0$}", ORDER_MAX_BYTES + 1), NOW_S, &["has 16385 bytes"]);
    assert_eq!(claimed(format!("{largest:>0$}", ORDER_MAX_BYTES + 1).as_bytes()), None);
    assert!(seal(&signer(1, ""), &Order { nonce: "no".to_owned(), ..order() }).is_err());
}

#[test]
fn a_key_is_good_for_what_it_is_trusted_with() {
    let text = by_ada();
    let id = signer(1, "").public().id().to_string();
    refusal(&trusting(vec![grant(2, "bob")]), &text, NOW_S, &[&id, "not trusted here", "[trust]"]);
    refusal(&Policy { allow_unsigned: true, ..Policy::default() }, &text, NOW_S, &["not trusted here"]);
    let mut policy = trusting(vec![grant(1, "ada")]);
    policy.revoked = vec![signer(1, "").public().id()];
    refusal(&policy, &text, NOW_S, &["ada (", "revoked"]);
    policy.grants.clear();
    refusal(&policy, &text, NOW_S, &[&id, "revoked"]);
    let push_only = trusting(vec![Grant { roles: vec![Role::Push], ..grant(1, "ada") }]);
    refusal(&push_only, &text, NOW_S, &["ada (", "may not command;", "`roles`"]);
    let commands_only = trusting(vec![Grant { roles: vec![Role::Command], ..grant(1, "ada") }]);
    assert!(open(&commands_only, &IDS, text.as_bytes(), NOW_S).is_ok());
    for (functions, good) in [(&["celsius"][..], true), (&["x", "cel*"], true), (&["celsi", "lab-*"], false)] {
        let functions = functions.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let policy = trusting(vec![Grant { functions, ..grant(1, "ada") }]);
        assert_eq!(open(&policy, &IDS, text.as_bytes(), NOW_S).is_ok(), good);
        if !good {
            refusal(&policy, &text, NOW_S, &["may not command \"celsius\"", "`functions`"]);
        }
    }
}

#[test]
fn time_bounds_keys_and_orders() {
    let policy = trusting(vec![grant(1, "ada")]);
    let text = by_ada();
    assert!(open(&policy, &IDS, text.as_bytes(), NOW_S + 599).is_ok());
    refusal(&policy, &text, NOW_S + 600, &["expired at 2027-01-15T08:10:00Z", "sign it anew"]);
    for now_s in [0, CLOCK_SET_FROM_S - 1] {
        refusal(&policy, &text, now_s, &["clock is not set"]);
    }
    let until = |expires| seal(&signer(1, "ada"), &Order { expires, ..order() }).unwrap();
    assert!(open(&policy, &IDS, until(NOW_S + ORDER_VALID_MAX_S).as_bytes(), NOW_S).is_ok());
    for expires in [NOW_S + ORDER_VALID_MAX_S + 1, u64::MAX] {
        refusal(&policy, until(expires), NOW_S, &["more than 30 days", "sooner"]);
    }
    let ending = trusting(vec![Grant { expires: Some(Expiry(NOW_S + 10)), ..grant(1, "ada") }]);
    assert!(open(&ending, &IDS, text.as_bytes(), NOW_S + 9).is_ok());
    refusal(&ending, &text, NOW_S + 10, &["ada (", "expired at 2027-01-15T08:00:10Z", "another key"]);
}

#[test]
fn a_command_for_another_gateway_is_refused() {
    let policy = trusting(vec![grant(1, "ada")]);
    for gateway in ["barn-8", "barn-77", "@barn-7", "barns", "@barn", "+", "#", ""] {
        let text = seal(&signer(1, "ada"), &Order { gateway: gateway.to_owned(), ..order() }).unwrap();
        assert_eq!(
            refusal(&policy, text, NOW_S, &["not for this gateway"]),
            CommandError::Elsewhere(gateway.to_owned())
        );
    }
}
