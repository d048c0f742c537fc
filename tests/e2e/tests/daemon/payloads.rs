//! Whatever MQTT can carry.

use bytes::Bytes;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::site::{balances, Site};

/// Largest payload a function is given.
const PAYLOAD_MAX_BYTES: usize = 256 << 10;

fn echo_site(id: &str) -> Site {
    Site::new(id).function(|dir| {
        let limits = "output = \"1MiB\"".into();
        Manifest { limits, ..Manifest::new("echo") }.module(dir, &echo("out/"))
    })
}

/// Sends `payload` to `in/<topic>` and expects it on `out/in/<topic>`.
#[track_caller]
fn comes_through(site: &Site, topic: &str, payload: impl Into<Bytes>, qos: u8) {
    let payload = payload.into();
    let mut client = site.client("payloads");
    let (sent, expected) = (format!("in/{topic}"), format!("out/in/{topic}"));
    client.subscribe(&expected);
    client.send(&sent, payload.clone(), qos, false).unwrap();
    assert_eq!(client.await_topic(&expected), payload, "{topic}");
}

#[test]
fn qos_0_and_1_come_through() {
    let site = echo_site("qos");
    let _daemon = site.start();
    comes_through(&site, "zero", "at most once", 0);
    comes_through(&site, "one", "at least once", 1);
}

#[test]
fn qos_2_of_a_real_client_comes_through() {
    let site = echo_site("qos2");
    let _daemon = site.start();
    let mut client = site.client("payloads");
    client.subscribe("out/#");
    let sent = std::process::Command::new("mosquitto_pub")
        .args(["-p", &site.broker.port().to_string(), "-q", "2", "-t", "in/two", "-m", "exactly once"])
        .status();
    assert!(sent.expect("mosquitto_pub is installed (apt-get install mosquitto-clients)").success());
    assert_eq!(client.await_topic("out/in/two"), "exactly once");
}

#[test]
fn both_protocol_versions_come_through() {
    for protocol in [4, 5] {
        let mut site = echo_site("versions");
        site.config.protocol = protocol;
        let _daemon = site.start();
        comes_through(&site, "version", format!("{protocol}"), 1);
    }
}

#[test]
fn a_topic_in_any_script_comes_through() {
    let site = echo_site("scripts");
    let _daemon = site.start();
    comes_through(&site, "теплица/温室 7/🌡", "21.5", 1);
    comes_through(&site, &"long".repeat(200), "long topic", 1);
}

#[test]
fn empty_binary_and_largest_payloads_come_through() {
    let site = echo_site("sizes");
    let _daemon = site.start();
    comes_through(&site, "empty", Bytes::new(), 1);
    comes_through(&site, "binary", (0..=255_u8).collect::<Vec<u8>>(), 1);
    comes_through(&site, "largest", vec![b'x'; PAYLOAD_MAX_BYTES], 1);
}

#[test]
fn a_payload_over_the_limit_is_counted_and_holds_nothing_up() {
    let site = echo_site("oversize");
    let _daemon = site.start();
    site.client("payloads").publish("in/huge", vec![b'x'; PAYLOAD_MAX_BYTES + 1]);
    comes_through(&site, "after", "still here", 1);
    let status = site.await_status("one dropped message", |status| status["ledger"]["dropped"] == 1);
    assert!(balances(&status), "{status}");
}

#[test]
fn a_retained_message_is_handled_on_start() {
    let site = echo_site("retained");
    let mut client = site.client("payloads");
    client.subscribe("out/#");
    client.send("in/kept", Bytes::from_static(b"from before"), 1, true).unwrap();
    let _daemon = site.start();
    assert_eq!(client.await_topic("out/in/kept"), "from before");
}

#[test]
fn a_broker_with_small_limits_is_served_too() {
    let site = Site::with_broker("small", Mosquitto::with_settings("max_inflight_messages 1\n"))
        .function(|dir| Manifest::new("echo").module(dir, &echo("out/")));
    let _daemon = site.start();
    let mut client = site.client("payloads");
    client.subscribe("out/#");
    for number in 0..200 {
        client.send("in/n", format!("{number}").into(), 1, false).unwrap();
    }
    for number in 0..200 {
        assert_eq!(client.await_topic("out/in/n"), format!("{number}"));
    }
}
