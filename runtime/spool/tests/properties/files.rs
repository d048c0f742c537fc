//! The real disk: a directory, a process that is killed, a file system that is full.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use eyot_spool::memory::MemoryStorage;
use eyot_spool::{FileStorage, Lsn, Options, Spool, Storage, Usage};

use crate::model::{Recorder, State};

/// Where the tests that run as another process find their log.
const DIRECTORY: &str = "EYOT_SPOOL_TEST_DIR";

fn body(lsn: Lsn) -> Vec<u8> {
    let mut body = lsn.to_le_bytes().to_vec();
    body.resize(8 + (lsn as usize * 37) % 400, lsn as u8);
    body
}

fn open(path: &Path, options: Options) -> (FileStorage, Spool<FileStorage>, Recorder) {
    let storage = FileStorage::open(path).unwrap();
    let mut found = Recorder::default();
    let spool = Spool::open(storage.clone(), options, fastrand::u64(1..), &mut found).unwrap();
    assert_eq!(found.disorder, None);
    (storage, spool, found)
}

fn append(spool: &mut Spool<FileStorage>, state: &mut State) {
    if spool.wants_checkpoint() {
        spool.checkpoint(&state.encode(0));
    }
    let lsn = spool.next_lsn();
    *state = state.after_frame(lsn, 1, &body(lsn));
    assert_eq!(spool.append(1, &body(lsn)).unwrap(), lsn);
}

/// The state after frames 1 to `last`.
fn state_at(last: Lsn) -> State {
    (1..=last).fold(State::default(), |state, lsn| state.after_frame(lsn, 1, &body(lsn)))
}

fn read_all(spool: &mut Spool<FileStorage>) {
    let mut next = spool.usage().oldest_lsn;
    let mut reader = spool.reader(0);
    while let Some(frame) = spool.read(&mut reader).unwrap() {
        assert_eq!((frame.lsn, frame.kind, frame.body), (next, 1, body(next).as_slice()));
        next += 1;
    }
    assert_eq!(next, spool.durable() + 1);
}

/// A device takes whole blocks, and a journal's for each block that is written for the first time.
#[test]
fn small_commits_write_ahead_where_nothing_was_written_and_nowhere_else() {
    const COMMITS: u64 = 4000;
    let storage = MemoryStorage::new(1);
    let options = Options { segment_bytes: 256 << 10, ..Options::for_quota(4 << 20) };
    for life in 0..2 {
        let mut state = Recorder::default();
        let mut spool = Spool::open(storage.clone(), options, 1 + life, &mut state).unwrap();
        spool.set_streams(&[0]);
        let (mut first, mut before) = (spool.next_lsn(), spool.usage());
        // Checkpoints, headers and acknowledgements are in this as well: 200 KiB or so.
        let ahead_bytes = |spool: &Spool<MemoryStorage>, first, before: Usage| {
            spool.usage().bytes_written - before.bytes_written - frames_bytes(first, spool.next_lsn())
        };
        for at in 0..2 * COMMITS {
            if at == COMMITS {
                let ahead = ahead_bytes(&spool, first, before);
                assert!((256 << 10..1 << 20).contains(&ahead), "{ahead} bytes ahead in new files");
                (first, before) = (spool.next_lsn(), spool.usage());
            }
            if spool.wants_checkpoint() {
                spool.checkpoint(&[0; 1000]);
            }
            spool.append(1, &body(spool.next_lsn())).unwrap();
            spool.ack(0, spool.durable());
            let commit = spool.begin_commit().unwrap().unwrap();
            spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
        }
        let ahead = ahead_bytes(&spool, first, before);
        assert!(ahead < 220 << 10, "{ahead} bytes ahead in files that go round");
        let per_commit = (spool.usage().device_bytes - before.device_bytes) / COMMITS;
        assert!((4096..4096 + 1024).contains(&per_commit), "{per_commit} bytes each");
    }
}

fn frames_bytes(from: Lsn, to: Lsn) -> u64 {
    (from..to).map(|lsn| 24 + body(lsn).len().next_multiple_of(8) as u64).sum()
}

#[test]
fn a_log_in_a_directory_goes_on_where_it_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 10, ..Options::for_quota(Options::MAX_BYTES_MIN) };
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut promised, mut taken) = (0, 0);
    for _ in 0..12 {
        let (storage, mut spool, found) = open(dir.path(), options);
        assert!((promised..=taken).contains(&spool.durable()), "{} of {promised} to {taken}", spool.durable());
        assert_eq!(found.state, state_at(spool.durable()));
        let mut state = found.state;
        spool.set_streams(&[0]);
        read_all(&mut spool);
        for _ in 0..60 {
            for _ in 0..rng.u32(1..8) {
                append(&mut spool, &mut state);
            }
            spool.ack(0, spool.durable().saturating_sub(300));
            let commit = spool.begin_commit().unwrap().unwrap();
            if rng.u8(0..60) == 0 {
                // Dropped as it is: what was written may be there or not.
                break;
            }
            promised = spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
        }
        read_all(&mut spool);
        taken = spool.next_lsn() - 1;
    }
    assert!(promised > 500, "only {promised} frames were committed");
}

/// Runs one ignored test of this file as another process.
fn other_process(mut command: Command, test: &str, dir: &Path) -> Command {
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]).env(DIRECTORY, dir);
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

#[test]
fn a_killed_process_loses_nothing_it_reported() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::for_quota(1 << 20);
    for round in 0..5 {
        let command = Command::new(std::env::current_exe().unwrap());
        let mut child = other_process(command, "files::commits_until_killed", dir.path()).spawn().unwrap();
        let mut reported = 0;
        let mut reports = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if let Some(lsn) = line.strip_prefix("durable ") {
                reported = lsn.parse().unwrap();
                reports += 1;
                if reports == 30 + 17 * round {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        let (_, mut spool, found) = open(dir.path(), options);
        assert!(spool.durable() >= reported && reports >= 30, "{reported} reported, {} found", spool.durable());
        assert_eq!(found.state, state_at(spool.durable()));
        read_all(&mut spool);
    }
}

#[test]
#[ignore = "the process that a_killed_process_loses_nothing_it_reported kills"]
fn commits_until_killed() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let (storage, mut spool, found) = open(Path::new(&dir), Options::for_quota(1 << 20));
    let mut state = found.state;
    spool.set_streams(&[0]);
    loop {
        append(&mut spool, &mut state);
        spool.ack(0, spool.durable());
        let commit = spool.begin_commit().unwrap().unwrap();
        let durable = spool.end_commit(commit.id, storage.sync_data(&commit.file)).unwrap();
        if writeln!(std::io::stdout(), "durable {durable}").is_err() {
            return;
        }
    }
}

/// The small file system is a tmpfs in a mount namespace of its own, which needs no privileges on most kernels.
#[test]
fn a_full_disk_stops_commits_and_loses_nothing() {
    let namespace = ["--user", "--map-root-user", "--mount", "sh", "-c"];
    let mount = "mount -t tmpfs -o size=1m none \"$EYOT_SPOOL_TEST_DIR\"";
    let dir = tempfile::tempdir().unwrap();
    let probe = Command::new("unshare").args(namespace).arg(mount).env(DIRECTORY, dir.path()).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a_full_disk_stops_commits_and_loses_nothing needs unshare(1) and user namespaces");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(namespace).arg(format!("{mount} && exec \"$0\" \"$@\"")).arg(std::env::current_exe().unwrap());
    let output = other_process(command, "files::fills_a_small_disk", dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("the disk was full"), "{text}");
}

#[test]
#[ignore = "the process that a_full_disk_stops_commits_and_loses_nothing runs on a small disk"]
fn fills_a_small_disk() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let options = Options { segment_bytes: 128 << 10, max_bytes: 64 << 20, frame_max_bytes: 64 << 10 };
    let (storage, mut spool, _) = open(Path::new(&dir), options);
    spool.set_streams(&[0]);
    let mut state = State::default();
    let commit = |spool: &mut Spool<FileStorage>| match spool.begin_commit() {
        Ok(Some(commit)) => spool.end_commit(commit.id, storage.sync_data(&commit.file)).map(|_| ()),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    while !(spool.is_full() && spool.wants_checkpoint()) {
        append(&mut spool, &mut state);
        commit(&mut spool).unwrap();
    }
    // Records that should have waited find no room.
    let error = loop {
        append(&mut spool, &mut state);
        if let Err(error) = commit(&mut spool) {
            break error;
        }
    };
    assert!(error.is_full(), "{error}");
    assert!(commit(&mut spool).is_err(), "a full disk stays full");
    let durable = spool.durable();
    read_all(&mut spool);
    // What all streams are done with makes room when that is durable, for which there is a place.
    spool.ack(0, durable);
    assert!(commit(&mut spool).is_err() && spool.commit_acks(0x60, &[0; 8]).unwrap());
    commit(&mut spool).unwrap();
    assert!(spool.durable() > durable, "the frame that found no room is durable now");
    read_all(&mut spool);
    println!("the disk was full");
}
