//! Functions that wake themselves.

use eyot_test_e2e::guest::{handler, Manifest};
use eyot_test_e2e::site::Site;

/// Emits the payload twice to its own trigger.
fn doubling() -> String {
    let emit = "(drop (call $emit (i32.const 1024) (i32.const 9) (local.get $pp) (local.get $pl)))";
    handler(r#"(data (i32.const 1024) "in/circle")"#, &format!("{emit} {emit} (i32.const 0)"))
}

#[test]
fn what_comes_of_one_message_ends() {
    let mut manifest = Manifest::new("circle");
    manifest.emit = vec!["in/#".into()];
    let site = Site::new("circle").function(|dir| manifest.module(dir, &doubling()));
    let daemon = site.start();
    let mut client = site.client("sensor");
    client.publish("in/circle", "x");
    let status = site.await_status("the end of it", |status| {
        let ledger = &status["ledger"];
        ledger["dropped_by_reason"]["loop"].as_u64().is_some_and(|count| count > 0) && ledger["pending"] == 0
    });
    let received = status["ledger"]["received"].as_u64().unwrap();
    // Each message says how many may come of it: half of what is left for each of the two.
    assert!((1000..=16_384 * 2).contains(&received), "{status}");
    assert_eq!(status["ledger"]["balanced"], true, "{status}");
    assert!(daemon.log().contains("loop"), "{}", daemon.log());
}
