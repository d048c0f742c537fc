//! Control messages: when they are acknowledged, and what becomes of those there is no time for.

use std::sync::Arc;

use bytes::Bytes;
use eyot_core::io::{Answer, Input, LinkId, Message, Notice};
use eyot_core::task::{
    Authorized, Candidate, Fresh, Overrides, Part, Refusal, Shelf, Taken, Task, Unauthorized, TASKS_MAX,
};
use eyot_core::Loaded;
use eyot_engine::{Function, LoadOptions};
use eyot_trust::command::seal;
use eyot_trust::sign::Signer;
use eyot_wire::control::{Command, Order};
use eyot_wire::manifest::Manifest;
use eyot_wire::system::{SystemUpdate, UpdateReport, UpdateState};
use serde_json::Value;

use crate::bench::Bench;

const SHA: &str = "abababababababababababababababababababababababababababababababab";

fn bench() -> Bench {
    let mut bench = Bench::new(Vec::new());
    bench.connect(LinkId::INTAKE, 100);
    bench
}

fn send(bench: &mut Bench, packet_id: u16, topic: &str, payload: impl Into<Bytes>) {
    let (conn, topic) = (bench.conn(LinkId::INTAKE), Bytes::from(format!("eyot/bench/{topic}")));
    let message = Message { conn, packet_id, qos: 1, dup: false, wakes: None, topic, payload: payload.into() };
    bench.handle(Input::Message(message));
}

fn part(bench: &mut Bench, number: usize) {
    send(bench, number as u16 + 1, &format!("push/{SHA}/{number}"), "0123456789");
}

/// The store has done all it was asked to.
fn keep_all(bench: &mut Bench) {
    for task in std::mem::take(&mut bench.tasks) {
        if let Task::Keep { ticket, push, number, bytes } = task {
            let (push, bytes) = (push.unwrap_or([1; 32]), bytes.len() as u64);
            bench.handle(Input::Answer(Box::new(Answer::Kept { ticket, push, number, bytes, result: Ok(()) })));
        }
    }
}

fn acked(bench: &Bench) -> usize {
    bench.acked.len()
}

/// The last document on this topic.
fn told(bench: &Bench, topic: &str) -> Option<Value> {
    let topic = format!("eyot/bench/{topic}");
    let document = bench.told.iter().rfind(|publish| publish.topic == topic)?;
    Some(serde_json::from_slice(&document.payload).unwrap())
}

fn control_dropped(bench: &Bench) -> Value {
    serde_json::from_slice::<Value>(&bench.core.status_json()).unwrap()["control_dropped"].take()
}

#[test]
fn parts_there_was_no_time_for_are_counted_and_asked_for_again() {
    let mut bench = bench();
    for number in 0..TASKS_MAX + 2 {
        part(&mut bench, number);
    }
    assert_eq!((bench.tasks.len(), acked(&bench)), (TASKS_MAX, 0), "acknowledgements keep their order");
    assert_eq!(control_dropped(&bench), 2);
    assert!(bench.notices.contains(&Notice::ControlDropped { count: 1 }), "{:?}", bench.notices);
    keep_all(&mut bench);
    assert_eq!(acked(&bench), TASKS_MAX + 2);
    // It is tried as far as it has no gap, and that is not the whole.
    bench.wait_ms(300);
    let Some(Task::Take { push, parts }) = bench.tasks.pop() else { panic!("{:?}", bench.tasks) };
    assert_eq!(parts as usize, TASKS_MAX);
    bench.handle(Input::Answer(Box::new(Answer::Taken { push, result: Taken::Incomplete })));
    let report = told(&bench, &format!("push/{SHA}")).unwrap();
    assert_eq!((&report["state"], &report["missing"]), (&"receiving".into(), &serde_json::json!([64, 65])), "{report}");
    for number in TASKS_MAX..TASKS_MAX + 2 {
        part(&mut bench, number);
    }
    keep_all(&mut bench);
    bench.wait_ms(300);
    let whole =
        bench.tasks.iter().any(|task| matches!(task, Task::Take { parts, .. } if *parts as usize == TASKS_MAX + 2));
    assert!(whole, "{:?}", bench.tasks);
}

#[test]
fn a_command_there_was_no_time_for_is_answered() {
    let mut bench = bench();
    for number in 0..TASKS_MAX {
        part(&mut bench, number);
    }
    let command = Command::Remove { function: "pass".to_owned() };
    let order = Order { gateway: "bench".into(), nonce: "nonce-one".into(), expires: 1_800_000_000, command };
    let text = seal(&Signer::from_seed(&[7; 32], "ada").unwrap(), &order).unwrap();
    for _ in 0..100 {
        send(&mut bench, 1000, "command", text.clone());
    }
    let report = told(&bench, "command/nonce-one").unwrap();
    assert_eq!((&report["done"], report["reason"].as_str().unwrap().starts_with("busy")), (&false.into(), true));
    let answers = bench.told.iter().filter(|publish| publish.topic.ends_with(b"nonce-one")).count();
    assert_eq!((answers, control_dropped(&bench)), (16, 100.into()), "whoever floods is not answered as often");
    assert_eq!(bench.tasks.len(), TASKS_MAX);
}

/// The disk must not fill with modules that wait while a change takes its time.
#[test]
fn modules_in_one_piece_that_wait_are_bounded() {
    let mut bench = bench();
    let large = vec![0; 7 << 20];
    for number in 0..3 {
        send(&mut bench, number, "push", large.clone());
    }
    assert_eq!((bench.tasks.len(), control_dropped(&bench)), (2, 1.into()), "16 MiB under way");
    let kept = |bench: &mut Bench| {
        for (number, task) in std::mem::take(&mut bench.tasks).into_iter().enumerate() {
            if let Task::Keep { ticket, bytes, .. } = task {
                let (push, bytes) = ([number as u8 + 1; 32], bytes.len() as u64);
                bench.handle(Input::Answer(Box::new(Answer::Kept { ticket, push, number: 0, bytes, result: Ok(()) })));
            }
        }
    };
    kept(&mut bench);
    // One is being taken, the other waits; what is on the disk counts as what was on its way there.
    send(&mut bench, 9, "push", large);
    assert_eq!(control_dropped(&bench), 2);
    part(&mut bench, 0);
    assert_eq!(control_dropped(&bench), 2, "parts have their own room");
}

/// What the store has when the gateway starts again, and what it is given then.
#[derive(Default)]
struct Kept {
    commands: Vec<Result<Authorized, Unauthorized>>,
    audits: Vec<String>,
    parts: Vec<Part>,
}

impl Shelf for Kept {
    fn load(&mut self, _: &[u8; 32], _: &Overrides) -> Result<Loaded, String> {
        Err("there is nothing".to_owned())
    }

    fn commands(&mut self) -> Vec<Result<Authorized, Unauthorized>> {
        std::mem::take(&mut self.commands)
    }

    fn audit(&mut self, lines: &mut dyn Iterator<Item = &str>) {
        self.audits.extend(lines.map(str::to_owned));
    }

    fn parts(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }

    fn retain(&mut self, _: &[[u8; 32]]) {}
}

fn authorized(nonce: &str, command: Command) -> Authorized {
    let order = Order { gateway: "bench".into(), nonce: nonce.into(), expires: 1_800_000_000, command };
    Authorized { order, signer: "ada".into() }
}

fn config() -> Command {
    Command::Config { function: "count".to_owned(), set: [("k".to_owned(), "v".to_owned())].into(), unset: Vec::new() }
}

fn ordered(bench: &mut Bench, authorized: Authorized) {
    bench.handle(Input::Answer(Box::new(Answer::Ordered { ticket: 0, result: Ok(authorized) })));
}

fn count(bench: &Bench, is: impl Fn(&Task) -> bool) -> usize {
    bench.tasks.iter().filter(|task| is(task)).count()
}

#[test]
fn a_command_that_comes_again_while_it_is_being_done_is_done_once() {
    let mut bench = bench();
    for _ in 0..2 {
        ordered(&mut bench, authorized("nonce-one", config()));
    }
    assert_eq!(count(&bench, |t| matches!(t, Task::Load { .. })), 1);
    assert_eq!(told(&bench, "command/nonce-one").unwrap()["repeated"], "waiting");
    assert_eq!(count(&bench, |t| matches!(t, Task::Done { .. })), 0, "it is kept until it is done");
    let result = Err("no".to_owned());
    bench.handle(Input::Answer(Box::new(Answer::Loaded { sha256: [0; 32], result })));
    assert_eq!(told(&bench, "command/nonce-one").unwrap()["reason"], "no");
    assert_eq!(count(&bench, |t| matches!(t, Task::Load { .. })), 1);
    assert_eq!(count(&bench, |t| matches!(t, Task::Done { nonce } if nonce == "nonce-one")), 1);
    // What is not here cannot be configured, and says so.
    let gone = Command::Config { function: "gone".to_owned(), set: [].into(), unset: Vec::new() };
    ordered(&mut bench, authorized("nonce-two", gone));
    assert!(told(&bench, "command/nonce-two").is_some());
}

#[test]
fn commands_that_were_acknowledged_are_done_after_a_restart() {
    let mut bench = bench();
    let capture = |count| Command::Capture { function: "count".to_owned(), count, on_error: false };
    ordered(&mut bench, authorized("done-before", capture(1)));
    bench.wait_ms(20);
    bench.restart();
    bench.told.clear();
    let expired =
        Unauthorized { claimed: Some(authorized("too-late", capture(1)).order), reason: "expired".to_owned() };
    let kept =
        vec![Ok(authorized("done-before", capture(1))), Ok(authorized("not-done-yet", capture(1))), Err(expired)];
    bench.core.restore(&mut Kept { commands: kept, ..Kept::default() });
    bench.handle(Input::Tick);
    assert_eq!(told(&bench, "command/not-done-yet"), None, "nobody hears it yet");
    bench.connect(LinkId::INTAKE, 100);
    for (nonce, done) in [("done-before", true), ("not-done-yet", true), ("too-late", false)] {
        let report = told(&bench, &format!("command/{nonce}")).unwrap();
        assert_eq!(report["done"], done, "{report}");
        assert_eq!(
            count(&bench, |t| matches!(t, Task::Done { nonce: n } if n == nonce)),
            1 + usize::from(nonce == "done-before")
        );
    }
}

/// The line is in the log until it is in the audit log, also when a new segment begins meanwhile.
#[test]
fn no_kill_takes_a_change_from_the_audit_log() {
    let mut bench = bench();
    let audits = |bench: &mut Bench| {
        let mut kept = Kept::default();
        bench.core.restore(&mut kept);
        kept.audits
    };
    let capture = Command::Capture { function: "count".to_owned(), count: 1, on_error: false };
    ordered(&mut bench, authorized("nonce-one", capture));
    bench.wait_ms(20);
    let Some(Task::Audit { change: Some(change), line }) = bench.tasks.pop() else { panic!("{:?}", bench.tasks) };
    let segments = bench.core.spool().usage().segments;
    while bench.core.spool().usage().segments < segments + 2 {
        bench.message("nobody", vec![b'x'; 100_000]);
    }
    bench.restart();
    assert_eq!(audits(&mut bench), [line.as_str()]);

    // The store had it in time.
    bench.connect(LinkId::INTAKE, 100);
    let capture = Command::Capture { function: "count".to_owned(), count: 1, on_error: false };
    ordered(&mut bench, authorized("nonce-two", capture));
    bench.handle(Input::Answer(Box::new(Answer::Audited { change: change + 1 })));
    let segments = bench.core.spool().usage().segments;
    while bench.core.spool().usage().segments < segments + 2 {
        bench.message("nobody", vec![b'x'; 100_000]);
    }
    bench.restart();
    assert_eq!(audits(&mut bench), [""; 0]);
}

/// A command announces a system once, whoever sends it again; what comes of it is acknowledged when the store has said so.
#[test]
fn a_new_system_goes_to_the_store_and_what_that_says_is_told() {
    let mut bench = bench();
    let (board, version, sha256) = ("qemu-virt".into(), "0.2.0".into(), SHA.to_owned());
    let update = SystemUpdate { node: None, board, version, sha256, bytes: 8192 };
    for _ in 0..2 {
        ordered(&mut bench, authorized("nonce-one", Command::Update(update.clone())));
        bench.wait_ms(20);
    }
    assert_eq!(count(&bench, |t| matches!(t, Task::Update(announced) if *announced == update)), 1);
    assert_eq!(count(&bench, |t| matches!(t, Task::Audit { line, .. } if line.contains("\"update\""))), 1);
    assert_eq!(told(&bench, "command/nonce-one").unwrap()["repeated"], "done");

    send(&mut bench, 1, &format!("update/{SHA}/4096"), vec![7; 4096]);
    let Some(Task::UpdatePart { ticket, sha256, offset: 4096, bytes }) = bench.tasks.pop() else {
        panic!("{:?}", bench.tasks)
    };
    assert_eq!((sha256, bytes.len(), acked(&bench)), ([0xab; 32], 4096, 0));
    let report = UpdateReport { sha256: SHA.to_owned(), state: UpdateState::Verified, bytes: 8192, reason: None };
    bench.handle(Input::Answer(Box::new(Answer::Update { ticket: Some(ticket), report: Some(report) })));
    assert_eq!((acked(&bench), told(&bench, &format!("update/{SHA}")).unwrap()["bytes"].as_u64()), (1, Some(8192)));
    assert!(bench.notices.contains(&Notice::UpdateVerified { sha256: SHA.to_owned() }));

    let told = |bench: &Bench| serde_json::from_slice::<Value>(&bench.core.status_json()).unwrap()["system"].take();
    assert_eq!(told(&bench), Value::Null);
    bench.handle(Input::Answer(Box::new(Answer::System(Some("{\"slot\":3}".to_owned())))));
    assert_eq!(told(&bench)["slot"], 3);
}

/// Whoever may publish must not wear out the flash, fill the log, or use up a metered uplink.
#[test]
fn nonsense_is_not_written_down_each_time() {
    let mut bench = bench();
    for n in 0..1000 {
        // No push has so many parts.
        send(&mut bench, n, &format!("push/{SHA}/{}", 100_000 + u32::from(n)), "x");
    }
    let lines = bench.tasks.iter().filter(|task| matches!(task, Task::Audit { .. })).count();
    let notices = bench.notices.iter().filter(|notice| matches!(notice, Notice::PushRejected { .. })).count();
    let reports = bench.told.iter().filter(|publish| publish.topic.starts_with(b"eyot/bench/push/")).count();
    assert_eq!((lines, notices, reports, acked(&bench)), (20, 20, 64, 1000));
    assert_eq!(bench.tasks.len(), lines, "nothing of it is in the store, to be removed");
    bench.wait_ms(60_000);
    bench.tasks.clear();
    send(&mut bench, 1, &format!("push/{SHA}/100000"), "x");
    let [Task::Audit { line, .. }] = &bench.tasks[..] else { panic!("{:?}", bench.tasks) };
    assert!(line.contains("\"left_out\":980"), "{line}");
    // Nor does it end what somebody else has begun.
    part(&mut bench, 0);
    bench.tasks.clear();
    send(&mut bench, 1, &format!("push/{SHA}/100000"), "x");
    assert_eq!(bench.tasks.len(), 0, "{:?}", bench.tasks);
}

/// The kill came when the version was in force, and not all of its parts were removed or acknowledged.
#[test]
fn parts_of_what_is_in_force_do_not_wait_for_the_others() {
    let mut bench = bench();
    // The module of every function here.
    let push = [0; 32];
    let parts = vec![Part { push, number: 3, bytes: 10 }];
    bench.core.restore(&mut Kept { parts, ..Kept::default() });
    bench.handle(Input::Tick);
    assert_eq!(count(&bench, |task| matches!(task, Task::Forget { push: [0, ..] })), 1, "{:?}", bench.tasks);
    let topic = format!("push/{}", "00".repeat(32));
    send(&mut bench, 1, &format!("{topic}/4"), "x");
    assert_eq!((acked(&bench), told(&bench, &topic)), (1, None));
    send(&mut bench, 2, &format!("{topic}/0"), "x");
    assert_eq!(told(&bench, &topic).unwrap()["state"], "unchanged");
    assert_eq!(count(&bench, |task| matches!(task, Task::Keep { .. })), 0);
}

/// A version of `count` that does nothing.
fn release(version: &str, id: u8) -> Loaded {
    let manifest = format!("name = \"count\"\nversion = \"{version}\"\n[[trigger]]\nmqtt = \"in/count/#\"\n");
    let module = wat::parse_str(
        r#"(module (memory (export "memory") 1) (func (export "eyot_abi") (result i32) (i32.const 1))
           (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
           (func (export "eyot_handle") (param i32 i32 i32 i32) (result i32) (i32.const 0)))"#,
    );
    let options = LoadOptions { manifest: Manifest::parse(&manifest).ok(), ..LoadOptions::default() };
    let load = move || Function::load(module.as_ref().unwrap(), options.clone()).ok();
    let function = Box::new(load().unwrap());
    Loaded { function, sha256: [id; 32], content_sha256: [id; 32], replica: Some(Arc::new(load)) }
}

/// The store takes a push, and makes an instance of it.
fn deploy(bench: &mut Bench, loaded: Loaded) {
    let push = loaded.sha256;
    send(bench, 1, "push", "module");
    let Some(Task::Keep { ticket, .. }) = bench.tasks.pop() else { panic!("{:?}", bench.tasks) };
    bench.handle(Input::Answer(Box::new(Answer::Kept { ticket, push, number: 0, bytes: 6, result: Ok(()) })));
    let manifest = loaded.function.manifest().as_ref().clone();
    let candidate = Candidate { manifest, content_sha256: loaded.content_sha256, signers: Vec::new() };
    bench.handle(Input::Answer(Box::new(Answer::Taken { push, result: Taken::Ready(candidate) })));
    bench.handle(Input::Answer(Box::new(Answer::Loaded { sha256: push, result: Ok(Fresh(loaded)) })));
    bench.wait_ms(20);
    let report = told(bench, &format!("push/{}", hex::encode(push))).unwrap();
    assert_eq!(report["state"], "active", "{report}");
    bench.tasks.clear();
}

#[test]
fn what_nobody_authorized_changes_no_topic_of_a_function() {
    let mut bench = bench();
    deploy(&mut bench, release("1.1.0", 7));
    let topic = "eyot/bench/function/count";
    let before = bench.retained.clone();
    let mut refuse = |id: u8, name: &str, is_authorized| {
        let release = Some((name.to_owned(), "9.0.0".to_owned()));
        let result = Taken::Refused(Refusal { release, is_authorized, reason: "why".to_owned() });
        bench.handle(Input::Answer(Box::new(Answer::Taken { push: [id; 32], result })));
        bench.wait_ms(20);
        let report = told(&bench, &format!("push/{}", hex::encode([id; 32]))).unwrap();
        let says = |key: &str| report[key].as_str().unwrap().to_owned();
        assert_eq!(["state", "name", "version", "reason"].map(says), ["rejected", name, "9.0.0", "why"]);
        let other = "eyot/bench/function/other";
        let is_told = bench.retained.contains_key(other) || bench.told.iter().any(|publish| publish.topic == other);
        (bench.retained.get(topic).cloned(), is_told)
    };
    assert_eq!(refuse(8, "count", false), (before.get(topic).cloned(), false));
    assert_eq!(refuse(9, "other", false), (before.get(topic).cloned(), false));
    let document: Value = serde_json::from_slice(&refuse(10, "count", true).0.unwrap()).unwrap();
    assert_eq!((&document["state"], &document["version"]), (&"rejected".into(), &"9.0.0".into()));
    assert_eq!(document["active"]["version"], "1.1.0", "what is in force can be told from it");
}

/// It is a second instance with its memory.
#[test]
fn the_version_before_is_let_go_of_when_probation_is_over() {
    let mut bench = bench();
    let first = release("1.1.0", 7);
    let before = Arc::downgrade(first.replica.as_ref().unwrap());
    deploy(&mut bench, first);
    deploy(&mut bench, release("1.2.0", 8));
    bench.wait_ms(590_000);
    assert!(before.upgrade().is_some(), "it may have to come back at once");
    bench.wait_ms(70_000);
    assert!(before.upgrade().is_none());
}
