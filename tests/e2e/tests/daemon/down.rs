//! `down`: from the cloud to the actuators, over two real brokers.

use std::collections::BTreeSet;

use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::site::{balances, Site};
use eyot_test_e2e::stamp::Stamp;
use eyot_test_e2e::wait::STEP;
use rumqttc::v5::mqttbytes::v5::Publish;

const TOPIC: &str = "actuators/valve";

fn site(cloud: &Mosquitto, protocol: u8) -> Site {
    let mut site = Site::with_broker("down", Mosquitto::persistent());
    let more = format!("protocol = {protocol}\ndown = [\"actuators/#\"]\n");
    site.config.uplinks = vec![Uplink { more, ..Uplink::cloud(cloud.url()) }];
    site
}

fn await_connected(site: &Site) {
    site.await_status("a connected uplink", |status| {
        status["uplinks"]
            .as_array()
            .is_some_and(|all| all.iter().any(|u| u["name"] == "cloud" && u["connected"] == true))
    });
}

fn send(cloud: &Mosquitto, numbers: std::ops::Range<u32>) {
    let mut operator = Client::connect(cloud.port(), "operator");
    for number in numbers {
        operator.publish(TOPIC, number.to_string());
    }
}

fn number(publish: &Publish) -> u32 {
    assert_eq!(publish.topic, TOPIC);
    std::str::from_utf8(&publish.payload).unwrap().parse().unwrap()
}

#[test]
fn what_the_cloud_was_acknowledged_reaches_the_actuator_over_kill_minus_nine_and_cuts() {
    let mut cloud = Mosquitto::persistent();
    let mut site = site(&cloud, 5);
    let mut actuator = Client::resume(site.broker.port(), "actuator").unwrap();
    actuator.subscribe("actuators/#");
    let mut watch = Client::connect(cloud.port(), "watch");
    watch.subscribe("#");
    let mut daemon = site.start();
    await_connected(&site);

    // Killed in the middle, and dead for a while.
    send(&cloud, 0..100);
    daemon.kill();
    send(&cloud, 100..200);
    daemon = site.start();
    await_connected(&site);
    // Nothing that came down may have gone up again; the watch ends with the cloud's connections.
    for _ in 0..200 {
        let topic = |publish: &Publish| (publish.topic == TOPIC.as_bytes()).then(|| Stamp::of(publish));
        assert_eq!(watch.await_message("what the operator sent", topic), None, "a message went back up");
    }
    cloud.restart();
    send(&cloud, 200..300);
    await_connected(&site);
    daemon.kill();
    daemon = site.start();
    // The local broker is away while the cloud is not.
    site.broker.stop();
    let mut arrived: Vec<u32> = std::iter::from_fn(|| actuator.next(STEP).ok()?).map(|p| number(&p)).collect();
    send(&cloud, 300..400);
    site.broker.resume();
    let mut actuator = Client::resume(site.broker.port(), "actuator").unwrap();
    assert!(actuator.session_present());
    while !arrived.contains(&399) {
        let publish = actuator.next(STEP).unwrap().unwrap_or_else(|| panic!("no more than {arrived:?}"));
        arrived.push(number(&publish));
    }
    let mut first = BTreeSet::new();
    arrived.retain(|number| first.insert(*number));
    assert_eq!(arrived, (0..400).collect::<Vec<_>>(), "everything, and in order but for repetitions");
    let status = site.await_status("an empty backlog", |status| {
        status["online"] == true && status["ledger"]["pending"] == 0 && balances(status)
    });
    assert_eq!(
        (&status["ledger"]["dropped"], &status["ledger"]["streams"]["cloud"]["received"]),
        (&0.into(), &0.into())
    );
    assert!(status["ledger"]["delivered"].as_u64().unwrap() >= 400, "{status}");
    drop(daemon);
}

#[test]
fn a_function_may_answer_what_came_down() {
    for protocol in [4, 5] {
        let cloud = Mosquitto::forgetful();
        let site = site(&cloud, protocol).function(|dir| {
            let mut manifest = Manifest::new("echo");
            manifest.triggers = vec!["actuators/#".into()];
            manifest.module(dir, &echo("cloud/"))
        });
        let _daemon = site.start();
        await_connected(&site);
        let mut operator = Client::connect(cloud.port(), "operator");
        operator.subscribe("cloud/#");
        operator.publish(TOPIC, "open");
        assert_eq!(operator.await_topic("cloud/actuators/valve"), "open");
    }
}
