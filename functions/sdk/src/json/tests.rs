//! The reader against another parser.

use serde_json::Value as Expected;

use super::*;
use crate::error::Error;

/// Reads all of an object, down to the last value.
fn read_object(mut object: Object<'_>) -> Result<Expected, Error> {
    let mut out = serde_json::Map::new();
    while let Some((key, value)) = object.next()? {
        let key: String = serde_json::from_str(&format!("\"{key}\"")).map_err(|_| Error::MALFORMED)?;
        out.insert(key, read_value(value)?);
    }
    Ok(Expected::Object(out))
}

fn read_value(value: Value<'_>) -> Result<Expected, Error> {
    if let Ok(object) = value.object() {
        return read_object(object);
    }
    if let Ok(integer) = value.integer() {
        return Ok(integer.into());
    }
    if let Ok(number) = value.number() {
        return Ok(number.into());
    }
    if let Ok(truth) = value.boolean() {
        return Ok(truth.into());
    }
    if let Ok(text) = value.text() {
        return Ok(text.into_owned().into());
    }
    if value.is_null() {
        return Ok(Expected::Null);
    }
    let mut out = Vec::new();
    value.elements(|element| {
        out.push(read_value(element)?);
        Ok(())
    })?;
    Ok(Expected::Array(out))
}

fn read(document: &[u8]) -> Result<Expected, Error> {
    read_object(object(document)?)
}

const DOCUMENTS: [&str; 5] = [
    r#"{"device":"dev-042","t":21.37,"rh":48.2,"ts":1763956800123}"#,
    r#" { "a" : [ 1 , [ ] , { } , "x" ] , "b" : { "c" : { "d" : null } } , "e" : true , "f" : false } "#,
    r#"{"\"k\\":"\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t","":"","é":"é"}"#,
    r#"{"n":[0,-0.5,1e3,1.25E-2,-7,123456789012345]}"#,
    "{}",
];

#[test]
fn documents_read_as_another_parser_reads_them() {
    for document in DOCUMENTS {
        assert_eq!(read(document.as_bytes()), Ok(serde_json::from_str(document).unwrap()), "{document}");
    }
}

/// Changes, removes and inserts bytes, and asks both parsers whether it is still a document.
#[test]
fn damaged_documents_are_refused_or_read_alike() {
    const MARKS: &[u8] = b"{}[]\",:\\ue0189-+.tfn \x00\x1f\x7f\xc3\xa9\xff";
    let mut refused = 0;
    for document in DOCUMENTS {
        for at in 0..=document.len() {
            for &mark in MARKS {
                for skip in 0..3 {
                    let end = (at + skip).min(document.len());
                    let tail = &document.as_bytes()[end..];
                    for insert in [&[mark][..], &[]] {
                        let damaged = [&document.as_bytes()[..at], insert, tail].concat();
                        let expected = serde_json::from_slice::<Expected>(&damaged).ok().filter(Expected::is_object);
                        let got = read(&damaged).ok();
                        refused += u32::from(got.is_none());
                        assert!(alike(&got, &expected), "{}\n{got:?}\n{expected:?}", damaged.escape_ascii());
                    }
                }
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

/// Equal, but for how a number is kept and for its last bits.
fn alike(a: &Option<Expected>, b: &Option<Expected>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => alike_values(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn alike_values(a: &Expected, b: &Expected) -> bool {
    match (a, b) {
        (Expected::Number(a), Expected::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= b.abs() * 1e-14
        }
        (Expected::Array(a), Expected::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike_values(a, b))
        }
        (Expected::Object(a), Expected::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike_values(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(nested(DEPTH_MAX - 1).as_bytes()).is_ok());
    assert_eq!(read(nested(DEPTH_MAX).as_bytes()), Err(Error::MALFORMED));
    assert_eq!(read(nested(100_000).as_bytes()), Err(Error::MALFORMED));
}

#[test]
fn values_of_another_kind_are_malformed() {
    let mut fields = object(br#"{"text":"x","number":1.5,"half":"\ud800","lone":"\udc00"}"#).unwrap();
    let (_, text) = fields.next().unwrap().unwrap();
    assert_eq!((text.raw(), text.number(), text.integer()), ("\"x\"", Err(Error::MALFORMED), Err(Error::MALFORMED)));
    assert_eq!((text.boolean(), text.object().err()), (Err(Error::MALFORMED), Some(Error::MALFORMED)));
    assert_eq!(text.elements(|_| Ok(())), Err(Error::MALFORMED));
    let (_, number) = fields.next().unwrap().unwrap();
    assert_eq!((number.raw(), number.integer(), number.text()), ("1.5", Err(Error::MALFORMED), Err(Error::MALFORMED)));
    for _ in ["half", "lone"] {
        assert_eq!(fields.next().unwrap().unwrap().1.text(), Err(Error::MALFORMED));
    }
}
