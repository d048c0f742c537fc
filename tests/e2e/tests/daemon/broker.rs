//! Brokers come and go.

use std::collections::HashSet;

use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::daemon::Eyotd;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::site::Site;
use eyot_test_e2e::wait::{wait_for, STEP};

fn echo_site(id: &str, prefix: &str) -> Site {
    Site::new(id).function(|dir| Manifest::new("echo").module(dir, &echo(prefix)))
}

#[test]
fn a_broker_that_is_not_there_yet_is_waited_for() {
    let mut site = echo_site("waiting", "out/");
    site.broker.stop();
    let mut daemon = Eyotd::start(&site.config);
    daemon.await_log(&[&site.broker.port().to_string()]);
    assert!(daemon.is_running());
    site.broker.resume();
    site.await_status("the gateway to be online", |status| status["online"] == true);
    let mut client = site.client("waiting");
    client.subscribe("out/#");
    client.publish("in/x", "at last");
    assert_eq!(client.await_topic("out/in/x"), "at last");
}

#[test]
fn a_broker_that_forgot_the_session_is_subscribed_to_again() {
    let mut site = echo_site("forgotten", "out/");
    let _daemon = site.start();
    for round in 0..3 {
        site.broker.restart();
        let mut client = site.client("forgotten");
        client.subscribe("out/#");
        wait_for("a subscription of the gateway", STEP, || client.publish_heard("in/x", "probe").then_some(()));
        let last = format!("round {round}");
        client.publish("in/x", last.clone());
        client.await_message(&last, |publish| (publish.payload == last).then_some(()));
    }
}

#[test]
fn a_broker_that_kept_the_session_delivers_what_came_meanwhile() {
    let site = echo_site("kept", "out/");
    let mut daemon = site.start();
    let mut client = site.client("kept");
    client.subscribe("out/#");
    let mut seen = HashSet::new();
    client.publish("in/x", "before");
    client.await_new("out/in/x", &mut seen);
    daemon.kill();
    for number in 0..100 {
        assert!(client.publish_heard("in/x", number.to_string()), "the session ended with the connection");
    }
    let _daemon = Eyotd::start(&site.config);
    for number in 0..100 {
        assert_eq!(client.await_new("out/in/x", &mut seen), number.to_string());
    }
}

#[test]
fn an_uplink_that_is_cut_gets_everything_later_in_order() {
    let mut site = echo_site("cut", "cloud/");
    let mut cloud = Mosquitto::persistent();
    site.config.uplinks = vec![Uplink::cloud(cloud.url())];
    Client::resume(cloud.port(), "collector").unwrap().subscribe("cloud/#");
    let _daemon = site.start();
    let mut sensor = site.client("sensor");
    cloud.stop();
    for number in 0..500 {
        sensor.publish("in/x", number.to_string());
    }
    let status = site.await_status("500 pending", |status| status["ledger"]["pending"] == 500);
    assert_eq!(
        status["uplinks"].as_array().unwrap().iter().find(|u| u["name"] == "cloud").unwrap()["connected"],
        false
    );
    cloud.resume();
    let mut collector = Client::resume(cloud.port(), "collector").unwrap();
    assert!(collector.session_present());
    let mut seen = HashSet::new();
    for number in 0..500 {
        assert_eq!(collector.await_new("cloud/in/x", &mut seen), number.to_string());
    }
    site.await_status("nothing pending", |status| status["ledger"]["delivered"] == 500);
}

#[test]
fn each_output_goes_to_every_uplink_that_wants_it_and_else_to_the_local_broker() {
    let mut site = echo_site("fork", "cloud/").function(|dir| {
        let mut local = Manifest::new("local");
        local.triggers = vec!["in/#".into()];
        local.module(dir, &echo("out/"))
    });
    let (first, second) = (Mosquitto::forgetful(), Mosquitto::forgetful());
    site.config.uplinks =
        vec![Uplink::cloud(first.url()), Uplink { name: "backup".into(), ..Uplink::cloud(second.url()) }];
    let mut at_first = Client::connect(first.port(), "first");
    at_first.subscribe("#");
    let mut at_second = Client::connect(second.port(), "second");
    at_second.subscribe("#");
    let _daemon = site.start();
    let mut local = site.client("local");
    local.subscribe("out/#");
    local.subscribe("cloud/#");
    local.publish("in/x", "all");
    assert_eq!(at_first.await_topic("cloud/in/x"), "all");
    assert_eq!(at_second.await_topic("cloud/in/x"), "all");
    local.await_message("the local output", |publish| {
        assert!(!publish.topic.starts_with(b"cloud/"), "an uplink's output was published locally");
        (publish.topic == "out/in/x").then_some(())
    });
}
