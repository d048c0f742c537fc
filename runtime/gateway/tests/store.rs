//! The store of pushed modules, over a real directory.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::{function, TempDir};
use eyot_core::task::{Answer, Part, Shelf as _, Taken, Task};
use eyot_gateway::board;
use eyot_gateway::store::{Store, AUDIT_MAX_BYTES};
use eyot_trust::command::seal;
use eyot_trust::policy::{Grant, Policy};
use eyot_trust::sign::Signer;
use eyot_wire::control::{Command, Order};
use sha2::{Digest as _, Sha256};

struct Place {
    dir: TempDir,
    signer: Signer,
}

impl Place {
    fn new() -> Self {
        Self { dir: TempDir::new(), signer: Signer::from_seed(&[7; 32], "ada@lab").unwrap() }
    }

    fn store(&self) -> Store {
        self.with(Vec::new())
    }

    fn with(&self, configured: Vec<([u8; 32], PathBuf)>) -> Store {
        let policy = Policy { grants: vec![Grant::full(self.signer.public().clone())], ..Policy::default() };
        Store::open(&self.data(), policy, vec!["barn-7".to_owned()], configured).unwrap()
    }

    fn data(&self) -> PathBuf {
        self.dir.0.join("data")
    }

    fn unsigned(&self) -> Vec<u8> {
        fs::read(function::echo(&self.dir)).unwrap()
    }

    fn module(&self) -> Vec<u8> {
        self.signer.sign(&self.unsigned()).unwrap()
    }

    /// Names of what is in the store, sorted.
    fn files(&self, kind: &str) -> Vec<String> {
        let found = fs::read_dir(self.data().join("functions").join(kind));
        let names = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = found.map(|entries| entries.map(names).collect()).unwrap_or_default();
        names.sort();
        names
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn keep(store: &Store, push: Option<[u8; 32]>, number: u32, bytes: &[u8]) -> std::io::Result<()> {
    let task = Task::Keep { ticket: 9, push, number, bytes: Bytes::copy_from_slice(bytes) };
    let Some(Answer::Kept { ticket: 9, push: found, number: n, bytes: length, result }) = store.work(task) else {
        panic!("no answer")
    };
    assert_eq!((n, length), (number, bytes.len() as u64));
    assert_eq!(found, push.unwrap_or_else(|| sha256(bytes)));
    result
}

fn take(store: &Store, push: [u8; 32], parts: u32) -> Taken {
    match store.work(Task::Take { push, parts }) {
        Some(Answer::Taken { result, .. }) => result,
        other => panic!("{other:?}"),
    }
}

/// The engine needs its stack.
fn on_stack(test: impl FnOnce() + Send + 'static) {
    eyot_gateway::functions::spawn("test", test).unwrap().join().unwrap();
}

#[test]
fn parts_become_a_module_that_loads_again_after_a_restart() {
    on_stack(|| {
        let place = Place::new();
        let (store, module) = (place.store(), place.module());
        let push = sha256(&module);
        let (first, second) = module.split_at(100);
        keep(&store, Some(push), 1, second).unwrap();
        keep(&store, Some(push), 0, first).unwrap();
        assert!(matches!(take(&store, push, 1), Taken::Incomplete));
        let Taken::Ready(candidate) = take(&store, push, 2) else { panic!() };
        assert_eq!((candidate.manifest.name.as_str(), candidate.signers.len()), ("echo", 1));
        assert_eq!(place.files("modules"), [format!("{}.wasm", hex::encode(push))]);
        // A crash before the log knows.
        let mut parts = place.store().parts();
        parts.sort_by_key(|part| part.number);
        let bytes = [first.len() as u64, second.len() as u64];
        assert_eq!(parts, [0, 1].map(|n: u32| Part { push, number: n, bytes: bytes[n as usize] }));
        assert!(store.work(Task::Forget { push }).is_none());
        assert_eq!(place.files("parts"), [""; 0]);

        let mut again = place.store();
        let loaded = again.load(&push, &Vec::new()).unwrap_or_else(|reason| panic!("{reason}"));
        assert!(loaded.sha256 == push && loaded.content_sha256 == candidate.content_sha256);
        assert!(loaded.replica.unwrap()().is_some());
        again.retain(&[]);
        assert_eq!(place.files("modules"), [""; 0]);
    });
}

#[test]
fn what_may_not_come_is_refused_and_nothing_of_it_stays() {
    on_stack(|| {
        let place = Place::new();
        let store = place.store();
        let stranger = Signer::from_seed(&[8; 32], "eve").unwrap().sign(&place.unsigned()).unwrap();
        let mut altered = place.module();
        let data = altered.windows(9).position(|bytes| bytes == b"cloud/out").unwrap();
        altered[data] ^= 1;
        let unloadable = {
            let text = r#"(module (@custom "eyot.manifest" "name = \"bad\"\nversion = \"1.0.0\""))"#;
            place.signer.sign(&wat::parse_str(text).unwrap()).unwrap()
        };
        for (bytes, reason) in [
            (place.unsigned(), "is not signed"),
            (stranger, "no key that is trusted here"),
            (altered, "altered"),
            (unloadable, "is refused"),
            (b"nonsense".to_vec(), "is not a core WebAssembly module"),
        ] {
            let whole = Task::Keep { ticket: 9, push: None, number: 0, bytes: Bytes::copy_from_slice(&bytes) };
            match store.work(whole) {
                Some(Answer::Refused { ticket: 9, refusal, .. }) => {
                    assert!(refusal.reason.contains(reason) && !refusal.is_authorized, "{refusal:?}");
                }
                // That it does not load is found out when it is its turn.
                Some(Answer::Kept { .. }) if reason == "is refused" => {}
                other => panic!("{reason}: {other:?}"),
            }
            if reason != "is refused" {
                assert_eq!(place.files("parts"), [""; 0], "{reason}: it is not even written");
            }
            keep(&store, Some(sha256(&bytes)), 0, &bytes).unwrap();
            let Taken::Refused(refusal) = take(&store, sha256(&bytes), 1) else { panic!("{reason}") };
            assert!(refusal.reason.contains(reason), "{refusal:?}");
            assert_eq!(refusal.is_authorized, reason == "is refused", "{refusal:?}");
            assert_eq!((place.files("parts"), place.files("modules")), (Vec::new(), Vec::new()), "{reason}");
        }
    });
}

#[test]
fn a_module_that_is_not_what_it_was_is_not_loaded() {
    on_stack(|| {
        let place = Place::new();
        let (mut store, module) = (place.store(), place.module());
        let push = sha256(&module);
        keep(&store, None, 0, &module).unwrap();
        assert!(matches!(take(&store, push, 1), Taken::Ready(_)));
        let path = place.data().join("functions/modules").join(format!("{}.wasm", hex::encode(push)));
        let whole = fs::read(&path).unwrap();
        let mut altered = whole.clone();
        altered[whole.len() / 2] ^= 1;
        for bytes in [&altered[..], &whole[..whole.len() / 2]] {
            fs::write(&path, bytes).unwrap();
            let reason = store.load(&push, &Vec::new()).map(drop).unwrap_err();
            assert!(reason.contains("is not what it was") && reason.contains("push it again"), "{reason}");
        }
        // The same push again mends it.
        keep(&store, None, 0, &module).unwrap();
        assert!(matches!(take(&store, push, 1), Taken::Ready(_)));
        assert!(store.load(&push, &Vec::new()).is_ok());
    });
}

#[test]
fn what_is_half_written_goes_at_start_and_what_cannot_be_written_leaves_nothing() {
    on_stack(|| {
        let place = Place::new();
        let (store, module) = (place.store(), place.module());
        let push = sha256(&module);
        keep(&store, None, 0, &module).unwrap();
        let part = place.data().join("functions/parts").join(format!("{}.0", hex::encode(push)));
        fs::write(part.with_extension("0.new"), b"half").unwrap();
        assert_eq!(place.store().parts().len(), 1);
        assert_eq!(place.files("parts"), [format!("{}.0", hex::encode(push))]);

        // Where a directory stands, no file can be put.
        let other = [3; 32];
        fs::create_dir(place.data().join("functions/parts").join(format!("{}.0", hex::encode(other)))).unwrap();
        assert!(keep(&store, Some(other), 0, b"x").is_err());
        assert!(!place.files("parts").iter().any(|name| name.ends_with("new")), "{:?}", place.files("parts"));
        fs::create_dir(place.data().join("functions/modules")).unwrap();
        fs::create_dir(place.data().join("functions/modules").join(format!("{}.wasm", hex::encode(push)))).unwrap();
        assert!(matches!(take(&store, push, 1), Taken::Failed(_)));
        assert_eq!(place.files("modules").len(), 1, "only what was in the way");
        assert!(matches!(take(&store, [9; 32], 1), Taken::Failed(_)), "no part of it is here");
    });
}

#[test]
fn the_audit_log_begins_anew_and_keeps_the_one_before() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    let store = place.store();
    let line = format!("{{\"a\":\"{}\"}}", "x".repeat(1000));
    let most = AUDIT_MAX_BYTES as usize / line.len() + 1;
    for _ in 0..2 * most + 2 {
        assert!(store.work(Task::Audit { change: None, line: line.clone() }).is_none());
    }
    let lines = |name: &str| fs::read_to_string(place.data().join(name)).unwrap().lines().count();
    assert!(!place.data().join("audit.ndjson").exists(), "what is refused is not among the changes");
    assert!(lines("refused.1.ndjson") >= most - 1 && (1..most).contains(&lines("refused.ndjson")));
}

#[test]
fn a_command_is_kept_until_it_is_done() {
    let place = Place::new();
    let store = place.store();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seal = |signer: &Signer, nonce: &str, expires| {
        let command = Command::Remove { function: "echo".to_owned() };
        let order = Order { gateway: "barn-7".to_owned(), nonce: nonce.to_owned(), expires, command };
        Bytes::from(seal(signer, &order).unwrap())
    };
    let read = |text: Bytes| match store.work(Task::Read { ticket: 1, text }) {
        Some(Answer::Ordered { ticket: 1, result }) => result.map_err(|refused| refused.reason),
        other => panic!("{other:?}"),
    };
    read(seal(&place.signer, "nonce-one", now_s + 600)).unwrap();
    read(seal(&place.signer, "nonce-two", now_s + 5)).unwrap();
    read(seal(&Signer::from_seed(&[8; 32], "eve").unwrap(), "nonce-eve", now_s + 600)).unwrap_err();
    assert_eq!(place.files("commands"), ["nonce-one.json", "nonce-two.json"], "only what may be done");
    let commands = place.data().join("functions/commands");
    fs::copy(commands.join("nonce-one.json"), commands.join("other-name.json")).unwrap();
    let two = fs::File::options().write(true).open(commands.join("nonce-two.json")).unwrap();
    two.set_modified(SystemTime::now() + Duration::from_secs(10)).unwrap();

    let again = place.store().commands();
    let nonces: Vec<_> =
        again.iter().map(|kept| kept.as_ref().map(|a| a.order.nonce.as_str()).map_err(|_| ())).collect();
    assert_eq!(nonces, [Ok("nonce-one"), Err(())], "the second has expired");
    let claimed = again[1].as_ref().unwrap_err().claimed.as_ref();
    assert_eq!(claimed.map(|order| order.nonce.as_str()), Some("nonce-two"));
    for nonce in ["nonce-one", "nonce-two"] {
        assert!(store.work(Task::Done { nonce: nonce.to_owned() }).is_none());
    }
    assert_eq!((place.store().commands().len(), place.files("commands").len()), (0, 1));
}

#[test]
fn a_line_of_the_audit_log_that_a_kill_lost_is_added_once() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    let mut store = place.store();
    let line = |n: u64| format!("{{\"n\":{n}}}");
    let Some(Answer::Audited { change: 1 }) = store.work(Task::Audit { change: Some(1), line: line(1) }) else {
        panic!()
    };
    let audit = place.data().join("audit.ndjson");
    // The power went in the middle of the second.
    fs::write(&audit, format!("{}\n{}", line(1), r#"{"n"#)).unwrap();
    for _ in 0..2 {
        store.audit(&mut [line(1), line(2), line(3)].iter().map(String::as_str));
    }
    let text = fs::read_to_string(&audit).unwrap();
    assert_eq!(text.lines().collect::<Vec<_>>(), [line(1).as_str(), r#"{"n"#, &line(2), &line(3)]);
}

#[test]
fn what_the_configuration_names_is_kept_while_it_is_there_and_a_damaged_copy_replaced() {
    on_stack(|| {
        let place = Place::new();
        let path = function::echo(&place.dir);
        let module = fs::read(&path).unwrap();
        let (id, none) = (sha256(&module), Vec::new());
        let configured = vec![(id, path.clone())];
        let copy = place.data().join("functions/modules").join(format!("{}.wasm", hex::encode(id)));
        let foreign = copy.with_file_name("notes.txt");
        place.with(configured.clone()).retain(&[]);
        fs::write(&foreign, b"mine").unwrap();
        fs::write(&copy, b"damaged").unwrap();
        assert!(place.with(configured.clone()).load(&id, &none).is_ok(), "from the configured file");
        place.with(configured.clone()).retain(&[]);
        assert_eq!(fs::read(&copy).unwrap(), module);
        // A push over it works also when the file is another by then.
        fs::write(&path, b"the next version").unwrap();
        let load = Task::Load { sha256: id, overrides: none, keep: Some(id) };
        let Some(Answer::Loaded { result, .. }) = place.with(configured).work(load) else { panic!() };
        assert!(result.is_ok(), "{result:?}");
        place.store().retain(&[]);
        assert_eq!(place.files("modules"), ["notes.txt"], "what is not the gateway's is left alone");
    });
}

/// A function for the memory of a node.
const SMALL: &str = r#"(module
  (@custom "eyot.manifest" "name = \"small\"\nversion = \"1.0.0\"")
  (memory (export "memory") 2048 (pagesize 1))
  (func (export "eyot_abi") (result i32) i32.const 1)
  (func (export "eyot_alloc") (param i32) (result i32) i32.const 1024)
  (func (export "eyot_handle") (param i32 i32 i32 i32) (result i32) i32.const 0))"#;

#[test]
fn what_is_for_a_node_has_parts_of_its_own_and_must_fit_its_board() {
    on_stack(|| {
        let place = Place::new();
        let board = || [("north", Some(board::find("mps2-an505").unwrap()))].into_iter();
        let store = place.store().with_nodes(board()).unwrap();
        let on_node = |task: Task| match store.work(Task::Node { node: 0, task: Box::new(task) })? {
            Answer::Node { node: 0, answer } => Some(*answer),
            other => panic!("{other:?}"),
        };
        let module = place.signer.sign(&wat::parse_str(SMALL).unwrap()).unwrap();
        let push = sha256(&module);
        let keep = Task::Keep { ticket: 9, push: None, number: 0, bytes: Bytes::copy_from_slice(&module) };
        assert!(matches!(on_node(keep), Some(Answer::Kept { result: Ok(()), .. })));
        assert_eq!((place.files("parts").len(), place.files("nodes/north").len()), (0, 1));
        let mut again = place.store().with_nodes(board()).unwrap();
        assert_eq!(again.node_parts(0), [Part { push, number: 0, bytes: module.len() as u64 }]);
        assert_eq!((again.parts(), again.node_parts(1)), (vec![], vec![]));
        let taken = on_node(Task::Take { push, parts: 1 });
        assert!(matches!(taken, Some(Answer::Taken { result: Taken::Ready(_), .. })), "{taken:?}");
        let fetched = on_node(Task::Fetch { sha256: push });
        assert!(matches!(fetched, Some(Answer::Fetched { result: Ok(bytes), .. }) if bytes[..] == module[..]));
        assert!(on_node(Task::Forget { push }).is_none());
        assert_eq!(place.files("nodes/north"), [""; 0]);
        let large = place.signer.sign(&[&place.unsigned()[..], &[0, 0x81, 0x80, 6, 0], &[7; 98_304]].concat()).unwrap();
        for (bytes, why) in [(large, "does not fit: module bytes: "), (place.module(), "is refused: module: 393216")] {
            let push = sha256(&bytes);
            let keep = Task::Keep { ticket: 9, push: Some(push), number: 0, bytes: bytes.into() };
            assert!(matches!(on_node(keep), Some(Answer::Kept { .. })));
            let taken = on_node(Task::Take { push, parts: 1 });
            let Some(Answer::Taken { result: Taken::Refused(refusal), .. }) = taken else { panic!("{taken:?}") };
            assert!(refusal.reason.starts_with(why), "{refusal:?}");
        }
        // A node that the configuration has no more leaves nothing behind.
        keep_for(&store, push);
        drop(place.store().with_nodes([("south", None)].into_iter()).unwrap());
        assert_eq!(place.files("nodes/north"), [""; 0]);
    });
}

fn keep_for(store: &Store, push: [u8; 32]) {
    let task = Task::Keep { ticket: 9, push: Some(push), number: 0, bytes: Bytes::from_static(b"part") };
    assert!(store.work(Task::Node { node: 0, task: Box::new(task) }).is_some());
}
