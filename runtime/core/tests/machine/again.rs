//! A broker delivers the pushes that it retains with each connection: what was rejected once is not tried again and again.

use crate::bench::PASS;
use crate::site::Site;

const SHADOW: &str = "[rollout]\nshadow = \"5 messages\"";

/// Fails on payloads that begin with `?`, where the version in force does not.
fn failing() -> String {
    let fails = "(if (i32.eq (i32.load8_u (local.get $p)) (i32.const 63)) (then unreachable))";
    PASS.replacen("(local $turns i32)", &format!("(local $turns i32) {fails}"), 1)
}

/// A version is pushed, and rejected with the first message. Returns its SHA-256's byte.
fn reject(site: &mut Site, version: &str) -> u8 {
    let byte = site.push("pass", version, SHADOW, &failing());
    assert_eq!(site.topic("pass").0, "shadow", "{version}");
    site.message("t", "?");
    assert_eq!(site.topic("pass").0, "rejected", "{version}");
    byte
}

/// The same module comes once more: whether it is refused, for what was said of it then.
fn is_refused(site: &mut Site, byte: u8, version: &str) -> bool {
    let next = std::mem::replace(&mut site.next, byte);
    site.push("pass", version, SHADOW, &failing());
    site.next = next;
    let topic = format!("eyot/bench/push/{}", hex::encode([byte; 32]));
    let told = site.bench.told.iter().rfind(|publish| publish.topic == topic).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.payload).unwrap();
    let reason = told["reason"].to_string();
    let is_refused = told["state"] == "rejected";
    assert!(!is_refused || reason.contains("rejected or rolled back here before: failed on 1 of 1"), "{told}");
    is_refused
}

#[test]
fn versions_that_were_rejected_before_the_last_one_are_refused_too() {
    let mut site = Site::new();
    let rejected: Vec<(u8, String)> =
        (1..=9).map(|n| (reject(&mut site, &format!("1.{n}.0")), format!("1.{n}.0"))).collect();
    for life in ["before", "after"] {
        for (byte, version) in &rejected {
            assert!(is_refused(&mut site, *byte, version), "{version}, {life} the power cut");
        }
        assert_eq!(site.active("pass"), "1.0.0");
        site.restart();
    }
    // Nine are the last and eight before it: with another one the first is forgotten.
    reject(&mut site, "1.10.0");
    assert!(!is_refused(&mut site, rejected[0].0, &rejected[0].1));
    assert!(is_refused(&mut site, rejected[2].0, &rejected[2].1));
}
