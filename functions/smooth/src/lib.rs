//! Moving average of the last `window` readings of each topic.
#![no_std]

use eyot_sdk::prelude::*;

eyot_sdk::function!(handle, usize = init);

/// Most readings an average is made of.
const WINDOW_MAX: f64 = 256.0;

#[derive(Deserialize)]
struct Reading {
    t: f64,
}

#[derive(Serialize)]
struct Average {
    t: f64,
    /// Readings it is made of.
    n: usize,
}

/// The number of readings averaged.
fn init() -> Result<usize, Error> {
    let window = config::number("window", 8.0)?;
    if (1.0..=WINDOW_MAX).contains(&window) {
        Ok(window as usize)
    } else {
        Err(Error::BAD_CONFIG)
    }
}

fn handle(window: &usize, msg: &Message<'_>) -> Result<(), Error> {
    let reading: Reading = json::parse(msg.payload)?;
    let mut last: Vec<f64> = state::get(msg.topic)?.unwrap_or_default();
    last.push(reading.t);
    // More than one when the window was made smaller.
    last.drain(..last.len().saturating_sub(*window));
    state::set(msg.topic, &last)?;
    let average = Average { t: last.iter().sum::<f64>() / last.len() as f64, n: last.len() };
    json::emit(&["smooth/", msg.level(1)?].concat(), &average)
}

#[cfg(test)]
mod tests {
    use eyot_sdk::testing::{Effects, Host};

    use super::*;

    const MANIFEST: &str = include_str!("../function.toml");

    fn send(host: &mut Host, topic: &str, t: &str) -> Effects {
        host.run_with(init, handle, topic, format!("{{\"t\":{t}}}").as_bytes())
    }

    fn averages(host: &mut Host, topic: &str, readings: &[&str]) -> Vec<String> {
        let payload = |t: &&str| String::from_utf8(send(host, topic, t).emits[0].1.clone()).unwrap();
        readings.iter().map(payload).collect()
    }

    #[test]
    fn averages_the_last_readings_of_one_topic() {
        let mut host = Host::with_manifest(MANIFEST).config("window", "2");
        let got = averages(&mut host, "sensors/a/raw", &["1", "2", "4.5"]);
        assert_eq!(got, [r#"{"t":1.0,"n":1}"#, r#"{"t":1.5,"n":2}"#, r#"{"t":3.25,"n":2}"#]);
        assert_eq!(averages(&mut host, "sensors/b/raw", &["7"]), [r#"{"t":7.0,"n":1}"#]);
    }

    #[test]
    fn emits_under_the_name_of_the_sensor() {
        let effects = send(&mut Host::with_manifest(MANIFEST), "sensors/a/raw", "1");
        assert_eq!(effects.emits[0].0, "smooth/a");
    }

    #[test]
    fn a_smaller_window_forgets_the_oldest() {
        let mut host = Host::with_manifest(MANIFEST);
        averages(&mut host, "sensors/a/raw", &["100", "100", "1", "2"]);
        assert_eq!(averages(&mut host.config("window", "3"), "sensors/a/raw", &["3"]), [r#"{"t":2.0,"n":3}"#]);
    }

    #[test]
    fn a_malformed_reading_changes_nothing() {
        let mut host = Host::with_manifest(MANIFEST);
        send(&mut host, "sensors/a/raw", "1");
        for bad in ["", "\"1\"", "1}{", "null"] {
            assert_eq!(send(&mut host, "sensors/a/raw", bad).result, Err(Error::MALFORMED), "{bad}");
        }
        assert_eq!(host.get_state::<Vec<f64>>("sensors/a/raw").unwrap(), [1.0]);
    }

    #[test]
    fn a_window_of_nothing_does_not_start() {
        for bad in ["0", "257", "-1", "x"] {
            let effects = send(&mut Host::with_manifest(MANIFEST).config("window", bad), "sensors/a/raw", "1");
            assert_eq!(effects.result, Err(Error::BAD_CONFIG), "{bad}");
        }
    }
}
