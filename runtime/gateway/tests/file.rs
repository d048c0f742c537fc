//! File uplinks on a real file system.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::uplink::{limits, line, lines, part, part_of, Port, GATEWAY, NAME};
use common::TempDir;
use eyot_gateway::mqtt::link::LinkEvent;
use eyot_gateway::uplink::file::{FileStore, Options};
use eyot_gateway::uplink::{Place, Retry, Verdict};

const ACTIVE: &str = "barn-7-cloud.ndjson";
const NONE: [u64; 0] = [];

fn options(dir: &Path) -> Options {
    Options { dir: dir.to_owned(), rotate_bytes: 1 << 20, rotate_every: Duration::from_secs(3600), keep: None }
}

fn store(options: &Options) -> FileStore {
    FileStore::new(options.clone(), GATEWAY, NAME)
}

/// Names and texts in the order of names; the file that is written to comes last.
fn files(dir: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let read = entries.map(|e| (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap()));
    let mut files: Vec<_> = read.collect();
    files.sort_by_key(|(name, _)| (name == ACTIVE, name.clone()));
    files
}

fn text(dir: &Path) -> String {
    files(dir).into_iter().map(|(_, text)| text).collect()
}

#[tokio::test]
async fn records_are_lines_and_full_files_get_a_name_that_stays() {
    let dir = TempDir::new();
    let rotate_bytes = lines(1..=100).len() as u64;
    let mut port = Port::start(Place::File(Options { rotate_bytes, ..options(&dir.0) }), limits(10));
    port.up().await;
    assert_eq!(port.deliver(1..=250).await, NONE);
    port.finish().await;
    assert_eq!(text(&dir.0), lines(1..=250));
    let found = files(&dir.0);
    assert_eq!(found[0].0, "barn-7-cloud-9-00000000000000000001.ndjson");
    assert_eq!(found.last().unwrap().0, ACTIVE);
    assert!(found.len() >= 3 && found.iter().all(|(_, text)| text.len() as u64 <= rotate_bytes));
}

#[tokio::test]
async fn a_batch_larger_than_a_file_takes_several_and_a_record_larger_than_one_has_its_own() {
    let dir = TempDir::new();
    let rotate_bytes = lines(10..=12).len() as u64;
    let mut store = store(&Options { rotate_bytes, ..options(&dir.0) });
    assert_eq!(store.put(&part(10..=11)).await, Ok(Verdict::Stored));
    assert_eq!(store.put(&part(12..=20)).await, Ok(Verdict::Stored));
    let expected = [lines(10..=11), lines(12..=14), lines(15..=17), lines(18..=20)];
    assert_eq!(files(&dir.0).into_iter().map(|(_, text)| text).collect::<Vec<_>>(), expected);

    let dir = TempDir::new();
    let mut store = self::store(&Options { rotate_bytes: 10, ..options(&dir.0) });
    assert_eq!(store.put(&part(1..=3)).await, Ok(Verdict::Stored));
    assert_eq!(files(&dir.0).into_iter().map(|(_, text)| text).collect::<Vec<_>>(), [1, 2, 3].map(line));
}

#[tokio::test]
async fn what_is_no_regular_file_is_neither_read_nor_written() {
    let dir = TempDir::new();
    let fifo = |name: &str| Command::new("mkfifo").arg(dir.0.join(name)).status().unwrap();
    assert!(fifo("barn-7-cloud-9-00000000000000000001.ndjson").success());
    store(&options(&dir.0)).open().await.expect("a FIFO that nobody writes to holds nothing up");
    fs::remove_file(dir.0.join(ACTIVE)).unwrap();
    assert!(fifo(ACTIVE).success());
    let failure = store(&options(&dir.0)).open().await.unwrap_err();
    assert!(failure.reason.contains("not a regular file"), "{failure}");
}

#[tokio::test]
async fn an_old_file_is_rotated_without_a_record_to_push_it() {
    let dir = TempDir::new();
    let rotate_every = Duration::from_millis(200);
    let mut port = Port::start(Place::File(Options { rotate_every, ..options(&dir.0) }), limits(10));
    port.up().await;
    assert_eq!(port.deliver(1..=10).await, NONE);
    let rotated = dir.0.join("barn-7-cloud-9-00000000000000000001.ndjson");
    let waited = async {
        while !rotated.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(common::PATIENCE, waited).await.expect("rotated in time");
    assert_eq!(port.deliver(11..=12).await, NONE);
    port.finish().await;
    assert_eq!(text(&dir.0), lines(1..=12));
}

#[tokio::test]
async fn only_so_many_files_are_kept_if_that_is_wanted() {
    let dir = TempDir::new();
    let other = dir.write("barn-7-cloud-notes.ndjson", "not ours");
    let mut store = store(&Options { rotate_bytes: 10, keep: Some(2), ..options(&dir.0) });
    for seq in 1..=9 {
        assert_eq!(store.put(&part(seq..=seq)).await, Ok(Verdict::Stored));
    }
    fs::remove_file(other).unwrap();
    assert_eq!(text(&dir.0), lines(7..=9));
}

#[tokio::test]
async fn after_a_crash_a_torn_line_is_gone_and_nothing_is_written_twice() {
    let dir = TempDir::new();
    let mut before = store(&options(&dir.0));
    before.put(&part(1..=10)).await.unwrap();
    // The power went while the next batch was written.
    let torn = lines(1..=12);
    for cut in [lines(1..=10).len() + 1, torn.len() - 1, lines(1..=11).len(), lines(1..=11).len() + 30] {
        fs::write(dir.0.join(ACTIVE), &torn[..cut]).unwrap();
        let mut after = store(&options(&dir.0));
        after.open().await.unwrap();
        assert!(text(&dir.0).ends_with("}\n"), "cut at {cut}");
        assert_eq!(after.put(&part(5..=14)).await, Ok(Verdict::Stored), "what was not acknowledged comes again");
        assert_eq!(text(&dir.0), lines(1..=14), "cut at {cut}");
    }
    fs::write(dir.0.join(ACTIVE), &line(1)[..20]).unwrap();
    let mut after = store(&options(&dir.0));
    assert_eq!(after.put(&part(1..=3)).await, Ok(Verdict::Stored));
    assert_eq!(text(&dir.0), lines(1..=3));
}

#[tokio::test]
async fn a_crash_right_after_a_rotation_repeats_nothing_either() {
    let dir = TempDir::new();
    store(&options(&dir.0)).put(&part(1..=10)).await.unwrap();
    fs::rename(dir.0.join(ACTIVE), dir.0.join("barn-7-cloud-9-00000000000000000001.ndjson")).unwrap();
    store(&options(&dir.0)).put(&part(8..=12)).await.unwrap();
    assert_eq!(text(&dir.0), lines(1..=12));
    // The same name once more: nothing is replaced.
    fs::write(dir.0.join(ACTIVE), lines(1..=2)).unwrap();
    let mut again = store(&Options { rotate_bytes: 10, ..options(&dir.0) });
    again.put(&part(13..=13)).await.unwrap();
    let names: Vec<_> = files(&dir.0).into_iter().map(|(name, _)| name).collect();
    let first = "barn-7-cloud-9-00000000000000000001";
    assert_eq!(names, [format!("{first}.2.ndjson"), format!("{first}.ndjson"), ACTIVE.to_owned()]);
}

#[tokio::test]
async fn routes_share_the_files_and_each_is_written_once() {
    let dir = TempDir::new();
    let options = Options { rotate_bytes: lines(1..=15).len() as u64, ..options(&dir.0) };
    let mut before = store(&options);
    for (epoch, seqs) in [(9, 1..=10), (5, 1..=3), (9, 11..=20), (5, 4..=4)] {
        before.put(&part_of(epoch, seqs)).await.unwrap();
    }
    let mut after = store(&options);
    for (epoch, seqs) in [(5, 2..=6), (9, 5..=22)] {
        after.put(&part_of(epoch, seqs)).await.unwrap();
    }
    let text = text(&dir.0);
    let mut found: Vec<_> =
        text.lines().map(|line| line.split(',').skip(1).take(2).collect::<Vec<_>>().join(",")).collect();
    found.sort_unstable();
    let mut expected: Vec<_> = (1..=22).map(|seq| format!("\"epoch\":9,\"seq\":{seq}")).collect();
    expected.extend((1..=6).map(|seq| format!("\"epoch\":5,\"seq\":{seq}")));
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_waited_for() {
    let dir = TempDir::new();
    let disk = dir.0.join("disk");
    let failure = store(&options(&disk)).put(&part(1..=1)).await.unwrap_err();
    assert_eq!(failure.retry, Retry::Soon);
    assert!(failure.reason.contains(ACTIVE) && failure.reason.contains("check that"), "{failure}");
    let mut port = Port::start(Place::File(options(&disk)), limits(10));
    fs::create_dir(&disk).unwrap();
    port.up().await;
    assert_eq!(port.deliver(1..=20).await, NONE);
    // Taken away while it runs, and given back.
    fs::rename(&disk, dir.0.join("away")).unwrap();
    port.send(21..=30);
    assert!(matches!(port.next().await, LinkEvent::Down { .. }));
    fs::rename(dir.0.join("away"), &disk).unwrap();
    port.up().await;
    assert_eq!(port.deliver(21..=40).await, NONE);
    port.finish().await;
    assert_eq!(text(&disk), lines(1..=40));
}
