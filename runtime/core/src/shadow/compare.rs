//! Whether two versions made the same of a message.

use eyot_engine::{Effects, Usage};
use eyot_wire::code::Failure;
use eyot_wire::shadow::{ShadowOutcome, ShadowSample, SAMPLE_PAYLOAD_MAX_BYTES, SAMPLE_TOPIC_MAX_BYTES};
use serde_json::{Number, Value};

use crate::dead::text;
use crate::job::Parcel;

/// Payloads up to this length are compared as JSON if their bytes differ: read, they take many times as much memory.
pub const JSON_MAX_BYTES: usize = 16 << 10;

/// What a version made of a message, on its own.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub result: Result<(), Failure>,
    pub emits: Vec<(String, Vec<u8>)>,
}

impl Outcome {
    pub fn new(result: &Result<Usage, Failure>, effects: Option<&Effects>) -> Self {
        let owned = |effects: &Effects| effects.emits().map(|e| (e.topic.to_owned(), e.payload.to_vec())).collect();
        let emits = effects.filter(|_| result.is_ok()).map(owned).unwrap_or_default();
        Self { result: result.as_ref().map(drop).map_err(Failure::clone), emits }
    }

    /// Of a version that the message does not wake.
    pub fn nothing() -> Self {
        Self { result: Ok(()), emits: Vec::new() }
    }

    /// Bytes of all outputs.
    pub fn bytes(&self) -> usize {
        self.emits.iter().map(|(topic, payload)| topic.len() + payload.len()).sum()
    }
}

/// What comparing two outcomes comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Likeness {
    Same,
    SameJson,
    /// The number of the first output that differs; none if one of the two failed.
    Different(Option<usize>),
}

/// Compares outputs in order: topics by their bytes, payloads by theirs or else as JSON. Failures are alike that have the same
/// word and code.
pub(crate) fn compare(a: &Outcome, b: &Outcome) -> Likeness {
    match (&a.result, &b.result) {
        (Ok(()), Ok(())) => {}
        (Err(a), Err(b)) if a.word() == b.word() && a.code() == b.code() => return Likeness::Same,
        _ => return Likeness::Different(None),
    }
    let mut likeness = Likeness::Same;
    for at in 0..a.emits.len().max(b.emits.len()) {
        match (a.emits.get(at), b.emits.get(at)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) if a.0 == b.0 && is_same_json(&a.1, &b.1) => likeness = Likeness::SameJson,
            _ => return Likeness::Different(Some(at)),
        }
    }
    likeness
}

fn is_same_json(a: &[u8], b: &[u8]) -> bool {
    let read =
        |bytes: &[u8]| (bytes.len() <= JSON_MAX_BYTES).then(|| serde_json::from_slice::<Value>(bytes).ok()).flatten();
    read(a).zip(read(b)).is_some_and(|(a, b)| is_same_value(&a, &b))
}

/// As deep as the parser lets documents be.
fn is_same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => is_same_number(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same_value(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_same_value(a, b)))
        }
        _ => a == b,
    }
}

/// Whole numbers to the last digit, all others as they are computed with.
fn is_same_number(a: &Number, b: &Number) -> bool {
    a == b || !(is_whole(a) && is_whole(b)) && a.as_f64() == b.as_f64()
}

fn is_whole(number: &Number) -> bool {
    number.is_i64() || number.is_u64()
}

/// What a report shows of a message that came out differently.
pub(crate) fn sample(parcel: &Parcel, at: Option<usize>, active: &Outcome, shadow: &Outcome) -> ShadowSample {
    ShadowSample {
        topic: cut(parcel.topic().as_bytes(), SAMPLE_TOPIC_MAX_BYTES),
        payload: cut(&parcel.payload, SAMPLE_PAYLOAD_MAX_BYTES),
        received_at_ms: parcel.now_ms,
        output: at,
        active: shown(active, at),
        shadow: shown(shadow, at),
    }
}

fn shown(outcome: &Outcome, at: Option<usize>) -> ShadowOutcome {
    match (&outcome.result, at) {
        (Err(failure), _) => ShadowOutcome::Failure(cut(failure.to_string().as_bytes(), SAMPLE_PAYLOAD_MAX_BYTES)),
        (Ok(()), None) => ShadowOutcome::Outputs(outcome.emits.len()),
        (Ok(()), Some(at)) => match outcome.emits.get(at) {
            None => ShadowOutcome::Nothing,
            Some((topic, payload)) => ShadowOutcome::Output {
                topic: cut(topic.as_bytes(), SAMPLE_TOPIC_MAX_BYTES),
                payload: cut(payload, SAMPLE_PAYLOAD_MAX_BYTES),
            },
        },
    }
}

/// The beginning of `bytes`, of text up to the last whole character.
fn cut(bytes: &[u8], most: usize) -> String {
    let short = bytes.get(..most).unwrap_or(bytes);
    match std::str::from_utf8(short) {
        Err(error) if short.len() < bytes.len() && error.error_len().is_none() => {
            text(short.get(..error.valid_up_to()).unwrap_or_default())
        }
        _ => text(short),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn outputs(emits: &[(&str, &str)]) -> Outcome {
        let emits = emits.iter().map(|(topic, payload)| (String::from(*topic), payload.as_bytes().to_vec())).collect();
        Outcome { result: Ok(()), emits }
    }

    fn one(payload: &str) -> Outcome {
        outputs(&[("t", payload)])
    }

    #[test]
    fn bytes_first_then_json() {
        for (a, b, expected) in [
            ("x", "x", Likeness::Same),
            ("x", "y", Likeness::Different(Some(0))),
            (r#"{"a":1,"b":[2]}"#, r#"{ "b": [2.0], "a": 1e0 }"#, Likeness::SameJson),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#, Likeness::Different(Some(0))),
            ("[1,2]", "[2,1]", Likeness::Different(Some(0))),
            ("0.1", "0.10", Likeness::SameJson),
            ("0.1", "0.1000001", Likeness::Different(Some(0))),
            ("9007199254740993", "9007199254740992", Likeness::Different(Some(0))),
            ("1", "\"1\"", Likeness::Different(Some(0))),
            ("1", "1 x", Likeness::Different(Some(0))),
        ] {
            assert_eq!(compare(&one(a), &one(b)), expected, "{a} {b}");
            assert_eq!(compare(&one(b), &one(a)), expected, "{b} {a}");
        }
        let long = |space: usize| format!("{}1", " ".repeat(space));
        assert_eq!(compare(&one(&long(JSON_MAX_BYTES - 1)), &one("1")), Likeness::SameJson);
        assert_eq!(
            compare(&one(&long(JSON_MAX_BYTES)), &one("1")),
            Likeness::Different(Some(0)),
            "too long to be read"
        );
    }

    #[test]
    fn topics_order_and_number_matter() {
        let (ab, ba) = (outputs(&[("a", "1"), ("b", "2")]), outputs(&[("b", "2"), ("a", "1")]));
        assert_eq!(compare(&ab, &ba), Likeness::Different(Some(0)));
        assert_eq!(compare(&ab, &outputs(&[("a", "1")])), Likeness::Different(Some(1)));
        assert_eq!(compare(&one("1"), &outputs(&[("u", "1")])), Likeness::Different(Some(0)));
    }

    #[test]
    fn failures_are_alike_by_word_and_code() {
        let failed = |failure| Outcome { result: Err(failure), emits: Vec::new() };
        let like = |a, b| compare(&failed(a), &failed(b));
        assert_eq!(like(Failure::Code(1), Failure::Code(1)), Likeness::Same);
        assert_eq!(like(Failure::Code(1), Failure::Code(2)), Likeness::Different(None));
        assert_eq!(like(Failure::Trap("a".into()), Failure::Trap("b".into())), Likeness::Same);
        assert_eq!(like(Failure::Fuel, Failure::Deadline), Likeness::Different(None));
        assert_eq!(compare(&failed(Failure::Fuel), &one("x")), Likeness::Different(None));
    }

    #[test]
    fn samples_are_short() {
        let long = "ä".repeat(10_000);
        let parcel =
            Parcel { topic: Bytes::from(long.clone()), payload: Bytes::from(long.clone()), now_ms: 5, seed: 0 };
        let sample = sample(&parcel, Some(0), &outputs(&[(&long, &long)]), &Outcome::nothing());
        assert_eq!(sample.topic, "ä".repeat(SAMPLE_TOPIC_MAX_BYTES / 2));
        assert_eq!(sample.shadow, ShadowOutcome::Nothing);
        assert!(serde_json::to_string(&sample).unwrap().len() < 1024);
        assert_eq!(cut("aä".as_bytes(), 2), "a");
        assert_eq!(cut(b"\xff\xff", 1), "base64:/w==");
    }
}
