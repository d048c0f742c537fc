//! A gateway whose every step is the test's.

// Long because what surrounds the machine, and what its effects lead to there, is one state.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use eyot_core::config::{Config, Configured, Uplink, WhenFull, REDUCER_FUEL_MAX};
use eyot_core::io::{Effect, Input, Job, LinkId, Message, Notice, Now, Publish};
use eyot_core::ledger::StreamAccount;
use eyot_core::task::Task;
use eyot_core::{Core, Loaded};
use eyot_engine::{Function, LoadOptions};
use eyot_spool::memory::MemoryStorage;
use eyot_spool::{Commit, Options, Storage};
use eyot_wire::manifest::{Limits, Manifest};

/// The uplink of most tests.
pub const CLOUD: LinkId = LinkId::uplink(0);

/// Emits each payload to the topic that stands behind `in/`; fails on those that begin with `!`, and takes its time over
/// those that begin with `~`.
pub const PASS: &str = r#"(module
  (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 3)
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
    (local $turns i32)
    (if (i32.eq (i32.load8_u (local.get $p)) (i32.const 33)) (then (return (i32.const 1))))
    (if (i32.eq (i32.load8_u (local.get $p)) (i32.const 126)) (then
      (local.set $turns (i32.const 20000))
      (loop $turn (br_if $turn (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))
    (call $emit (i32.add (local.get $t) (i32.const 3)) (i32.sub (local.get $tl) (i32.const 3))
                (local.get $p) (local.get $pl))))"#;

/// A reducer: of the payloads it is shown, keeps that of every tenth call, by its state. Traps if one begins with `#`, emits
/// twice if it begins with `2`, and to `elsewhere` if it begins with `>`. Spins if it begins with `^`.
const TENTH: &str = r#"(module
  (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_set" (func $set (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 3)
  (data (i32.const 16) "elsewhere")
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
    (local $first i32)
    (local.set $first (i32.load8_u (local.get $p)))
    (if (i32.eq (local.get $first) (i32.const 35)) (then unreachable))
    (if (i32.eq (local.get $first) (i32.const 94)) (then (loop $turn (br $turn))))
    (if (i32.eq (local.get $first) (i32.const 62))
      (then (return (call $emit (i32.const 16) (i32.const 9) (local.get $p) (local.get $pl)))))
    (drop (call $get (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 4)))
    (if (i32.eqz (i32.rem_u (i32.load (i32.const 8)) (i32.const 10)))
      (then (drop (call $emit (local.get $t) (local.get $tl) (local.get $p) (local.get $pl)))))
    (if (i32.eq (local.get $first) (i32.const 50))
      (then (drop (call $emit (local.get $t) (local.get $tl) (local.get $p) (local.get $pl)))
            (drop (call $emit (local.get $t) (local.get $tl) (local.get $p) (local.get $pl)))))
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
    (call $set (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 4))))"#;

/// Counts messages in its state under `n`, takes its time over those that begin with `^`, and fails after it has counted
/// those that begin with `!`.
const COUNT: &str = r#"(module
  (import "eyot" "state_get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "eyot" "state_set" (func $set (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 3)
  (data (i32.const 0) "n")
  (func (export "eyot_abi") (result i32) (i32.const 1))
  (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "eyot_handle") (param $t i32) (param $tl i32) (param $p i32) (param $pl i32) (result i32)
    (local $turns i32)
    (drop (call $get (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 4)))
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
    (if (i32.eq (i32.load8_u (local.get $p)) (i32.const 94)) (then
      (local.set $turns (i32.const 20000))
      (loop $turn (br_if $turn (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))
    (drop (call $set (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 4)))
    (i32.eq (i32.load8_u (local.get $p)) (i32.const 33))))"#;

fn function(name: &str, trigger: &str, module: &str) -> Loaded {
    let manifest = format!("name = \"{name}\"\nversion = \"1.0.0\"\n{trigger}[allow]\nemit = [\"#\"]");
    let manifest = Manifest::parse(&manifest).unwrap();
    let options = LoadOptions { manifest: Some(manifest), ceiling: Limits::CEILING, ..LoadOptions::default() };
    let module = wat::parse_str(module).unwrap();
    let load = move || Function::load(&module, options.clone()).ok();
    Loaded {
        function: Box::new(load().unwrap()),
        sha256: [0; 32],
        content_sha256: [0; 32],
        replica: Some(Arc::new(load)),
    }
}

fn functions() -> Vec<Loaded> {
    let trigger = |filter| format!("[[trigger]]\nmqtt = \"{filter}\"\n");
    // What is published below `in/two` comes to two outputs of one record.
    let second = function("second", &trigger("in/two/#"), PASS);
    let count = function("count", &trigger("in/count/#"), COUNT);
    // What is published below `in/soft` and begins with `?` is none of its business.
    let soft = format!("on_error = \"pass\"\n{}", trigger("in/soft/#"));
    let soft = function("soft", &soft, &PASS.replace("(i32.const 33)", "(i32.const 63)"));
    // What is published below `in/stubborn` is tried three times.
    let stubborn = format!("on_error = \"retry(2, 100ms)\"\n{}", trigger("in/stubborn/#"));
    let stubborn = function("stubborn", &stubborn, &PASS.replace("(i32.const 33)", "(i32.const 63)"));
    let tenth = function("tenth", &format!("[limits]\nfuel = {REDUCER_FUEL_MAX}\n"), TENTH);
    vec![function("pass", &trigger("in/#"), PASS), second, count, soft, stubborn, tenth]
}

/// A running gateway and everything around it.
pub struct Bench {
    pub core: Core<MemoryStorage>,
    pub storage: MemoryStorage,
    pub now: Now,
    /// Publishes nobody has answered or taken, in the order they were sent; without control documents.
    pub sent: Vec<Publish>,
    pub notices: Vec<Notice>,
    /// Control documents on the local broker, by topic.
    pub retained: BTreeMap<String, Bytes>,
    /// Other control messages, on all links.
    pub told: Vec<Publish>,
    /// Acknowledged messages: by which link and connection they came, and their packet id.
    pub acked: Vec<(LinkId, u64, u16)>,
    /// Jobs that go on until the test hands them back; none if they are to end at once.
    pub jobs: Option<Vec<Job>>,
    /// What the store of modules is asked to do.
    pub tasks: Vec<Task>,
    /// What nodes are to run, by their links.
    pub installs: Vec<(LinkId, Option<[u8; 32]>)>,
    pub drained: bool,
    config: Config,
    log: Options,
    next_conn: u64,
    conns: BTreeMap<LinkId, u64>,
    pub syncs: u64,
    /// The number of each sync after which a rewrite was in place.
    pub rewrites_at: Vec<u64>,
    /// The power fails after this sync.
    pub cut_at: u64,
    /// Or when the machine does not know yet that it is done.
    pub cut_early: bool,
    /// The next sync of a rewrite takes until [`release`](Self::release).
    pub hold: bool,
    /// So does that of a commit, and until then nothing of it is durable.
    pub hold_commits: bool,
    held: Option<Commit<<MemoryStorage as Storage>::File>>,
}

impl Bench {
    /// With these uplinks, nothing connected.
    pub fn new(uplinks: Vec<Uplink>) -> Self {
        Self::with(Self::config(uplinks), 64 << 20)
    }

    /// What [`new`](Self::new) configures.
    pub fn config(uplinks: Vec<Uplink>) -> Config {
        Config {
            gateway_id: "bench".to_owned(),
            uplinks,
            workers: 2,
            status_interval_us: 1 << 60,
            ack_flush_us: 1000,
            ..Config::default()
        }
    }

    /// With a log of another size, and this policy when it is full.
    pub fn sized(uplinks: Vec<Uplink>, when_full: WhenFull, max_bytes: u64) -> Self {
        Self::with(Config { when_full, ..Self::new(uplinks).config }, max_bytes)
    }

    /// With this configuration and quota.
    pub fn with(config: Config, max_bytes: u64) -> Self {
        Self::with_log(config, Options::for_quota(max_bytes))
    }

    /// With this configuration and a log of these sizes.
    pub fn with_log(config: Config, log: Options) -> Self {
        let storage = MemoryStorage::new(1);
        let now = Now { mono_us: 0, unix_ms: 1_700_000_000_000 };
        let core = open(&config, log, &storage, now);
        let (sent, notices, conns) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut bench = Self {
            core,
            storage,
            now,
            sent,
            notices,
            retained: BTreeMap::new(),
            told: Vec::new(),
            acked: Vec::new(),
            jobs: None,
            tasks: Vec::new(),
            installs: Vec::new(),
            drained: false,
            config,
            log,
            next_conn: 0,
            conns,
            syncs: 0,
            rewrites_at: Vec::new(),
            cut_at: 0,
            cut_early: false,
            hold: false,
            hold_commits: false,
            held: None,
        };
        bench.run();
        bench
    }

    /// The power fails, and comes back to a gateway with these uplinks.
    pub fn crash(&mut self, uplinks: Vec<Uplink>) {
        self.config.uplinks = uplinks;
        self.storage.crash();
        self.conns.clear();
        self.sent.clear();
        (self.held, self.hold_commits) = (None, false);
        self.core = open(&self.config, self.log, &self.storage, self.now);
        self.run();
    }

    /// As [`restart`](Self::restart), with another quota and policy.
    pub fn resize(&mut self, max_bytes: u64, when_full: WhenFull) {
        self.log = Options::for_quota(max_bytes);
        self.config.when_full = when_full;
        self.restart();
    }

    /// As [`crash`](Self::crash), with the same uplinks.
    pub fn restart(&mut self) {
        self.crash(self.config.uplinks.clone());
    }

    /// From the next start on the configuration file gives the only node this to run.
    pub fn configure_node(&mut self, configured: Option<Configured>) {
        self.config.nodes.iter_mut().for_each(|node| node.configured.clone_from(&configured));
    }

    /// Lets time pass, as the machine's deadlines have it.
    pub fn wait_ms(&mut self, ms: u64) {
        let ends_us = self.now.mono_us + ms * 1000;
        while let Some(due_us) = self.core.deadline_us().filter(|due_us| *due_us <= ends_us) {
            self.advance_to(due_us.max(self.now.mono_us + 1));
        }
        self.advance_to(ends_us);
    }

    fn advance_to(&mut self, mono_us: u64) {
        let ms = mono_us / 1000 - self.now.mono_us / 1000;
        self.now.mono_us = mono_us;
        self.now.unix_ms += ms as i64;
        self.handle(Input::Tick);
    }

    /// Only this, and what the machine does at once, of work that it does in slices a few.
    pub fn step(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.run();
    }

    /// And whatever is due at once.
    pub fn handle(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.run();
        while self.core.deadline_us().is_some_and(|due_us| due_us <= self.now.mono_us) {
            self.core.handle(self.now, Input::Tick);
            self.run();
        }
    }

    /// Does what the machine wants; syncs end at once.
    fn run(&mut self) {
        while let Some(effect) = self.core.poll() {
            match effect {
                Effect::Ack { link, conn, packet_id } => self.acked.push((link, conn, packet_id)),
                Effect::Publish(publish) if publish.token == 0 && !publish.retain => self.told.push(publish),
                Effect::Publish(publish) if publish.token == 0 => {
                    if publish.link == LinkId::INTAKE {
                        let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                        self.retained.insert(topic, publish.payload);
                    }
                }
                Effect::Publish(publish) => self.sent.push(publish),
                Effect::Sync(commit) if self.hold_commits && self.core.spool().rewriting().is_none() => {
                    self.held = Some(commit);
                }
                Effect::Sync(commit) => {
                    let result = self.storage.sync_data(&commit.file);
                    if self.hold && self.core.spool().rewriting().is_some() {
                        self.hold = false;
                        self.held = Some(commit);
                        continue;
                    }
                    if self.cut_early && self.syncs + 1 == self.cut_at {
                        self.syncs += 1;
                        return self.restart();
                    }
                    let before = self.core.ledger().rewrites;
                    self.core.handle(self.now, Input::Synced { commit: commit.id, result });
                    self.syncs += 1;
                    if self.core.ledger().rewrites > before {
                        self.rewrites_at.push(self.syncs);
                    }
                    if self.syncs == self.cut_at {
                        return self.restart();
                    }
                }
                Effect::Notice(notice) => self.notices.push(notice),
                Effect::Run(job) => match &mut self.jobs {
                    Some(jobs) => jobs.push(*job),
                    None => self.core.handle(self.now, Input::Ran(run_shadow(job))),
                },
                Effect::Drained => self.drained = true,
                Effect::Task(task) => self.tasks.push(*task),
                Effect::Subscribe(_) => {}
                Effect::Install { link, module } => self.installs.push((link, module.map(|(sha256, _)| sha256))),
                Effect::FunctionLog { .. } => {}
            }
        }
        assert!(self.core.ledger().is_balanced(), "{:?}", self.core.ledger());
    }

    /// A sensor publishes on `in/<topic>`, and it is committed. True if the machine took it.
    pub fn message(&mut self, topic: &str, payload: impl Into<Bytes>) -> bool {
        let taken = self.core.accepts_messages();
        if taken {
            let topic = Bytes::from(format!("in/{topic}"));
            let message =
                Message { conn: 0, packet_id: 1, qos: 1, dup: false, wakes: None, topic, payload: payload.into() };
            self.handle(Input::Message(message));
            self.wait_ms(20);
        }
        taken
    }

    /// As [`message`](Self::message), a tenth of a millisecond after what came before.
    pub fn burst(&mut self, topic: &str, payload: impl Into<Bytes>) {
        let topic = Bytes::from(format!("in/{topic}"));
        let message =
            Message { conn: 0, packet_id: 1, qos: 1, dup: false, wakes: None, topic, payload: payload.into() };
        for _ in 0..1000 {
            self.now.mono_us += 100;
            self.handle(Input::Tick);
            if self.core.accepts_messages() {
                return self.handle(Input::Message(message));
            }
        }
        panic!("no message is taken any more");
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Whether a sync is held up.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// The sync that was held up ends.
    pub fn release(&mut self) {
        if let Some(commit) = self.held.take() {
            let result = self.storage.sync_data(&commit.file);
            self.syncs += 1;
            self.handle(Input::Synced { commit: commit.id, result });
        }
    }

    /// The sync that was held up fails, and nothing of it is on the disk.
    pub fn fail_sync(&mut self) {
        self.hold_commits = false;
        self.fail_held();
    }

    /// The same, and the next is held up again.
    pub fn fail_held(&mut self) {
        if let Some(commit) = self.held.take() {
            self.handle(Input::Synced { commit: commit.id, result: Err(std::io::ErrorKind::Other.into()) });
        }
    }

    pub fn connect(&mut self, link: LinkId, inflight_max: u16) {
        self.connect_within(link, inflight_max, 1 << 20);
    }

    /// With at most so many publishes in flight, and so many bytes.
    pub fn connect_within(&mut self, link: LinkId, inflight_max: u16, inflight_max_bytes: u64) {
        self.next_conn += 1;
        self.conns.insert(link, self.next_conn);
        self.handle(Input::LinkUp { link, conn: self.next_conn, inflight_max, inflight_max_bytes });
    }

    /// Number of the present connection of `link`, or 0.
    pub fn conn(&self, link: LinkId) -> u64 {
        self.conns.get(&link).copied().unwrap_or(0)
    }

    pub fn disconnect(&mut self, link: LinkId) {
        if let Some(conn) = self.conns.remove(&link) {
            self.sent.retain(|p| p.link != link);
            self.handle(Input::LinkDown { link, conn });
        }
    }

    /// The far end takes the first publish that waits there; none if nothing does.
    pub fn take(&mut self) -> Option<Publish> {
        let publish = (!self.sent.is_empty()).then(|| self.sent.remove(0))?;
        self.answer(&publish, true);
        Some(publish)
    }

    pub fn answer(&mut self, publish: &Publish, accepted: bool) {
        let Publish { link, conn, token, .. } = *publish;
        self.handle(Input::Published { link, conn, token, accepted });
    }

    /// Payloads of everything that arrives from here on until nothing more does, as text, in order.
    pub fn drain(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.take()).map(|p| String::from_utf8(p.payload.to_vec()).unwrap()).collect()
    }

    pub fn stream(&self, name: &str) -> &StreamAccount {
        let streams = &self.core.ledger().streams;
        streams.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no stream {name} in {streams:?}"))
    }
}

fn open(config: &Config, log: Options, storage: &MemoryStorage, now: Now) -> Core<MemoryStorage> {
    let seed = storage.bytes_written() + 1;
    Core::open(config.clone(), log, storage.clone(), functions(), now, seed).unwrap()
}

/// A job nobody waits for is to be brought back done.
pub fn run_shadow(mut job: Box<Job>) -> Box<Job> {
    while job.is_shadow() && !job.step() {}
    job
}
