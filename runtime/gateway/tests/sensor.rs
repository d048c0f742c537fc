//! Sensors at the gateway: `[[sensor]]`, and a thermometer in a directory like the kernel's.
#![cfg(feature = "sensors")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::Path;

use common::function::echo;
use common::{options, plain, Client, TempDir};
use eyot_gateway::config::{Config, ConfigError};
use eyot_gateway::metrics::render;
use eyot_gateway::mqtt::Version;
use eyot_gateway::Gateway;
use serde_json::Value;

const ADDRESS: &str = "28-0316a2794caa";

fn parse(sensors: &str) -> Result<Config, ConfigError> {
    let text = format!("[gateway]\nid = \"g\"\n[broker]\nurl = \"mqtt://127.0.0.1:1883\"\n{sensors}");
    Config::parse(Path::new("/etc/eyot/gateway.toml"), &text)
}

#[test]
fn sensors_are_on_buses() {
    let config = parse(
        "[[sensor]]\nkind = \"bme280\"\nbus = \"/dev/i2c-1\"\ntopic = \"a\"\n\
         [[sensor]]\nkind = \"sht4x\"\nbus = \"/dev/i2c-1\"\naddress = 0x45\ntopic = \"b\"\nevery = \"100ms\"\n\
         [[sensor]]\nkind = \"ads1115\"\nbus = \"/dev/i2c-1\"\ninput = \"A3\"\nrange = \"4.096V\"\ntopic = \"c\"\n\
         [[sensor]]\nkind = \"ds18b20\"\naddress = \"28-0316a2794caa\"\ntopic = \"d\"\n\
         [[sensor]]\nkind = \"pin\"\nbus = \"/dev/gpiochip0\"\nline = 17\ntopic = \"e\"\n",
    )
    .unwrap();
    let all: Vec<_> = config.sensors.iter().map(|sensor| sensor.report().at).collect();
    let expected = [
        "/dev/i2c-1 0x76",
        "/dev/i2c-1 0x45",
        "/dev/i2c-1 0x48 A3",
        "/sys/bus/w1/devices/28-0316a2794caa",
        "/dev/gpiochip0 17",
    ];
    assert_eq!(all, expected);
    assert_eq!(config.sensors[1].every.as_millis(), 100);
}

#[test]
fn what_is_wrong_with_a_sensor_is_said_with_its_key() {
    const I2C: &str = "[[sensor]]\nbus = \"/dev/i2c-1\"\n";
    const W1: &str = "[[sensor]]\nkind = \"ds18b20\"\ntopic = \"a\"\n";
    let i2c = |rest: &str| format!("{I2C}{rest}");
    for (sensor, key, needle) in [
        (i2c("topic = \"a\""), "sensor.kind", "bme280, sht4x"),
        (i2c("kind = \"dht22\"\ntopic = \"a\""), "sensor.kind", "bme280, sht4x"),
        (i2c("kind = \"sht4x\""), "sensor.topic", "missing"),
        (i2c("kind = \"sht4x\"\ntopic = \"a/+\""), "sensor.topic", "a/+"),
        (i2c("kind = \"sht4x\"\ntopic = \"eyot/g/push\""), "sensor.topic", "eyot/"),
        (
            i2c(&format!("kind = \"sht4x\"\ntopic = \"a\"\n{I2C}kind = \"bme280\"\ntopic = \"a\"")),
            "sensor.topic",
            "another",
        ),
        (i2c("kind = \"sht4x\"\ntopic = \"a\"\naddress = 0x76"), "sensor.address", "68 to 70"),
        (i2c("kind = \"sht4x\"\ntopic = \"a\"\nevery = \"99ms\""), "sensor.every", "100ms"),
        (i2c("kind = \"sht4x\"\ntopic = \"a\"\ninput = \"A0\""), "sensor.input", "not a key"),
        (i2c("kind = \"ads1115\"\ntopic = \"a\"\ninput = \"A4\""), "sensor.input", "A3"),
        (i2c("kind = \"ads1115\"\ntopic = \"a\"\nrange = \"5V\""), "sensor.range", "6.144V"),
        (i2c("kind = \"pin\"\ntopic = \"a\""), "sensor.line", "missing"),
        ("[[sensor]]\nkind = \"sht4x\"\ntopic = \"a\"".to_owned(), "sensor.bus", "/dev/i2c-1"),
        ("[[sensor]]\nkind = \"sht4x\"\nbus = \"i2c-1\"\ntopic = \"a\"".to_owned(), "sensor.bus", "no path"),
        (W1.to_owned(), "sensor.address", "missing"),
        (format!("{W1}address = \"../../etc\""), "sensor.address", "no 1-Wire"),
        (format!("{W1}address = 0x28"), "sensor.address", "string"),
    ] {
        let error = parse(&sensor).unwrap_err();
        let found = error.problems.iter().filter(|p| p.key == key && p.reason.contains(needle)).count();
        assert_eq!((found, error.problems.len()), (1, 1), "{sensor}: {error}");
    }
    let many: String = (0..33).map(|n| i2c(&format!("kind = \"sht4x\"\ntopic = \"t{n}\"\n"))).collect();
    assert!(parse(&many).unwrap_err().to_string().contains("at most 32"));
}

/// A bus with one thermometer, as `w1_therm` shows it.
struct Bus(TempDir);

impl Bus {
    fn says(&self, verdict: &str, t: i32) {
        let device = self.0 .0.join(ADDRESS);
        fs::create_dir_all(&device).unwrap();
        let bytes = "72 01 4b 46 7f ff 0e 10 57";
        // As a whole: the kernel shows no half of a measurement either.
        let text = format!("{bytes} : crc=57 {verdict}\n{bytes} t={t}\n");
        fs::write(device.join("new"), text).unwrap();
        fs::rename(device.join("new"), device.join("w1_slave")).unwrap();
    }
}

async fn status(watcher: &mut Client, is_as_wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let message = watcher.message().await;
        watcher.ack(watcher.conn, message.packet_id);
        let status: Value = serde_json::from_slice(&message.payload).unwrap();
        if is_as_wanted(&status["sensors"]) {
            return status;
        }
    }
}

#[tokio::test]
async fn samples_are_messages_and_a_sensor_that_fails_stops_nothing() {
    let (dir, bus) = (TempDir::new(), Bus(TempDir::new()));
    bus.says("YES", 21_375);
    let sensor = |topic: &str| {
        let devices = bus.0 .0.display();
        format!("[[sensor]]\nkind = \"ds18b20\"\nbus = \"{devices}\"\naddress = \"{ADDRESS}\"\nevery = \"100ms\"\ntopic = \"{topic}\"\n")
    };
    let text = format!(
        "[gateway]\nid = \"g\"\ndata_dir = \"data\"\n[broker]\nurl = \"embedded://127.0.0.1:0\"\n\
         [spool]\ncommit_window = \"1ms\"\n[[function]]\npath = \"{}\"\n{}{}\
         [[sensor]]\nkind = \"bme280\"\nbus = \"/dev/i2c-of-nobody\"\nevery = \"100ms\"\ntopic = \"nobody\"\n",
        echo(&dir).display(),
        sensor("barn/raw"),
        sensor("sensors/7/raw"),
    );
    let config = Config::parse(&dir.0.join("gateway.toml"), &text).unwrap();
    let gateway = tokio::task::spawn_blocking(move || Gateway::start(config).unwrap()).await.unwrap();
    let local = gateway.broker_addr().unwrap();
    let watch = |id: &'static str, filter: &'static str| async move {
        let mut client = Client::start(plain(local), options(Version::V5, id, &[filter]), 10_000);
        client.up().await;
        client
    };
    for (id, topic) in [("a", "barn/raw"), ("b", "cloud/out")] {
        let mut client = watch(id, topic).await;
        assert_eq!(&client.message().await.payload[..], b"{\"t\":21.375}", "on {topic}");
    }
    let mut watcher = watch("watcher", "eyot/g/status").await;
    let answers = |sensors: &Value| [0, 1, 2].map(|n| sensors[n]["answers"].as_bool());
    let as_wanted =
        |thermometer| move |sensors: &Value| answers(sensors) == [Some(thermometer), Some(thermometer), Some(false)];
    let told = status(&mut watcher, as_wanted(true)).await;
    assert!(told["sensors"][2]["reason"].as_str().unwrap().contains("cannot be opened"), "{told}");
    bus.says("NO", 21_375);
    let told = status(&mut watcher, as_wanted(false)).await;
    assert!(told["sensors"][0]["reason"].as_str().unwrap().contains("cannot mean"), "{told}");
    bus.says("YES", -1_000);
    let told = status(&mut watcher, as_wanted(true)).await;
    assert!(told["sensors"][0]["errors"].as_u64().unwrap() > 0, "{told}");
    assert_eq!((&told["ledger"]["balanced"], told["sensors"][0]["reason"].as_str()), (&true.into(), None), "{told}");
    let page = render(told.to_string().as_bytes()).unwrap();
    for line in ["eyot_sensor_answers{topic=\"nobody\"} 0", "eyot_sensor_answers{topic=\"barn/raw\"} 1"] {
        assert!(page.contains(line), "{page}");
    }
    let errors = format!("eyot_sensor_errors_total{{topic=\"barn/raw\"}} {}", told["sensors"][0]["errors"]);
    assert!(page.contains(&errors), "{page}");
    assert!(tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap());
}
