//! The mock host refuses what a gateway refuses.

use eyot_sdk::prelude::*;
use eyot_sdk::testing::{run, Host};

const MANIFEST: &str = r#"
name = "test"
version = "1.0.0"
[limits]
output = "20B"
state = "10B"
[allow]
emit = ["out/+"]
[config]
key = "value"
long = "0123456789012345678901234567890123456789"
number = "2.5"
"#;

#[test]
fn emits_are_checked_against_manifest_and_topic_rules() {
    fn handle(_: &Message<'_>) -> Result<(), Error> {
        assert_eq!(emit("elsewhere", b""), Err(Error::NOT_ALLOWED));
        assert_eq!(emit("out/#", b""), Err(Error::BAD_POINTER));
        assert_eq!(emit("out/a", b"0123456789"), Ok(()));
        assert_eq!(emit("out/a", b"0"), Err(Error::OVER_LIMIT));
        emit("out/", b"")
    }
    let effects = Host::with_manifest(MANIFEST).run(handle, "in", b"");
    let expected = [("out/a".into(), b"0123456789".to_vec()), ("out/".into(), Vec::new())];
    assert_eq!((effects.result, effects.emits), (Ok(()), expected.to_vec()));
}

#[test]
fn nothing_happens_when_the_handler_fails() {
    const TOO_LATE: Error = Error::own(16);
    fn handle(_: &Message<'_>) -> Result<(), Error> {
        state::set("key", "new")?;
        emit("out/a", b"")?;
        log!("about to fail with {}", 16);
        Err(TOO_LATE)
    }
    let mut host = Host::new().state("key", "old");
    let effects = host.run(handle, "in", b"");
    assert_eq!((effects.result, effects.emits.len()), (Err(TOO_LATE), 0));
    assert_eq!(effects.logs, [(Level::Info, "about to fail with 16".into())]);
    assert_eq!(host.get_state::<String>("key").as_deref(), Some("old"));
}

#[test]
fn state_has_a_limit_and_can_be_deleted() {
    fn handle(_: &Message<'_>) -> Result<(), Error> {
        assert_eq!(state::set_bytes("k", b"012345678"), Ok(()));
        assert_eq!(state::set_bytes("l", b""), Err(Error::OVER_LIMIT));
        assert_eq!(state::set_bytes("k", b"0123456789"), Err(Error::OVER_LIMIT));
        assert_eq!(state::get_bytes("k").unwrap().as_deref(), Some(&b"012345678"[..]));
        assert_eq!(state::get_bytes(&"k".repeat(257)), Err(Error::OVER_LIMIT));
        assert_eq!((state::delete("k"), state::delete("k")), (Ok(true), Ok(false)));
        assert_eq!(state::get_bytes("k"), Ok(None));
        Ok(())
    }
    assert_eq!(Host::with_manifest(MANIFEST).run(handle, "in", b"").result, Ok(()));
}

#[test]
fn long_values_come_whole_and_foreign_ones_are_errors() {
    fn handle(_: &Message<'_>) -> Result<(), Error> {
        state::set("long", &[7u8; 1000][..])?;
        assert_eq!(state::get::<Vec<u8>>("long")?.map(|value| value.len()), Some(1000));
        assert_eq!(state::get::<(String, u64)>("long"), Err(Error::BAD_STATE));
        Ok(())
    }
    assert_eq!(run(handle, "in", b"").result, Ok(()));
}

#[test]
fn a_starting_function_has_configuration_and_log_only() {
    fn init() -> Result<String, Error> {
        assert_eq!(emit("out/a", b""), Err(Error::NOT_ALLOWED));
        assert_eq!(state::set("k", "v"), Err(Error::NOT_ALLOWED));
        assert_eq!(random(&mut [0]), Err(Error::NOT_ALLOWED));
        assert_eq!(now_ms(), 0);
        log!(Level::Warn, "starting");
        assert_eq!(config::get("missing"), Ok(None));
        assert_eq!((config::number("number", 1.0), config::number("missing", 1.0)), (Ok(2.5), Ok(1.0)));
        assert_eq!(config::number("key", 1.0), Err(Error::BAD_CONFIG));
        assert_eq!(config::get("long")?.map(|text| text.len()), Some(40));
        Ok(config::get("key")?.unwrap_or_default())
    }
    fn handle(value: &String, _: &Message<'_>) -> Result<(), Error> {
        emit("out/a", value.as_bytes())
    }
    let effects = Host::with_manifest(MANIFEST).run_with(init, handle, "in", b"");
    assert_eq!((effects.emits[0].1.as_slice(), effects.logs.len()), (&b"value"[..], 1));
}

#[test]
fn time_and_random_bytes_are_given() {
    fn handle(_: &Message<'_>) -> Result<(), Error> {
        let mut bytes = [0; 16];
        random(&mut bytes)?;
        emit("out", &[&now_ms().to_be_bytes()[..], &bytes].concat())
    }
    let payload = |seed| Host::new().at(77).seed(seed).run(handle, "in", b"").emits.remove(0).1;
    assert_eq!(payload(1)[..8], 77i64.to_be_bytes());
    assert_eq!(payload(1), payload(1));
    assert_ne!(payload(1)[8..], payload(2)[8..]);
}

#[test]
fn a_log_line_is_cut_at_a_character() {
    fn handle(_: &Message<'_>) -> Result<(), Error> {
        log!("x{}", "\u{e9}".repeat(1000));
        Ok(())
    }
    let effects = run(handle, "in", b"");
    assert_eq!(effects.logs[0].1.len(), 1023);
}

#[test]
fn a_migration_changes_the_state_and_nothing_else() {
    fn migrate(from_major: u32) -> Result<(), Error> {
        assert_eq!(
            (emit("out/a", b""), random(&mut [0; 4]), now_ms()),
            (Err(Error::NOT_ALLOWED), Err(Error::NOT_ALLOWED), 0)
        );
        assert_eq!(config::get("key")?.as_deref(), Some("value"));
        let old: u8 = state::get("k")?.unwrap_or(0);
        state::set("k", &(old + from_major as u8))?;
        log!("migrated");
        if from_major > 1 {
            return Err(Error::own(16));
        }
        Ok(())
    }
    eyot_sdk::migration!(migrate);
    let mut host = Host::with_manifest(MANIFEST).state("k", &7u8);
    let effects = host.migrate(migrate, 2);
    assert_eq!((effects.result, effects.logs.len()), (Err(Error::own(16)), 1));
    assert_eq!(host.get_state::<u8>("k"), Some(7));
    assert_eq!(host.migrate(migrate, 1).result, Ok(()));
    assert_eq!(host.get_state::<u8>("k"), Some(8));
}
