//! `mqtts://`: encrypted, and only with whom the configuration trusts.

use eyot_test_e2e::certs::Authority;
use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::daemon::Eyotd;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::mosquitto::{Mosquitto, TlsFiles};
use eyot_test_e2e::site::Site;
use tempfile::TempDir;

#[test]
fn broker_and_uplink_are_reached_over_tls() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new(dir.path(), "ours");
    for protocol in [4, 5] {
        let mut site = Site::with_broker("tls", Mosquitto::with_tls(&authority.server()))
            .function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
        let cloud = Mosquitto::with_tls(&authority.server());
        site.config.protocol = protocol;
        site.config.broker_url = site.broker.tls_url();
        site.config.broker_ca = Some(authority.ca());
        site.config.uplinks = vec![Uplink { ca: Some(authority.ca()), ..Uplink::cloud(cloud.tls_url()) }];
        let mut collector = Client::connect(cloud.port(), "collector");
        collector.subscribe("cloud/#");
        let _daemon = site.start();
        site.client("sensor").publish("in/x", "sealed");
        assert_eq!(collector.await_topic("cloud/in/x"), "sealed");
    }
}

#[test]
fn a_broker_of_another_authority_is_refused_and_named() {
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let mut site = Site::with_broker("stranger", Mosquitto::with_tls(&theirs.server()))
        .function(|dir| Manifest::new("echo").module(dir, &echo("out/")));
    site.config.broker_url = site.broker.tls_url();
    site.config.broker_ca = Some(ours.ca());
    let mut daemon = Eyotd::start(&site.config);
    let line = daemon.await_log(&["certificate"]);
    assert!(line.contains("localhost"), "the line does not say which broker: {line}");
    assert!(daemon.is_running(), "the right broker may come back");
    let watched = site.client("watch").publish_heard("in/x", "nobody listens");
    assert!(!watched, "the gateway subscribed at a broker it must not trust");
}

#[test]
fn a_broker_of_an_unknown_authority_is_refused_without_a_ca() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new(dir.path(), "theirs");
    let mut site = Site::with_broker("unknown", Mosquitto::with_tls(&authority.server()))
        .function(|dir| Manifest::new("echo").module(dir, &echo("out/")));
    site.config.broker_url = site.broker.tls_url();
    let daemon = Eyotd::start(&site.config);
    daemon.await_log(&["certificate"]);
}

#[test]
fn a_cloud_that_asks_for_a_certificate_gets_ours_and_no_other_opens_it() {
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let cloud = Mosquitto::with_tls(&TlsFiles { client_ca: Some(ours.ca()), ..ours.server() });
    let mut collector = Client::connect(cloud.port(), "collector");
    collector.subscribe("cloud/#");
    let mut site = Site::new("mutual").function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
    let shown = |(cert, key)| format!(", cert = {cert:?}, key = {key:?}");
    let strangers = shown(theirs.client("stranger", true));
    for (payload, keys) in
        [("none", String::new()), ("expired", shown(ours.client("late", false))), ("stranger", strangers)]
    {
        let more = format!("tls = {{ ca = {:?}{keys} }}\n", ours.ca());
        site.config.uplinks = vec![Uplink { more, ..Uplink::cloud(cloud.tls_url()) }];
        let mut daemon = site.start();
        site.client("sensor").publish("in/x", payload);
        let line = daemon.await_log(&["no connection to the broker"]);
        assert!(line.contains("alert"), "{payload}: the line does not say that the broker refuses: {line}");
        site.await_status("the message on disk", |status| status["ledger"]["pending"].as_u64() > Some(0));
        assert_eq!(daemon.terminate().code(), Some(0));
    }
    let more = format!("tls = {{ ca = {:?}{} }}\n", ours.ca(), shown(ours.client("barn", true)));
    site.config.uplinks = vec![Uplink { more, ..Uplink::cloud(cloud.tls_url()) }];
    let _daemon = site.start();
    for payload in ["none", "expired", "stranger"] {
        assert_eq!(collector.await_topic("cloud/in/x"), payload, "what waited meanwhile");
    }
}
