//! Sensors of our own: their samples are messages at QoS 0, and outputs where no function wants them.

use bytes::Bytes;
use eyot_core::config::{Config, Uplink};
use eyot_core::io::{Input, LinkId, Message, SensorReport};
use serde_json::Value;

use crate::bench::{Bench, CLOUD};

const TOPIC: &str = "barn/climate";

fn bench() -> Bench {
    let uplink = Uplink { name: "cloud".to_owned(), topics: vec!["barn/#".to_owned()], ..Uplink::default() };
    let sensor = SensorReport { topic: TOPIC.to_owned(), kind: "sht4x", ..SensorReport::default() };
    let config = Config { sensors: vec![sensor], ..Bench::config(vec![uplink]) };
    let mut bench = Bench::with(config, 64 << 20);
    bench.connect(LinkId::INTAKE, 10);
    bench
}

fn sampled(bench: &mut Bench, topic: &'static str, payload: &'static str) {
    let (topic, payload) = (Bytes::from_static(topic.as_bytes()), Bytes::from_static(payload.as_bytes()));
    let message = Message { conn: 0, packet_id: 0, qos: 0, dup: false, wakes: None, topic, payload };
    bench.handle(Input::Reading { link: LinkId::SENSORS, age_ms: 40, message });
}

#[test]
fn a_sample_that_no_function_wants_is_an_output_of_its_time() {
    let mut bench = bench();
    sampled(&mut bench, TOPIC, "21");
    bench.wait_ms(20);
    assert!(bench.acked.is_empty(), "nobody waits for it");
    bench.restart();
    bench.connect(CLOUD, 10);
    let publish = bench.take().expect("it was durable");
    assert_eq!((&publish.topic[..], &publish.payload[..]), (TOPIC.as_bytes(), &b"21"[..]));
    assert_eq!(publish.received_at_ms, 1_700_000_000_000 - 40, "when it was taken");
}

#[test]
fn a_sample_wakes_functions_and_then_it_is_theirs() {
    let mut bench = bench();
    sampled(&mut bench, "in/barn/climate", "21");
    sampled(&mut bench, "in/barn/climate", "!21");
    bench.wait_ms(20);
    assert_eq!(bench.stream("cloud").outputs.received, 1, "what the function made of it");
    assert_eq!(bench.stream("local").outputs.received, 1, "a dead letter");
    assert_eq!(bench.core.ledger().messages.received, 2);
}

/// Whoever stands at the wire of a sensor must not be able to push.
#[test]
fn a_sample_is_no_control_message() {
    let mut bench = bench();
    sampled(&mut bench, "eyot/bench/push", "21");
    bench.wait_ms(20);
    assert!(bench.tasks.is_empty() && bench.told.iter().all(|publish| !publish.topic.ends_with(b"audit")));
    assert_eq!(bench.stream("local").outputs.received, 1);
}

#[test]
fn how_a_sensor_is_stands_in_the_status_and_a_change_is_told_at_once() {
    let mut bench = bench();
    let status = |bench: &Bench| -> Value { serde_json::from_slice(&bench.core.status_json()).unwrap() };
    let told = |bench: &Bench| -> Value { serde_json::from_slice(&bench.retained["eyot/bench/status"]).unwrap() };
    assert_eq!(status(&bench)["sensors"][0]["answers"], Value::Null);
    let report = SensorReport { topic: TOPIC.to_owned(), kind: "sht4x", samples: 1, ..SensorReport::default() };
    for (answers, errors, is_told) in [(true, 0, true), (true, 1, false), (false, 2, true)] {
        let report = SensorReport { answers: Some(answers), errors, ..report.clone() };
        bench.handle(Input::Sensor { place: 0, report: Box::new(report) });
        bench.wait_ms(1);
        assert_eq!(status(&bench)["sensors"][0]["errors"], errors);
        assert_eq!(told(&bench)["sensors"][0]["errors"] == errors, is_told, "{errors}");
    }
    bench.handle(Input::Sensor { place: 1, report: Box::default() });
    assert_eq!(status(&bench)["sensors"].as_array().map(Vec::len), Some(1), "there is no second one");
}
