//! Multiplies the reading `t` of each sensor by `factor`.
#![no_std]

use eyot_sdk::prelude::*;

eyot_sdk::function!(handle, f64 = init);

/// A message; fields not named here are ignored.
#[derive(Deserialize, Serialize)]
struct Reading {
    t: f64,
}

/// Runs once, when the function starts: read the configuration here.
fn init() -> Result<f64, Error> {
    config::number("factor", 2.0)
}

/// Runs for every message. An error means that nothing of this happens and the message goes to the dead letters.
fn handle(factor: &f64, msg: &Message<'_>) -> Result<(), Error> {
    let mut reading: Reading = json::parse(msg.payload)?;
    reading.t *= factor;
    json::emit(&["processed/", msg.level(1)?].concat(), &reading)
}

#[cfg(test)]
mod tests {
    use eyot_sdk::testing::Host;

    use super::*;

    #[test]
    fn multiplies() {
        let mut host = Host::with_manifest(include_str!("../function.toml"));
        let effects = host.run_with(init, handle, "sensors/a/raw", br#"{"t":1.25}"#);
        assert_eq!(effects.emits, [("processed/a".into(), br#"{"t":2.5}"#.to_vec())]);
    }
}
