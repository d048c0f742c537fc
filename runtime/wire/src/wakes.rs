//! How many messages may come of one: what keeps functions that wake each other, or themselves, in a circle from flooding
//! their gateway.
//!
//! A message of a sensor may have [`WAKES_MAX`] others come of it. Its outputs share what is left, and take their share with
//! them (`eyot-wakes`, a user property of MQTT 5): what comes back with nothing left is dropped. So no more than this
//! come of it, whatever is emitted, by however many functions and gateways.

/// Most messages that may come of one, by way of a broker.
pub const WAKES_MAX: u32 = 16_384;

/// What each of so many outputs has, of a message that has `wakes` itself; none: as many as an output has that is the only one
/// of a message of a sensor, which need not be said.
pub fn share(wakes: Option<u32>, outputs: u32) -> Option<u32> {
    let share = wakes.unwrap_or(WAKES_MAX).saturating_sub(1) / outputs.max(1);
    (share != WAKES_MAX - 1).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages that come of one which has `wakes`, and leads to `outputs` that come back.
    fn all_of(wakes: Option<u32>, outputs: u32) -> u64 {
        let mut layer = (wakes, 1_u64);
        let mut sum = 0;
        while layer.0 != Some(0) {
            layer = (share(layer.0, outputs).or(Some(WAKES_MAX - 1)), layer.1 * u64::from(outputs));
            sum += if layer.0 == Some(0) { 0 } else { layer.1 };
        }
        sum
    }

    #[test]
    fn no_more_come_of_one_than_may() {
        for outputs in [1, 2, 3, 10, 1000, 16_000] {
            let sum = all_of(None, outputs);
            assert!(sum < u64::from(WAKES_MAX), "{outputs}: {sum}");
            assert!(sum >= 1000, "{outputs}: and what is no flood goes on: {sum}");
        }
    }

    #[test]
    fn what_need_not_be_said_is_not() {
        assert_eq!(share(None, 1), None);
        assert_eq!(share(None, 0), None, "it is not used");
        assert_eq!(share(None, 2), Some(8_191));
        assert_eq!(share(Some(1), 1), Some(0));
        assert_eq!(share(Some(0), 1), Some(0));
        assert_eq!(share(Some(3), u32::MAX), Some(0));
    }
}
