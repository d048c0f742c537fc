//! The messages. Each carries its index in `ts`, so that a result names the message it came from.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

/// Sensors that publish in turn.
pub const SENSORS: u64 = 100;
/// One message in so many is above the humidity limit, and must not come out.
const DROPPED_ONE_IN: u64 = 50;
/// `ts` of the message with index 0, in Unix ms: what a sensor would send.
const FIRST_TS: u64 = 1_700_000_000_000;

/// Whether the gateway must drop message `index`. The pattern wanders over all sensors.
pub fn is_dropped(index: u64) -> bool {
    (index + index / SENSORS) % DROPPED_ONE_IN == DROPPED_ONE_IN - 1
}

/// Topics by sensor: written once, since writing them is no part of what is measured.
#[derive(Debug)]
pub struct Topics(Vec<Bytes>);

impl Topics {
    /// What sensors publish to.
    pub fn raw() -> Self {
        Self((0..SENSORS).map(|sensor| format!("sensors/s{sensor:03}/raw").into()).collect())
    }

    /// What a gateway publishes to.
    pub fn processed() -> Self {
        Self((0..SENSORS).map(|sensor| format!("processed/s{sensor:03}").into()).collect())
    }

    /// The topic of message `index`.
    pub fn of(&self, index: u64) -> Bytes {
        self.0[(index % SENSORS) as usize].clone()
    }
}

/// Writes the payload of message `index`, about 60 bytes.
pub fn write_payload(index: u64, to: &mut BytesMut) {
    let humidity = if is_dropped(index) { 96 + index % 4 } else { 40 + index % 50 };
    let (degrees, tenths) = (15 + index / 10 % 20, index % 10);
    let (sensor, ts) = (index % SENSORS, FIRST_TS + index);
    // Writing to a buffer that grows cannot fail.
    let _ = write!(to, r#"{{"device":"s{sensor:03}","t":{degrees}.{tenths},"rh":{humidity}.5,"ts":{ts}}}"#);
}

/// The index of the message a result came from.
pub fn index_of(result: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"ts\":";
    let at = result.windows(KEY.len()).rposition(|window| window == KEY)? + KEY.len();
    let digits = result[at..].iter().skip_while(|byte| **byte == b' ').take_while(|byte| byte.is_ascii_digit());
    let ts = digits.fold(0_u64, |ts, digit| ts.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    ts.checked_sub(FIRST_TS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_names_its_message() {
        for index in [0, 99, 12_345_678] {
            let mut payload = BytesMut::new();
            write_payload(index, &mut payload);
            serde_json::from_slice::<serde_json::Value>(&payload).unwrap();
            assert_eq!(index_of(&payload), Some(index));
        }
        assert_eq!(index_of(br#"{"ts": 1700000000007}"#), Some(7));
        assert_eq!(index_of(b"{}"), None);
    }

    #[test]
    fn one_in_fifty_is_dropped_on_every_sensor() {
        let dropped: Vec<u64> = (0..SENSORS * DROPPED_ONE_IN).filter(|index| is_dropped(*index)).collect();
        assert_eq!(dropped.len() as u64, SENSORS);
        let sensors: std::collections::BTreeSet<u64> = dropped.iter().map(|index| index % SENSORS).collect();
        assert_eq!(sensors.len() as u64, SENSORS);
    }
}
