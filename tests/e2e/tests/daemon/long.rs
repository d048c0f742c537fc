//! Functions that take long, beside others.

use std::time::{Duration, Instant};

use eyot_test_e2e::client::Client;
use eyot_test_e2e::guest::{echo, slow_echo, spinning, Manifest};
use eyot_test_e2e::site::{balances, Site};
use serde_json::Value;

/// A site with `spin`, which never ends by itself, and `echo`.
fn site(id: &str, limits: &str, more: &str) -> Site {
    let mut spin = Manifest::new("spin");
    spin.triggers = vec!["spin/#".into()];
    spin.limits = limits.into();
    let mut site = Site::new(id)
        .function(|dir| spin.module(dir, &spinning()))
        .function(|dir| Manifest::new("echo").module(dir, &echo("out/")));
    site.config.more = more.into();
    site
}

/// How long one message and its result take.
fn round_trip(client: &mut Client, n: u32) -> Duration {
    let start = Instant::now();
    client.publish("in/a", n.to_string());
    client.await_message("the echo", |p| (p.topic == "out/in/a" && p.payload == n.to_string()).then_some(()));
    start.elapsed()
}

#[test]
fn a_function_that_spins_holds_up_its_own_topic_only() {
    let site = site("spin", "fuel = 1_000_000_000\ndeadline = \"400ms\"", "[run]\nworkers = 1\n");
    let _daemon = site.start();
    let mut client = site.client("sensor");
    client.subscribe("out/#");
    let mut dead = site.client("operator");
    dead.subscribe("eyot/spin/dead/#");
    let mut sensor = site.client("spinner");
    for n in 0..5 {
        sensor.send("spin/a", n.to_string().into(), 1, false).unwrap();
    }
    let start = Instant::now();
    let mut took: Vec<Duration> = (0..40).map(|n| round_trip(&mut client, n)).collect();
    assert!(start.elapsed() < Duration::from_secs(2), "the function spins for five times 400 ms meanwhile");
    took.sort();
    let median = took[took.len() / 2];
    assert!(median < Duration::from_millis(100), "{took:?}");
    for payload in ["MA==", "MQ==", "Mg==", "Mw==", "NA=="] {
        let letter = dead.await_topic("eyot/spin/dead/spin");
        let letter: Value = serde_json::from_slice(&letter).unwrap();
        assert_eq!(letter["reason"], "deadline", "{letter}");
        assert_eq!(letter["payload_base64"], payload, "in order");
    }
    let status = site.await_status("all of it in the ledger", |status| {
        status["in_flight"] == 0 && status["ledger"]["dropped_by_reason"]["dead_letter"] == 5 && balances(status)
    });
    let spin = &status["functions"][1];
    assert!(spin["worker_ms"].as_u64().unwrap() >= 2000 && spin["share_percent"].as_u64().unwrap() >= 99, "{status}");
}

/// What a message means to a function must not depend on how many run at once.
#[test]
fn results_come_in_order_of_each_topic_from_many_instances() {
    let mut slow = Manifest::new("slow");
    slow.limits = "fuel = 10_000_000".into();
    let mut site = Site::new("many").function(|dir| slow.module(dir, &slow_echo("out/", 100_000)));
    site.config.more = "[run]\nworkers = 4\n".into();
    let _daemon = site.start();
    let mut client = site.client("sensor");
    client.subscribe("out/#");
    let mut sensor = site.client("sensors");
    for n in 0..200_u32 {
        sensor.send(&format!("in/{}", n % 3), n.to_string().into(), 1, false).unwrap();
    }
    let mut last = [None; 3];
    for _ in 0..200 {
        let (topic, n) = client.await_message("the echo", |p| {
            let n: u32 = std::str::from_utf8(&p.payload).ok()?.parse().ok()?;
            Some((p.topic.clone(), n))
        });
        let last = &mut last[(n % 3) as usize];
        assert!(*last < Some(n), "{n} after {last:?} on {topic:?}");
        *last = Some(n);
    }
}
