//! One line of a dump: where its stamp stands, and what it is a record of.
//!
//! Four shapes are read, and of a line that has several the first in this order:
//! - `eyot-gateway`, `eyot-epoch`, `eyot-seq` as members of the line;
//! - the same as MQTT 5 user properties, as `mosquitto_sub -F %j` and `%J` write them: `properties`.`user-properties`;
//! - the gateway's JSON envelope: `gateway`, `epoch`, `seq`, `topic`, `payload` or `payload_base64`;
//! - that envelope as the `payload` of the line, as an object (`%J`) or as text (`%j`).
//!
//! A member `uplink` is the dump's own: who mixes the dumps of several uplinks adds it to tell them apart.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use eyot_wire::manifest::is_name;
use serde::de::{Deserializer, Error as _, Unexpected, Visitor};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::output::shown;

/// Longest gateway id, in bytes, as in `gateway.toml`.
const GATEWAY_ID_MAX_BYTES: usize = 64;
/// Longest reason quoted from the JSON parser, in characters.
const REASON_MAX_CHARS: usize = 200;

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    pub stamp: Stamp,
    pub uplink: Option<String>,
    /// Of topic and payload; none if the line has no payload.
    pub hash: Option<u64>,
}

/// What the gateway numbered the record with.
#[derive(Debug, PartialEq, Eq)]
pub struct Stamp {
    pub gateway: String,
    pub epoch: u64,
    /// From 1.
    pub seq: u64,
}

/// Why a line is not a record.
#[derive(Debug)]
pub struct Malformed {
    pub reason: String,
    pub remedy: &'static str,
}

const NOT_JSON: &str = "give one JSON object on each line; if the dump was cut off here, remove this line";
const NO_STAMP: &str = "keep only the lines of a gateway's outputs: with their MQTT 5 user properties \
    (mosquitto_sub -V 5 -F %j), or from an uplink with envelope = \"json\"";
const BAD_STAMP: &str = "give gateway, epoch and seq as the gateway sent them";

impl Malformed {
    fn stamp(reason: String) -> Self {
        Self { reason, remedy: BAD_STAMP }
    }
}

/// The members that matter, of an envelope and of the lines around it. Read no further than they are needed: others may
/// use the same names for something else.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Members<'a> {
    #[serde(borrow)]
    gateway: Option<&'a RawValue>,
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    payload_base64: Option<&'a RawValue>,
    #[serde(borrow)]
    uplink: Option<&'a RawValue>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
    #[serde(borrow, rename = "eyot-gateway")]
    eyot_gateway: Option<&'a RawValue>,
    #[serde(borrow, rename = "eyot-epoch")]
    eyot_epoch: Option<&'a RawValue>,
    #[serde(borrow, rename = "eyot-seq")]
    eyot_seq: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Properties<'a> {
    #[serde(borrow, rename = "user-properties")]
    user: Option<&'a RawValue>,
}

/// The user properties of an output.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Own<'a> {
    #[serde(borrow, rename = "eyot-gateway")]
    gateway: Option<&'a RawValue>,
    #[serde(borrow, rename = "eyot-epoch")]
    epoch: Option<&'a RawValue>,
    #[serde(borrow, rename = "eyot-seq")]
    seq: Option<&'a RawValue>,
}

/// A number, or the text of one as user properties have it.
#[derive(Clone, Copy)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number from 0 to 18446744073709551615")
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Count, E> {
                Ok(Count(value))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Count, E> {
                let digits = text.bytes().all(|b| b.is_ascii_digit());
                let number = text.parse().ok().filter(|_| digits);
                number.map(Count).ok_or_else(|| E::invalid_value(Unexpected::Other("other text"), &self))
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

/// Tells `null` from a member that is not there: an empty payload is `null` in mosquitto's JSON.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads an object; serde would take an array for one as well.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text);
    }
    Err(serde_json::Error::custom("it is not an object"))
}

/// Reads the line `bytes`. A payload may hold bytes that are not UTF-8, as `mosquitto_sub -F %j` writes them.
///
/// # Errors
/// It is not a JSON object, or has no stamp, or one that no gateway sends.
pub fn parse(bytes: &[u8]) -> Result<Record, Malformed> {
    let text = String::from_utf8_lossy(bytes);
    let mut record = read(&text)?;
    if let Cow::Owned(_) = text {
        if record.stamp.gateway.contains(char::REPLACEMENT_CHARACTER) {
            return Err(Malformed::stamp("the gateway id is not UTF-8".to_owned()));
        }
        // All bytes that are not UTF-8 look the same in `text`.
        record.hash = record.hash.map(|hash| {
            let mut hasher = DefaultHasher::new();
            hash.hash(&mut hasher);
            bytes.utf8_chunks().for_each(|chunk| chunk.invalid().hash(&mut hasher));
            hasher.finish()
        });
    }
    Ok(record)
}

fn read(text: &str) -> Result<Record, Malformed> {
    let line: Members<'_> = object(text).map_err(|e| not_json(&e))?;
    let uplink = line.uplink.map(uplink_name).transpose()?;
    for stamp in [line.own_stamp(), line.property_stamp(), line.envelope_stamp()] {
        if let Some(stamp) = stamp? {
            return Ok(Record { stamp, uplink, hash: line.hash() });
        }
    }
    if let Some(enveloped) = line.payload.and_then(enveloped) {
        let (stamp, hash) = enveloped?;
        return Ok(Record { stamp, uplink, hash });
    }
    let reason = "has no stamp: neither eyot-gateway, eyot-epoch and eyot-seq, nor gateway, epoch and seq".to_owned();
    Err(Malformed { reason, remedy: NO_STAMP })
}

/// The envelope that `payload` is or, as text, holds; with the hash of what is in it.
fn enveloped(payload: &RawValue) -> Option<Result<(Stamp, Option<u64>), Malformed>> {
    let text: Cow<'_, str> = match payload.get().starts_with('"') {
        true => serde_json::from_str::<String>(payload.get()).ok()?.into(),
        false => payload.get().into(),
    };
    // A payload that is no envelope is no error in the JSON of the line.
    let inner: Members<'_> = object(&text).ok()?;
    inner.envelope_stamp().transpose().map(|stamp| stamp.map(|stamp| (stamp, inner.hash())))
}

impl Members<'_> {
    fn own_stamp(&self) -> Result<Option<Stamp>, Malformed> {
        property_stamp(self.eyot_gateway, self.eyot_epoch, self.eyot_seq)
    }

    fn property_stamp(&self) -> Result<Option<Stamp>, Malformed> {
        let Some(properties) = self.properties else { return Ok(None) };
        let properties: Properties<'_> = object(properties.get()).map_err(|e| not_json(&e))?;
        let Some(user) = properties.user else { return Ok(None) };
        let own: Own<'_> = object(user.get()).map_err(|e| not_json(&e))?;
        property_stamp(own.gateway, own.epoch, own.seq)
    }

    fn envelope_stamp(&self) -> Result<Option<Stamp>, Malformed> {
        stamp([("gateway", self.gateway), ("epoch", self.epoch), ("seq", self.seq)])
    }

    fn hash(&self) -> Option<u64> {
        let payload = self.payload.or(self.payload_base64)?;
        let mut hasher = DefaultHasher::new();
        self.topic.map(RawValue::get).hash(&mut hasher);
        self.payload.is_some().hash(&mut hasher);
        payload.get().hash(&mut hasher);
        Some(hasher.finish())
    }
}

fn property_stamp(
    gateway: Option<&RawValue>,
    epoch: Option<&RawValue>,
    seq: Option<&RawValue>,
) -> Result<Option<Stamp>, Malformed> {
    stamp([("eyot-gateway", gateway), ("eyot-epoch", epoch), ("eyot-seq", seq)])
}

/// All of a stamp, or nothing of it.
fn stamp(members: [(&str, Option<&RawValue>); 3]) -> Result<Option<Stamp>, Malformed> {
    let [(gateway_name, gateway), (epoch_name, epoch), (seq_name, seq)] = members;
    let (Some(gateway), Some(epoch), Some(seq)) = (gateway, epoch, seq) else {
        if members.iter().all(|(_, value)| value.is_none()) {
            return Ok(None);
        }
        let missing: Vec<&str> = members.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
        return Err(Malformed::stamp(format!("its stamp has no {}", missing.join(" and no "))));
    };
    let gateway: String = member(gateway_name, gateway)?;
    if gateway.is_empty() || gateway.len() > GATEWAY_ID_MAX_BYTES {
        let length = gateway.len();
        return Err(Malformed::stamp(format!("{gateway_name} has {length} bytes, not 1 to {GATEWAY_ID_MAX_BYTES}")));
    }
    let Count(epoch) = member(epoch_name, epoch)?;
    let Count(seq) = member(seq_name, seq)?;
    if seq == 0 {
        return Err(Malformed::stamp(format!("{seq_name} is 0; outputs count from 1")));
    }
    Ok(Some(Stamp { gateway, epoch, seq }))
}

fn uplink_name(value: &RawValue) -> Result<String, Malformed> {
    let name: String = member("uplink", value)?;
    if is_name(&name) {
        return Ok(name);
    }
    let reason = "uplink is not the name of an uplink".to_owned();
    Err(Malformed { reason, remedy: "write the name that gateway.toml gives it" })
}

fn member<'a, T: Deserialize<'a>>(name: &str, value: &'a RawValue) -> Result<T, Malformed> {
    serde_json::from_str(value.get()).map_err(|e| Malformed::stamp(format!("{name} is not good: {}", quoted(&e))))
}

fn not_json(error: &serde_json::Error) -> Malformed {
    let reason = format!("is not a record: {} (column {})", quoted(error), error.column());
    Malformed { reason, remedy: NOT_JSON }
}

/// The parser's reason. It saw one line only, so the line number in it says nothing.
fn quoted(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    shown(reason.chars().take(REASON_MAX_CHARS).collect::<String>().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn stamp_of(line: &str) -> (String, u64, u64) {
        let stamp = parse(line.as_bytes()).unwrap().stamp;
        (stamp.gateway, stamp.epoch, stamp.seq)
    }

    #[test]
    fn every_shape_has_its_stamp() {
        let expected = ("barn-7".to_owned(), 9_007_199_254_740_991, 7);
        for line in [
            r#"{"gateway":"barn-7","epoch":9007199254740991,"seq":7,"topic":"t","payload":{"t": 1.50}}"#,
            r#"{"gateway":"barn-7","epoch":9007199254740991,"seq":7,"topic":"t","payload_base64":"b24="}"#,
            r#"{"eyot-gateway":"barn-7","eyot-epoch":"9007199254740991","eyot-seq":"7"}"#,
            r#"{"eyot-seq":7,"eyot-epoch":9007199254740991,"eyot-gateway":"barn-7","seq":"a","epoch":null}"#,
            r#"{"tst":"2026-11-24T18:24:49.548207Z+0000","topic":"t","qos":1,"retain":0,"payloadlen":11,"mid":1,"properties":{"user-properties":{"eyot-gateway":"barn-7","eyot-epoch":"9007199254740991","eyot-seq":"7","a":"x","a":"y"}},"payload":{"t":1.5}}"#,
            r#"{"topic":"t","properties":{"user-properties":{"a":"x"}},"payload":{"gateway":"barn-7","epoch":9007199254740991,"seq":7,"topic":"q","payload":1}}"#,
            r#"{"topic":"t","payload":"{\"gateway\":\"barn-7\",\"epoch\":9007199254740991,\"seq\":7,\"topic\":\"q\",\"payload\":1}"}"#,
        ] {
            assert_eq!(stamp_of(line), expected, "{line}");
        }
    }

    #[test]
    fn the_outermost_stamp_counts() {
        let inner = r#"{"gateway":"inner","epoch":1,"seq":1,"payload":1}"#;
        let line = format!(r#"{{"gateway":"outer","epoch":2,"seq":3,"payload":{inner}}}"#);
        assert_eq!(stamp_of(&line), ("outer".to_owned(), 2, 3));
    }

    #[test]
    fn what_is_no_record_says_why() {
        for (line, reason) in [
            ("[1,2]", "it is not an object (column"),
            ("{\"gateway\":", "EOF while parsing a value (column 11)"),
            ("{} {}", "trailing characters"),
            (r#"{"t":21.5}"#, "has no stamp"),
            (r#"{"gateway":"g","seq":1}"#, "its stamp has no epoch"),
            (r#"{"eyot-seq":"1"}"#, "its stamp has no eyot-gateway and no eyot-epoch"),
            (r#"{"gateway":"g","epoch":1,"seq":0}"#, "seq is 0"),
            (r#"{"gateway":"g","epoch":1,"seq":-1}"#, "expected a whole number"),
            (r#"{"gateway":"g","epoch":1,"seq":1.5}"#, "expected a whole number"),
            (r#"{"gateway":"g","epoch":1,"seq":"+1"}"#, "expected a whole number"),
            (r#"{"gateway":"g","epoch":1,"seq":""}"#, "expected a whole number"),
            (r#"{"gateway":"g","epoch":1,"seq":18446744073709551616}"#, "expected a whole number"),
            (r#"{"gateway":"g","epoch":1,"seq":"99999999999999999999999"}"#, "expected a whole number"),
            (r#"{"gateway":"g","epoch":1,"seq":1e400}"#, "number out of range"),
            (r#"{"gateway":7,"epoch":1,"seq":1}"#, "gateway is not good: invalid type"),
            (r#"{"gateway":"","epoch":1,"seq":1}"#, "gateway has 0 bytes"),
            (r#"{"gateway":"g","gateway":"h","epoch":1,"seq":1}"#, "duplicate field"),
            (r#"{"gateway":"g","epoch":1,"seq":1,"uplink":"A b"}"#, "uplink is not the name"),
            (r#"{"properties":["x"]}"#, "it is not an object"),
            (r#"{"properties":{"user-properties":["g","1","1"]}}"#, "it is not an object"),
        ] {
            let malformed = parse(line.as_bytes()).expect_err(line);
            assert!(malformed.reason.contains(reason), "{line}: {}", malformed.reason);
        }
        let long = format!(r#"{{"gateway":"{}","epoch":1,"seq":1}}"#, "g".repeat(65));
        assert!(parse(long.as_bytes()).unwrap_err().reason.contains("gateway has 65 bytes"));
    }

    #[test]
    fn a_reason_cannot_steer_a_terminal_or_fill_it() {
        let line = format!("{{\"gateway\":\"g\",\"epoch\":1,\"seq\":{{\"\\u001b[2J{}\":1}}}}", "x".repeat(10_000));
        let reason = parse(line.as_bytes()).unwrap_err().reason;
        assert!(!reason.contains('\u{1b}') && reason.len() < 400, "{reason}");
    }

    #[test]
    fn the_hash_is_of_topic_and_payload() {
        let hash = |rest: &str| parse(format!(r#"{{"gateway":"g","epoch":1,"seq":1{rest}}}"#).as_bytes()).unwrap().hash;
        let lines = [
            r#","topic":"t","payload":1"#,
            r#","topic":"t","payload":2"#,
            r#","topic":"u","payload":1"#,
            r#","payload":1"#,
            r#","payload":null"#,
            r#","payload":"MQ==""#,
            r#","payload_base64":"MQ==""#,
        ];
        let hashes: std::collections::HashSet<_> = lines.iter().map(|line| hash(line).unwrap()).collect();
        assert_eq!(hashes.len(), lines.len());
        assert_eq!(hash(r#","qos":1,"topic":"t","payload":1"#), hash(lines[0]));
        assert_eq!(hash(""), None);
    }

    #[test]
    fn a_payload_need_not_be_text() {
        let line = |byte: u8, gateway: &[u8]| {
            let head = b"{\"gateway\":\"".iter().chain(gateway).chain(b"\",\"epoch\":1,\"seq\":1,\"payload\":\"");
            head.chain(&[byte]).chain(b"\"}").copied().collect::<Vec<u8>>()
        };
        let (ff, fe) = (parse(&line(0xff, b"g")).unwrap(), parse(&line(0xfe, b"g")).unwrap());
        assert_eq!(ff.stamp, fe.stamp);
        assert_ne!(ff.hash, fe.hash);
        assert!(parse(&line(b'x', b"g\xff")).unwrap_err().reason.contains("not UTF-8"));
        assert!(parse(b"\xff\xfe\x00").unwrap_err().reason.contains("it is not an object"));
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        assert_eq!(stamp_of(&format!(r#"{{"gateway":"g","epoch":1,"seq":1,"payload":{deep}}}"#)).2, 1);
        assert_eq!(stamp_of(&format!(r#"{{"gateway":"g","epoch":1,"seq":1,"x":{deep}}}"#)).2, 1);
        assert!(parse(deep.as_bytes()).is_err());
        let seq = format!(r#"{{"gateway":"g","epoch":1,"seq":{deep}}}"#);
        assert!(parse(seq.as_bytes()).unwrap_err().reason.contains("invalid type: sequence"));
    }
}
