//! What all functions together may come to need of the log.

use crate::site::{Site, SUM};

/// Takes its time over payloads that begin with `~`.
fn slow() -> String {
    let turn = r"(local $turns i32)
    (if (i32.eq (i32.load8_u (local.get $p)) (i32.const 126)) (then
      (local.set $turns (i32.const 20000))
      (loop $turn (br_if $turn (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))
    (drop (call $get";
    SUM.replacen("(drop (call $get", turn, 1)
}

/// Of the log's 64 MiB an eighth is for state: too little for the eighth of these, beside those that the bench comes with.
#[test]
fn a_function_that_is_at_a_worker_counts_too_when_another_is_pushed() {
    let state = "[limits]\nstate = \"1MiB\"";
    for is_away in [false, true] {
        let mut site = Site::new();
        for number in 1..7 {
            site.push(&format!("f-{number}"), "1.0.0", state, SUM);
        }
        site.push("sum", "1.0.0", state, &slow());
        assert_eq!(site.topic("sum").0, "active", "{}", site.retained("function/sum"));
        site.bench.jobs = Some(Vec::new());
        site.bench.message("sum/a", if is_away { "~" } else { "1" });
        assert_eq!(site.bench.jobs.as_ref().unwrap().is_empty(), !is_away);
        site.push("other", "1.0.0", state, SUM);
        let document = site.retained("function/other");
        let reason = document["reason"].as_str().unwrap_or_default();
        assert!(document["state"] == "rejected" && reason.contains("of other functions"), "{is_away}: {document}");
    }
}
