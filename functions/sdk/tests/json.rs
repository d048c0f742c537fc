//! What the documentation of `json` promises, whatever the version of the library below.

use std::borrow::Cow;
use std::collections::BTreeMap;

use eyot_sdk::prelude::*;
use eyot_sdk::testing::run;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Reading<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    t: f64,
    n: Option<u8>,
}

fn reading(document: &str) -> Result<Reading<'_>, Error> {
    json::parse(document.as_bytes())
}

#[test]
fn fields_come_in_any_order_and_foreign_ones_are_skipped() {
    let expected = Reading { id: "a\n\u{e9}\u{1f600}".into(), t: -2.5, n: None };
    let document = " {\"x\":[{\"t\":[]},null,\"\\\"}\"], \"t\" : -25e-1,\"id\":\"a\\n\u{e9}\\ud83d\\ude00\"}\r\n";
    assert_eq!(reading(document), Ok(expected));
}

#[test]
fn what_is_not_the_type_or_no_json_is_malformed() {
    assert!(reading(r#"{"id":"a","t":1,"n":2}"#).is_ok());
    for bad in [
        "",
        "null",
        "{}",
        r#"{"id":"a","t":1"#,
        r#"{"id":"a","t":1}}"#,
        r#"{"id":"a","t":1,}"#,
        r#"{"id":"a","t":"1"}"#,
        r#"{"id":"a","t":null}"#,
        r#"{"id":"a","t":1e400}"#,
        r#"{"id":"a","t":01}"#,
        r#"{"id":"a","t":1,"t":2}"#,
        r#"{"id":"a","t":1,"n":256}"#,
        r#"{"id":"\ud800","t":1}"#,
        r#"{"id":"a","t":1,"x":@}"#,
    ] {
        assert_eq!(reading(bad), Err(Error::MALFORMED), "{bad}");
    }
    assert_eq!(json::parse::<Reading<'_>>(b"{\"id\":\"\xff\",\"t\":1}"), Err(Error::MALFORMED));
}

#[test]
fn borrowed_text_has_no_escapes() {
    assert_eq!(json::parse::<&str>(br#""plain""#), Ok("plain"));
    assert_eq!(json::parse::<&str>(br#""a\nb""#), Err(Error::MALFORMED));
}

#[test]
fn fifteen_digits_are_exact() {
    for text in ["21.37", "-40", "0.1", "1e22", "1.5E-7", "999999999999999", "0.000000000000001"] {
        assert_eq!(json::parse::<f64>(text.as_bytes()), Ok(text.parse().unwrap()), "{text}");
    }
}

#[test]
fn nesting_is_skipped_or_refused() {
    const DEPTH: usize = 250_000;
    let nested = format!(r#"{{"id":"a","t":1,"x":{}{}}}"#, "[".repeat(DEPTH), "]".repeat(DEPTH));
    assert!(reading(&nested).is_ok());
    assert_eq!(reading(&nested[..DEPTH]), Err(Error::MALFORMED));

    #[derive(Debug, Deserialize, PartialEq)]
    struct Nest(Vec<Nest>);
    let nest = |depth| json::parse::<Nest>(("[".repeat(depth) + &"]".repeat(depth)).as_bytes());
    assert!(nest(127).is_ok());
    assert_eq!(nest(DEPTH), Err(Error::MALFORMED));
}

#[test]
fn documents_are_written_in_the_order_of_the_type() {
    let document = |t| json::to_vec(&Reading { id: "a\"\u{1f}".into(), t, n: Some(1) });
    assert_eq!(document(21.0), Ok(br#"{"id":"a\"\u001f","t":21.0,"n":1}"#.to_vec()));
    assert_eq!(document(0.1 + 0.2), Ok(br#"{"id":"a\"\u001f","t":0.30000000000000004,"n":1}"#.to_vec()));
    assert_eq!(document(f64::NAN), Ok(br#"{"id":"a\"\u001f","t":null,"n":1}"#.to_vec()));
    assert_eq!(json::to_vec(&BTreeMap::from([((1, 2), 3)])), Err(Error::NOT_ENCODABLE));
}

#[test]
fn emits_what_it_writes() {
    let effects = run(|_| json::emit("out", &[1, 2]), "in", b"");
    assert_eq!(effects.emits, [("out".into(), b"[1,2]".to_vec())]);
    let effects = run(|_| json::emit("out/#", &[1, 2]), "in", b"");
    assert_eq!(effects.result, Err(Error::BAD_POINTER));
}
