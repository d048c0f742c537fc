//! Host calls: floods of them, and pointers and lengths that are wrong in every way.

use super::{Attack, End, OUT_OF_FUEL};
use crate::guest::guest;

const DATA: &str = r#"(data (i32.const 16) "out/aout/bunit")"#;
const OUT: &str = "(i32.const 16) (i32.const 5)";
const BAD_POINTER: i32 = -4;
const OVER_LIMIT: i32 = -3;

fn forever(step: &str) -> String {
    format!("(loop $again {step} (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $again)) unreachable")
}

fn flood(name: &str, step: &str) -> Attack {
    Attack::new(name, guest(DATA, &forever(step)), OUT_OF_FUEL)
}

pub(super) fn all() -> Vec<Attack> {
    let mut attacks = floods();
    attacks.extend(state_floods());
    attacks.extend(pointers());
    attacks.extend(lengths());
    attacks
}

fn floods() -> Vec<Attack> {
    let emit = |payload: &str| format!("(drop (call $emit {OUT} {payload}))");
    let emit_topic = |ptr: u32, len: u32| format!("(drop (call $emit (i32.const {ptr}) (i32.const {len}) {OUT}))");
    let giant = format!("(i32.add (call $emit {OUT} (i32.const 0) (i32.const 65536)) (i32.const {}))", -OVER_LIMIT);
    let deep_topic =
        format!("(memory.fill (i32.const 1024) (i32.const 47) (i32.const 1024)) {}", forever(&emit_topic(1024, 1024)));
    vec![
        Attack::new("emit-more-than-its-output", guest(DATA, &giant), End::Nothing),
        flood("emits-of-nothing", &emit("(i32.const 0) (i32.const 0)")).limits("output = \"1MiB\""),
        flood("emits-of-much", &emit("(i32.const 0) (i32.const 65536)")).limits("output = \"1MiB\""),
        flood("emits-elsewhere", &emit_topic(17, 4)),
        Attack::new("emits-to-deep-topics", guest(DATA, &deep_topic), OUT_OF_FUEL),
        flood("emits-to-no-topic", &emit_topic(40_000, 1024)),
        flood("log-of-nothing", "(call $log (i32.const 2) (i32.const 0) (i32.const 0))"),
        flood("log-of-much", "(call $log (i32.const 2) (i32.const 0) (i32.const 65536))"),
        flood(
            "log-of-broken-text",
            "(memory.fill (i32.const 0) (i32.const 0xff) (i32.const 1024)) (call $log (i32.const -1) (i32.const 0) (i32.const 1024))",
        ),
        flood("clock", "(drop (call $now_ms))"),
        flood("random-of-little", "(drop (call $random (i32.const 0) (i32.const 1)))"),
        flood("random-of-much", "(drop (call $random (i32.const 0) (i32.const 65536)))"),
        flood("config", "(drop (call $config_get (i32.const 26) (i32.const 4) (i32.const 100) (i32.const 100)))"),
        flood("config-of-unknown", "(drop (call $config_get (i32.const 100) (i32.const 256) (i32.const 0) (i32.const 0)))"),
    ]
}

/// A key of 256 bytes that differs from others only in its last four.
const KEY: &str = "(i32.const 8192) (i32.const 256)";

fn state_floods() -> Vec<Attack> {
    let new_key = format!(
        "(i32.store (i32.const 8444) (local.get $i)) (drop (call $state_set {KEY} (i32.const 0) (i32.const 1)))"
    );
    let old_key = format!(
        "(i32.store (i32.const 8444) (i32.and (local.get $i) (i32.const 1023)))
         (drop (call $state_set {KEY} (i32.const 0) (i32.const 1)))"
    );
    let read = format!(
        "(i32.store (i32.const 8444) (local.get $i))
         (if (i32.lt_u (local.get $i) (i32.const 1024)) (then (drop (call $state_set {KEY} (i32.const 0) (i32.const 1)))))
         (drop (call $state_get {KEY} (i32.const 0) (i32.const 0)))"
    );
    let delete = format!("(i32.store (i32.const 8444) (local.get $i)) (drop (call $state_delete {KEY}))");
    let large = "(drop (call $state_set (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 60000)))";
    let alternate = "(drop (call $state_set (i32.const 16) (i32.and (local.get $i) (i32.const 1)) (i32.const 0) (i32.const 30000)))";
    let rich = "state = \"1MiB\"";
    vec![
        flood("state-keys-without-end", &new_key).limits(rich),
        flood("state-keys-again-and-again", &old_key).limits(rich),
        flood("state-reads-behind-many-writes", &read).limits(rich),
        flood("state-deletes-of-nothing", &delete).limits(rich),
        flood("state-large-value", large),
        flood("state-two-large-values", alternate),
        Attack::new(
            "state-over-its-limit",
            guest(DATA, "(i32.add (call $state_set (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 65536)) (i32.const 3))"),
            End::Nothing,
        ),
    ]
}

/// Where no bytes are: behind the end, over the end, wrapping around.
const OUTSIDE: &[(i64, i64)] =
    &[(65_536, 1), (65_535, 2), (-1, 1), (-1, 2), (-256, 256), (0x8000_0000, 8), (65_537, 0)];

/// A call with a range that is wrong and one that is right.
type Call = fn(&str, &str) -> String;

fn pointers() -> Vec<Attack> {
    let inside = "(i32.const 16) (i32.const 5)";
    let calls: [(&str, Call); 9] = [
        ("emit-topic", |bad, good| format!("(call $emit {bad} {good})")),
        ("emit-payload", |bad, good| format!("(call $emit {good} {bad})")),
        ("random", |bad, _| format!("(call $random {bad})")),
        ("state-get-key", |bad, good| format!("(call $state_get {bad} {good})")),
        ("state-get-out", |bad, good| format!("(call $state_get {good} {bad})")),
        ("state-set-key", |bad, good| format!("(call $state_set {bad} {good})")),
        ("state-set-value", |bad, good| format!("(call $state_set {good} {bad})")),
        ("state-delete", |bad, _| format!("(call $state_delete {bad})")),
        ("config-get-key", |bad, good| format!("(call $config_get {bad} {good})")),
    ];
    let mut attacks: Vec<Attack> = calls
        .iter()
        .map(|(name, call)| {
            let body: String = (1..)
                .zip(OUTSIDE)
                .map(|(number, (ptr, len))| {
                    let call = call(&format!("(i32.const {}) (i32.const {len})", *ptr as u32 as i32), inside);
                    format!("(if (i32.ne {call} (i32.const {BAD_POINTER})) (then (return (i32.const {number}))))")
                })
                .collect();
            Attack::new(format!("wrong-pointers-{name}"), guest(DATA, &format!("{body} (i32.const 0)")), End::Nothing)
        })
        .collect();
    let logs: String = OUTSIDE
        .iter()
        .map(|(ptr, len)| format!("(call $log (i32.const 0) (i32.const {}) (i32.const {len}))", *ptr as u32 as i32))
        .collect();
    attacks.push(Attack::new("wrong-pointers-log", guest(DATA, &format!("{logs} (i32.const 0)")), End::Nothing));
    attacks.push(Attack::new("overlapping-ranges", overlapping(), End::Nothing));
    attacks
}

/// Key, value and room for the answer all on top of each other.
fn overlapping() -> Vec<u8> {
    let same = "(i32.const 16) (i32.const 5) (i32.const 16) (i32.const 5)";
    guest(
        DATA,
        &format!(
            "(if (call $emit {same}) (then (return (i32.const 1))))
             (if (call $state_set {same}) (then (return (i32.const 2))))
             (if (i32.ne (call $state_get (i32.const 16) (i32.const 5) (i32.const 17) (i32.const 5)) (i32.const 5))
                 (then (return (i32.const 3))))
             (if (i64.ne (i64.load (i32.const 16)) (i64.const 0x7475612f74756f6f)) (then (return (i32.const 4))))
             (i32.const 0)"
        ),
    )
}

/// Lengths of 4 GiB: paid for before anything is looked at, so they cannot be paid.
fn lengths() -> Vec<Attack> {
    [
        ("emit", format!("(call $emit {OUT} (i32.const 0) (i32.const -1))")),
        ("emit-topic", format!("(call $emit (i32.const 0) (i32.const -1) {OUT})")),
        ("random", "(call $random (i32.const 0) (i32.const -1))".to_owned()),
        ("state-get", "(call $state_get (i32.const 16) (i32.const 5) (i32.const 0) (i32.const -1))".to_owned()),
        ("state-set", "(call $state_set (i32.const 0) (i32.const -1) (i32.const 0) (i32.const -1))".to_owned()),
        ("state-delete", "(call $state_delete (i32.const 1) (i32.const -1))".to_owned()),
        ("config-get", "(call $config_get (i32.const 0) (i32.const -1) (i32.const 0) (i32.const -1))".to_owned()),
    ]
    .into_iter()
    .map(|(name, call)| Attack::new(format!("length-of-4-gib-{name}"), guest(DATA, &call), OUT_OF_FUEL))
    .collect()
}
