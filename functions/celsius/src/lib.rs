//! Turns readings in degrees Celsius into Fahrenheit and drops those too damp to be trusted.
#![no_std]

use eyot_sdk::prelude::*;

eyot_sdk::function!(handle, Settings = init);

#[derive(Deserialize, Serialize)]
struct Reading {
    device: String,
    /// Degrees, written with all digits of the `f64`.
    t: f64,
    /// Per cent.
    rh: f64,
    /// Milliseconds since 1970.
    ts: i64,
}

struct Settings {
    rh_max: f64,
    out: String,
}

fn init() -> Result<Settings, Error> {
    Ok(Settings {
        rh_max: config::number("rh_max", 95.0)?,
        out: config::get("out")?.unwrap_or_else(|| "processed".into()),
    })
}

fn handle(settings: &Settings, msg: &Message<'_>) -> Result<(), Error> {
    let mut reading: Reading = json::parse(msg.payload)?;
    if reading.rh > settings.rh_max {
        return Ok(());
    }
    reading.t = reading.t * 1.8 + 32.0;
    json::emit(&[&settings.out, "/", msg.level(1)?].concat(), &reading)
}

#[cfg(test)]
mod tests {
    use eyot_sdk::testing::{Effects, Host};

    use super::*;

    fn send(host: &mut Host, payload: &str) -> Effects {
        host.run_with(init, handle, "sensors/17/raw", payload.as_bytes())
    }

    fn host() -> Host {
        Host::with_manifest(include_str!("../function.toml"))
    }

    #[test]
    fn converts_and_keeps_the_other_fields() {
        let effects =
            send(&mut host(), r#"{ "ts": 1700000000123, "rh": 48.20, "t": 21.37, "device": "d\n17", "x": [] }"#);
        let (topic, payload) = &effects.emits[0];
        assert_eq!(topic, "processed/17");
        let expected = r#"{"device":"d\n17","t":70.46600000000001,"rh":48.2,"ts":1700000000123}"#;
        assert_eq!(core::str::from_utf8(payload).unwrap(), expected);
    }

    #[test]
    fn drops_damp_readings() {
        for (rh, emits) in [("94.9", 1), ("95", 1), ("95.1", 0), ("100", 0)] {
            let effects = send(&mut host(), &format!(r#"{{"device":"d","t":0,"rh":{rh},"ts":1}}"#));
            assert_eq!((effects.result, effects.emits.len()), (Ok(()), emits), "{rh}");
        }
    }

    #[test]
    fn out_is_the_first_level_of_the_result() {
        let effects = send(&mut host().config("out", "cloud"), r#"{"device":"d","t":-40,"rh":1,"ts":1}"#);
        assert_eq!(effects.emits, [("cloud/17".into(), br#"{"device":"d","t":-40.0,"rh":1.0,"ts":1}"#.to_vec())]);
    }

    #[test]
    fn malformed_readings_are_errors() {
        for bad in ["", "21", "{}", r#"{"device":"d","t":"1","rh":1,"ts":1}"#, r#"{"device":"d","t":1,"rh":1,"ts":1"#] {
            assert_eq!(send(&mut host(), bad).result, Err(Error::MALFORMED), "{bad}");
        }
    }
}
