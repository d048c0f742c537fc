//! `eyot/<gw>/status`: what an operator sees.

use std::collections::HashSet;

use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::guest::{echo, failing, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::site::{await_status, balances, Site};

fn echo_site(id: &str) -> Site {
    Site::new(id).function(|dir| Manifest::new("echo").module(dir, &echo("out/")))
}

#[test]
fn the_status_says_what_runs() {
    let mut site = echo_site("what");
    let cloud = Mosquitto::forgetful();
    site.config.uplinks = vec![Uplink::cloud(cloud.url())];
    let _daemon = site.start();
    let status = site.await_status("a connected uplink", |status| {
        status["uplinks"]
            .as_array()
            .is_some_and(|list| list.iter().any(|u| u["name"] == "cloud" && u["connected"] == true))
    });
    assert!(status["version"].as_str().is_some_and(|version| version.split('.').count() == 3), "{status}");
    assert!(status["uptime_s"].is_u64(), "{status}");
    let function = &status["functions"][0];
    assert_eq!((&function["name"], &function["version"]), (&"echo".into(), &"1.0.0".into()), "{status}");
    assert_eq!(function["state"], "active", "{status}");
    assert_eq!(function["sha256"], sha256(&site.config.functions[0]), "{status}");
    assert!(status["spool"]["max_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{status}");
    assert!(balances(&status), "{status}");
}

#[test]
fn each_function_has_a_topic_of_its_own() {
    let site = echo_site("own");
    let _daemon = site.start();
    let mut client = site.client("operator");
    client.subscribe("eyot/own/function/echo");
    let document: serde_json::Value = serde_json::from_slice(&client.await_topic("eyot/own/function/echo")).unwrap();
    assert_eq!((&document["state"], &document["version"]), (&"active".into(), &"1.0.0".into()), "{document}");
}

#[test]
fn the_ledger_accounts_for_each_message() {
    let site = echo_site("ledger").function(|dir| {
        let mut bad = Manifest::new("bad");
        bad.triggers = vec!["bad/#".into()];
        bad.module(dir, &failing(1))
    });
    let _daemon = site.start();
    let mut client = site.client("sensor");
    for number in 0..10 {
        client.publish("in/x", number.to_string());
        client.publish("bad/x", number.to_string());
    }
    let status = site
        .await_status("20 messages", |status| status["ledger"]["received"] == 20 && status["ledger"]["pending"] == 0);
    assert!(balances(&status), "{status}");
    assert_eq!(status["ledger"]["delivered"], 10, "{status}");
    assert_eq!(status["ledger"]["dropped_by_reason"]["dead_letter"], 10, "{status}");
}

#[test]
fn the_ledger_survives_kill_minus_nine() {
    let site = echo_site("kept");
    let mut daemon = site.start();
    site.client("sensor").publish("in/x", "x");
    site.await_status("one message", |status| status["ledger"]["delivered"] == 1);
    daemon.kill();
    let _daemon = site.start();
    let status = site.await_status("the ledger from before", |status| status["ledger"]["received"] == 1);
    assert!(balances(&status), "{status}");
}

#[test]
fn the_last_will_says_offline_after_kill_minus_nine() {
    let mut site = echo_site("will");
    let cloud = Mosquitto::forgetful();
    site.config.uplinks = vec![Uplink::cloud(cloud.url())];
    let mut daemon = site.start();
    daemon.kill();
    site.await_status("the last will", |status| status["online"] == false);
}

#[test]
fn the_status_goes_up_every_uplink_too() {
    let mut site = echo_site("above");
    let cloud = Mosquitto::forgetful();
    site.config.uplinks = vec![Uplink::cloud(cloud.url())];
    let mut daemon = site.start();
    await_status(cloud.port(), "above", "the status at the cloud", |status| status["online"] == true);
    daemon.kill();
    await_status(cloud.port(), "above", "the last will at the cloud", |status| status["online"] == false);
}

#[test]
fn sigterm_drains_and_says_offline() {
    let site = echo_site("term");
    let mut daemon = site.start();
    let mut client = site.client("sensor");
    client.subscribe("out/#");
    for number in 0..200 {
        client.publish("in/x", number.to_string());
    }
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    site.await_status("the farewell", |status| status["online"] == false);
    let _daemon = site.start();
    let mut seen = HashSet::new();
    for number in 0..200 {
        assert_eq!(client.await_new("out/in/x", &mut seen), number.to_string());
    }
}

#[test]
fn the_json_log_is_json() {
    let site = echo_site("json");
    let mut daemon = site.start();
    assert_eq!(daemon.terminate().code(), Some(0));
    let path = site.dir().join("json.toml");
    let program = eyot_test_e2e::programs::eyotd();
    let mut daemon = eyot_test_e2e::daemon::Eyotd::spawn(
        std::process::Command::new(program).arg("--config").arg(path).args(["--log", "json"]),
    );
    site.await_status("the gateway to be online", |status| status["online"] == true);
    assert_eq!(daemon.terminate().code(), Some(0));
    let log = daemon.log();
    assert!(!log.is_empty());
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line.is_object()), "{line}");
    }
}

fn sha256(path: &std::path::Path) -> String {
    let output = std::process::Command::new("sha256sum").arg(path).output().expect("sha256sum is installed");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}
