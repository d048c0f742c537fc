//! The flash-wear budget with the whole machine: what a crash forgets, and what bursts do to it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::Bytes;
use eyot_core::config::Config;
use eyot_core::io::{Effect, Input, LinkId, Message, Now};
use eyot_core::Core;
use eyot_spool::memory::MemoryStorage;
use eyot_spool::{Options, Storage};

fn boot(storage: &MemoryStorage, now: Now, budget_bytes: u64) -> Core<MemoryStorage> {
    let config = Config {
        wear_budget_day_bytes: Some(budget_bytes),
        commit_window_max_us: 10_000_000,
        ack_flush_us: 2_000_000,
        status_interval_us: 1 << 40,
        ..Config::default()
    };
    Core::open(config, Options::for_quota(64 << 20), storage.clone(), Vec::new(), now, 1).unwrap()
}

/// Time passes, and everything happens that is due in it; syncs take none. Returns how many messages are acknowledged.
fn pass(core: &mut Core<MemoryStorage>, storage: &MemoryStorage, now: &mut Now, us: u64) -> u32 {
    let until_us = now.mono_us + us;
    let mut acks = 0;
    loop {
        while let Some(effect) = core.poll() {
            match effect {
                Effect::Sync(commit) => {
                    let result = storage.sync_data(&commit.file);
                    core.handle(*now, Input::Synced { commit: commit.id, result });
                }
                Effect::Ack { .. } => acks += 1,
                _ => {}
            }
        }
        now.mono_us = core.deadline_us().unwrap_or(until_us).clamp(now.mono_us, until_us);
        if now.mono_us == until_us {
            return acks;
        }
        core.handle(*now, Input::Tick);
    }
}

fn send(core: &mut Core<MemoryStorage>, now: Now) {
    let (topic, payload) = (Bytes::from_static(b"in/x"), Bytes::from_static(&[b'x'; 96]));
    core.handle(
        now,
        Input::Message(Message { conn: 1, packet_id: 1, qos: 1, dup: false, wakes: None, topic, payload }),
    );
}

fn wear(core: &Core<MemoryStorage>) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_slice(&core.status_json()).unwrap();
    status["wear"].clone()
}

#[test]
fn a_crash_forgets_the_last_commit_at_most() {
    const MESSAGES: u32 = 2000;
    let storage = MemoryStorage::new(1);
    let mut now = Now::default();
    let mut before = 0;
    for life in 0..3 {
        let mut core = boot(&storage, now, 1 << 30);
        let found = wear(&core)["day_bytes"].as_u64().unwrap();
        assert!(found <= before && before - found <= 64 << 10, "life {life}: {found} of {before}");
        core.handle(
            now,
            Input::LinkUp { link: LinkId::INTAKE, conn: 1, inflight_max: 100, inflight_max_bytes: 1 << 20 },
        );
        let mut acks = 0;
        for _ in 0..MESSAGES {
            send(&mut core, now);
            acks += pass(&mut core, &storage, &mut now, 1_000_000);
        }
        assert_eq!(acks, MESSAGES);
        before = wear(&core)["day_bytes"].as_u64().unwrap();
        assert!(before - found > u64::from(MESSAGES) * 4096, "{before}");
        assert!(wear(&core)["payload_bytes"].as_u64().unwrap() >= u64::from(MESSAGES) * 100);
        storage.crash();
    }
}

/// A commit for each burst would be half as much again as the budget. A silence after a burst means that the broker waits
/// for us, or nothing: in a window long enough for several bursts it means nothing.
#[test]
fn bursts_share_a_commit_when_the_budget_asks_for_it() {
    let storage = MemoryStorage::new(1);
    let mut now = Now::default();
    let mut core = boot(&storage, now, 450 << 20);
    core.handle(now, Input::LinkUp { link: LinkId::INTAKE, conn: 1, inflight_max: 100, inflight_max_bytes: 1 << 20 });
    for _ in 0..5 * 3600 {
        (0..8).for_each(|_| send(&mut core, now));
        pass(&mut core, &storage, &mut now, 1_000_000);
    }
    assert_eq!(wear(&core)["state"], "stretched", "{}", wear(&core));
}
