//! `eyot ledger` on dumps that begin late.

use crate::harness::Folder;

fn dump(numbers: impl IntoIterator<Item = u64>) -> String {
    let line = |seq| format!(r#"{{"gateway":"barn-7","epoch":5,"seq":{seq},"topic":"t","payload":{seq}}}"#) + "\n";
    numbers.into_iter().map(line).collect()
}

const STATUS: &str = r#"{"gateway":"barn-7","uplinks":[{"name":"cloud","epoch":5,"next_seq":11,
    "received":10,"delivered":10,"pending":0,"dropped":0,"dropped_by_reason":{}}]}"#;

#[test]
fn a_receiver_that_came_later_is_audited_from_its_first_record() {
    let folder = Folder::new();
    folder.write("late.ndjson", dump(4..=10));
    folder.write("gap.ndjson", dump((4..=10).filter(|n| *n != 7)));
    folder.write("whole.ndjson", dump(1..=10));
    folder.write("status.json", STATUS);
    let begins = "the dump begins with seq 4: 3 before it not audited (see --from-start)";
    for more in [&[][..], &["--status", "status.json"]] {
        let run = |dump: &str, last: &[&str]| folder.eyot(&[&["ledger", "--from", dump], more, last].concat());
        run("late.ndjson", &[]).exits(0).prints(&[begins, "nothing is missing, from where the dump begins"]);
        let output = run("late.ndjson", &["--from-start"]).exits(1);
        output.prints(&["3 in all: 1-3"]).says(&["3 records are missing"]);
        run("gap.ndjson", &[]).exits(1).prints(&[begins, "1 in all: 7"]).says(&["1 records are missing"]);
        run("gap.ndjson", &["--from-start"]).exits(1).prints(&["4 in all: 1-3, 7"]);
        for last in [&[][..], &["--from-start"]] {
            let output = run("whole.ndjson", last).exits(0).prints(&["nothing is missing"]);
            assert!(!output.stdout.contains("begins"), "{}", output.stdout);
        }
    }
}

#[test]
fn the_json_says_from_where() {
    let folder = Folder::new();
    folder.write("gap.ndjson", dump((4..=10).filter(|n| *n != 7)));
    for (more, start, missing) in [(&["--json"][..], 4, 1), (&["--json", "--from-start"], 1, 4)] {
        let output = folder.eyot(&[&["ledger", "--from", "gap.ndjson"], more].concat()).exits(1);
        let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        let stream = &report["streams"][0];
        assert_eq!(
            (&stream["start_seq"], &stream["first_seq"], &stream["missing"], &stream["missing_ranges_total"]),
            (&start.into(), &4.into(), &missing.into(), &if start == 1 { 2 } else { 1 }.into()),
            "{report}"
        );
        assert_eq!(report["from_start"], start == 1);
    }
}
