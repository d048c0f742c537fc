//! One alert when a sensor gets too warm, and one when it has cooled down again.
#![no_std]

use eyot_sdk::prelude::*;

eyot_sdk::function!(handle, Settings = init);

#[derive(Deserialize)]
struct Reading {
    t: f64,
}

#[derive(Serialize)]
struct Alert<'a> {
    sensor: &'a str,
    /// Whether it began or ended.
    on: bool,
    t: f64,
    t_max: f64,
    /// Milliseconds since 1970.
    ts: i64,
}

struct Settings {
    t_max: f64,
    hysteresis: f64,
}

fn init() -> Result<Settings, Error> {
    Ok(Settings { t_max: config::number("t_max", 30.0)?, hysteresis: config::number("hysteresis", 1.0)? })
}

fn handle(settings: &Settings, msg: &Message<'_>) -> Result<(), Error> {
    let Reading { t } = json::parse(msg.payload)?;
    let sensor = msg.level(1)?;
    let was_on: bool = state::get(sensor)?.unwrap_or(false);
    // Between the two limits an alarm stays as it is, so that noise around one of them does not ring it.
    let is_on = if was_on { t > settings.t_max - settings.hysteresis } else { t > settings.t_max };
    if is_on == was_on {
        return Ok(());
    }
    state::set(sensor, &is_on)?;
    json::emit("cloud/alerts", &Alert { sensor, on: is_on, t, t_max: settings.t_max, ts: now_ms() })
}

#[cfg(test)]
mod tests {
    use eyot_sdk::testing::{Effects, Host};

    use super::*;

    fn host() -> Host {
        Host::with_manifest(include_str!("../function.toml")).config("t_max", "30").config("hysteresis", "2")
    }

    fn send(host: &mut Host, sensor: &str, t: &str) -> Effects {
        host.run_with(init, handle, &format!("sensors/{sensor}/raw"), format!("{{\"t\":{t}}}").as_bytes())
    }

    #[test]
    fn rings_once_on_the_way_up_and_once_on_the_way_down() {
        let mut host = host();
        let mut rung = |t: &&str| send(&mut host, "a", t).emits.len();
        let course = ["29", "30", "30.1", "35", "29", "28.1", "28", "20", "29.9", "31"];
        assert_eq!(course.iter().map(&mut rung).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn each_sensor_has_its_own_alarm() {
        let mut host = host();
        assert_eq!(send(&mut host, "a", "31").emits.len(), 1);
        assert_eq!(send(&mut host, "b", "31").emits.len(), 1);
    }

    #[test]
    fn the_alert_says_which_sensor_and_when() {
        let (topic, alert) = send(&mut host().at(1234), "a", "31.5").emits.remove(0);
        assert_eq!(topic, "cloud/alerts");
        let expected = r#"{"sensor":"a","on":true,"t":31.5,"t_max":30.0,"ts":1234}"#;
        assert_eq!(String::from_utf8(alert).unwrap(), expected);
    }

    #[test]
    fn malformed_readings_and_settings_are_errors() {
        assert_eq!(send(&mut host(), "a", "\"hot\"").result, Err(Error::MALFORMED));
        assert_eq!(send(&mut host().config("t_max", "hot"), "a", "1").result, Err(Error::BAD_CONFIG));
    }
}
