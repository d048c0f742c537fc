//! Payload envelope for uplinks without user properties: MQTT 3.1.1 with `envelope = "json"`, and all that are no brokers.
//!
//! One JSON object per output, with these members in this order:
//!
//! | member | what |
//! |---|---|
//! | `gateway` | gateway id |
//! | `epoch` | number below 2^53: of this route of this uplink, until the gateway's log is made anew |
//! | `seq` | number: counts the outputs of the epoch without gaps, from 1 |
//! | `topic` | topic the function emitted to |
//! | `payload` | the payload, if it is JSON text; otherwise absent |
//! | `payload_base64` | the payload in base64 (RFC 4648, padded), if it is not JSON text; otherwise absent |
//!
//! `(gateway, epoch, seq)` identifies the output; a receiver that has seen it drops the repetition.

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::mqtt::Stamp;

#[derive(Serialize)]
struct Envelope<'a> {
    gateway: &'a str,
    epoch: u64,
    seq: u64,
    topic: &'a str,
    #[serde(flatten)]
    payload: Payload<'a>,
}

#[derive(Serialize)]
enum Payload<'a> {
    #[serde(rename = "payload")]
    Json(&'a RawValue),
    #[serde(rename = "payload_base64")]
    Base64(String),
}

/// Wraps one output.
pub fn wrap(gateway: &str, stamp: Stamp, topic: &[u8], payload: &[u8]) -> Bytes {
    let payload = match serde_json::from_slice::<&RawValue>(payload) {
        Ok(json) => Payload::Json(json),
        Err(_) => Payload::Base64(STANDARD.encode(payload)),
    };
    let topic = String::from_utf8_lossy(topic);
    let envelope = Envelope { gateway, epoch: stamp.epoch, seq: stamp.seq, topic: &topic, payload };
    // Nothing in it can fail to serialize: no map keys, no floats, no I/O.
    Bytes::from(serde_json::to_vec(&envelope).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(payload: &[u8]) -> String {
        let stamp = Stamp { epoch: 9_007_199_254_740_991, seq: 7 };
        String::from_utf8(wrap("barn-7", stamp, b"cloud/\"q\"", payload).to_vec()).unwrap()
    }

    #[test]
    fn json_stays_json_and_anything_else_is_base64() {
        let head = r#"{"gateway":"barn-7","epoch":9007199254740991,"seq":7,"topic":"cloud/\"q\"","#;
        for (payload, tail) in [
            (&br#"{"t": 1.50}"#[..], r#""payload":{"t": 1.50}}"#),
            (b"21.5", r#""payload":21.5}"#),
            (b"12345678901234567890123", r#""payload":12345678901234567890123}"#),
            (b"on", r#""payload_base64":"b24="}"#),
            (b"\xff\x00", r#""payload_base64":"/wA="}"#),
            (b"", r#""payload_base64":""}"#),
            (b"{} {}", r#""payload_base64":"e30ge30="}"#),
        ] {
            let text = wrapped(payload);
            assert_eq!(text, format!("{head}{tail}"));
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
}
