//! Versions that do worse than the one before.

use crate::bench::PASS;
use crate::site::Site;

/// As [`PASS`], but fails on everything.
fn failing() -> String {
    PASS.replacen("(local $turns i32)", "(local $turns i32) unreachable", 1)
}

/// A version failed too often while the next was on its way: that one was taken back for it, and the failing one came in
/// force again and stayed.
#[test]
fn a_version_is_not_taken_back_for_what_the_one_before_did() {
    let mut site = Site::new();
    site.push("pass", "1.1.0", "", &failing());
    site.arrive("pass", "1.2.0", "", PASS);
    for _ in 0..5 {
        assert!(site.bench.message("t", "a"));
    }
    assert_eq!(site.active("pass"), "1.1.0");
    site.work();
    assert_eq!(site.active("pass"), "1.2.0");
    site.message("t", "b");
    assert_eq!((site.active("pass"), site.topic("pass").0), ("1.2.0".to_owned(), "active".to_owned()));
    assert!(site.outputs().contains(&"b".to_owned()));
}

/// The store failed when a version was to go: it stayed, whatever it did, until the gateway started anew.
#[test]
fn a_way_back_that_the_store_fails_on_is_gone_again() {
    let mut site = Site::new();
    site.push("pass", "1.1.0", "", &failing());
    // From here on the version before is not in memory any more.
    site.restart();
    let before = site.modules.0.remove(&[0; 32]).unwrap();
    (0..5).for_each(|_| site.message("t", "a"));
    assert_eq!(site.active("pass"), "1.1.0");
    site.modules.0.insert([0; 32], before);
    site.message("t", "a");
    assert_eq!((site.active("pass"), site.topic("pass").0), ("1.0.0".to_owned(), "rolled-back".to_owned()));
}
