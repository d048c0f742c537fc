//! For a backlog: of each topic, keeps the first output in every so many seconds.
#![no_std]

use eyot_sdk::prelude::*;

eyot_sdk::function!(handle, i64 = init);

/// Longest time one output stands for, in seconds.
const EVERY_MAX_S: f64 = 86_400.0;

/// How much time one output stands for, in milliseconds.
fn init() -> Result<i64, Error> {
    let every_s = config::number("every", 60.0)?;
    if (1.0..=EVERY_MAX_S).contains(&every_s) {
        Ok((every_s * 1000.0) as i64)
    } else {
        Err(Error::BAD_CONFIG)
    }
}

fn handle(every_ms: &i64, msg: &Message<'_>) -> Result<(), Error> {
    // Not the time since the last one kept: a clock that steps back would keep nothing until it has caught up.
    let window = now_ms().div_euclid(*every_ms);
    if state::get(msg.topic)? == Some(window) {
        return Ok(());
    }
    state::set(msg.topic, &window)?;
    emit(msg.topic, msg.payload)
}

#[cfg(test)]
mod tests {
    use eyot_sdk::testing::Host;

    use super::*;

    const MANIFEST: &str = include_str!("../function.toml");
    const START_MS: i64 = 1_700_000_040_000;

    /// Which of these moments, in seconds, are kept on one topic.
    fn kept(mut host: Host, at_s: impl Iterator<Item = i64>) -> Vec<i64> {
        let mut kept = Vec::new();
        for s in at_s {
            host = host.at(START_MS + s * 1000);
            let effects = host.run_with(init, handle, "cloud/a", b"{\"t\":1}");
            effects.result.unwrap();
            kept.extend((!effects.emits.is_empty()).then_some(s));
        }
        kept
    }

    #[test]
    fn one_a_second_becomes_one_a_minute() {
        assert_eq!(kept(Host::with_manifest(MANIFEST), 0..200), [0, 60, 120, 180]);
    }

    #[test]
    fn the_interval_is_configured() {
        let host = Host::with_manifest(MANIFEST).config("every", "20");
        assert_eq!(kept(host, (0..60).step_by(5)), [0, 20, 40]);
        for bad in ["0", "86401", "x"] {
            let mut host = Host::with_manifest(MANIFEST).config("every", bad);
            assert_eq!(host.run_with(init, handle, "cloud/a", b"").result, Err(Error::BAD_CONFIG), "{bad}");
        }
    }

    #[test]
    fn a_clock_that_steps_back_silences_nothing() {
        assert_eq!(kept(Host::with_manifest(MANIFEST), [600, 610, 0, 10, 60].into_iter()), [600, 0, 60]);
    }

    #[test]
    fn topics_are_thinned_on_their_own_and_payloads_stay_as_they_are() {
        let mut host = Host::with_manifest(MANIFEST).at(START_MS);
        for topic in ["cloud/a", "cloud/b"] {
            let effects = host.run_with(init, handle, topic, b"\xff");
            assert_eq!(effects.emits, [(String::from(topic), b"\xff".to_vec())]);
        }
    }
}
