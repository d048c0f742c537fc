//! A small disk that something else fills, or that breaks, as the cards of gateways do. The cloud is away meanwhile, so
//! that nothing but the disk can make room.

use eyot_test_e2e::client::Client;
use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::daemon::Eyotd;
use eyot_test_e2e::disk::SmallDisk;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::site::{balances, Site};
use eyot_test_e2e::wait::STEP;
use serde_json::Value;

const DISK_MEBIBYTES: u64 = 20;
/// What the disk could hold if it were ours alone.
const SPOOL: &str = "max_bytes = \"16MiB\"\n";
/// More than the log has when the disk is full, and less than the disk has when it is empty.
const MESSAGES: u64 = 600;
const PAYLOAD_BYTES: usize = 8 << 10;
/// Before the disk fills up.
const BEFORE: u64 = 10;
/// After the disk has space again.
const AFTERWARDS: u64 = 100;

/// A gateway on a small disk, without its cloud.
struct Rig {
    // Dropped in this order: the disk is unmounted when nobody uses it.
    daemon: Option<Eyotd>,
    site: Site,
    cloud: Mosquitto,
    disk: SmallDisk,
}

impl Rig {
    fn new(test: &str, when_full: &str) -> Option<Self> {
        let disk = SmallDisk::ext4(test, DISK_MEBIBYTES)?;
        // What the gateway has not acknowledged, its broker keeps.
        let mut site = Site::with_broker("card", Mosquitto::persistent())
            .function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
        let mut cloud = Mosquitto::persistent();
        site.config.data_dir = disk.path();
        site.config.uplinks = vec![Uplink::cloud(cloud.url())];
        site.config.spool = format!("{SPOOL}when_full = {when_full:?}");
        Client::resume(cloud.port(), "collector").unwrap().subscribe("cloud/#");
        cloud.stop();
        Some(Self { daemon: None, site, cloud, disk })
    }

    fn start(&mut self) {
        self.daemon = Some(self.site.start());
    }

    /// With a log that has its first segment and its reserve, as any but a new one; then the disk fills up.
    fn start_and_fill(&mut self) {
        self.start();
        self.publish(0..BEFORE);
        self.await_status("a log", |status| status["ledger"]["received"] == BEFORE);
        self.disk.fill();
    }

    fn kill(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    fn publish(&self, numbers: std::ops::Range<u64>) {
        let mut sensor = self.site.client("sensor");
        for number in numbers {
            let mut payload = vec![b'.'; PAYLOAD_BYTES];
            payload[..8].copy_from_slice(&number.to_le_bytes());
            assert!(sensor.publish_heard("in/x", payload), "the broker keeps the gateway's session");
        }
    }

    #[track_caller]
    fn await_status(&self, what: &str, mut good: impl FnMut(&Value) -> bool) -> Value {
        let status = self.site.await_status(what, |status| status["online"] == true && good(status));
        assert!(balances(&status), "{status}");
        status
    }

    /// Until the ledger has seen this many messages and the log takes more.
    #[track_caller]
    fn await_room(&self, received: u64) -> Value {
        self.await_status("room again", |status| {
            status["spool"]["state"] == "ok" && status["ledger"]["received"].as_u64() >= Some(received)
        })
    }

    /// Brings the cloud back; the numbers of the messages that reach it, in the order of their first arrival.
    fn harvest(&mut self) -> Vec<u64> {
        self.cloud.resume();
        let status = self.await_status("everything delivered", |status| status["ledger"]["pending"] == 0);
        let delivered = status["ledger"]["delivered"].as_u64().unwrap();
        let mut collector = Client::resume(self.cloud.port(), "collector").unwrap();
        let mut arrived: Vec<u64> = Vec::new();
        let mut came = 0;
        while came < delivered {
            let publish = collector.next(STEP).unwrap().unwrap_or_else(|| panic!("{came} of {delivered} came"));
            let number = u64::from_le_bytes(publish.payload[..8].try_into().unwrap());
            came += 1;
            if arrived.last().is_none_or(|last| *last < number) {
                arrived.push(number);
            }
        }
        assert!(self.daemon.as_mut().unwrap().is_running());
        arrived
    }
}

fn dropped(status: &Value, reason: &str) -> u64 {
    status["ledger"]["dropped_by_reason"][reason].as_u64().unwrap_or(0)
}

#[test]
fn a_disk_filled_by_something_else_holds_acknowledgements_back_until_it_has_space() {
    let Some(mut rig) =
        Rig::new("a_disk_filled_by_something_else_holds_acknowledgements_back_until_it_has_space", "block")
    else {
        return;
    };
    rig.start_and_fill();
    rig.publish(BEFORE..MESSAGES);
    let full = rig.await_status("the log to be full", |status| status["spool"]["state"] == "full");
    assert!(full["ledger"]["received"].as_u64() < Some(MESSAGES), "the rest is with the broker: {full}");
    rig.disk.free();
    rig.await_room(MESSAGES);
    rig.publish(MESSAGES..MESSAGES + AFTERWARDS);
    let after = rig.await_room(MESSAGES + AFTERWARDS);
    assert_eq!(after["ledger"]["dropped"], 0, "{after}");
    assert_eq!(rig.harvest(), (0..MESSAGES + AFTERWARDS).collect::<Vec<_>>());
}

#[test]
fn a_daemon_killed_on_a_full_disk_starts_there_and_waits_for_space() {
    let Some(mut rig) = Rig::new("a_daemon_killed_on_a_full_disk_starts_there_and_waits_for_space", "block") else {
        return;
    };
    rig.start_and_fill();
    rig.publish(BEFORE..MESSAGES);
    rig.await_status("the log to be full", |status| status["spool"]["state"] == "full");
    rig.kill();
    rig.start();
    rig.await_status("the log to be full again", |status| status["spool"]["state"] == "full");
    rig.disk.free();
    let after = rig.await_room(MESSAGES);
    assert_eq!(after["ledger"]["dropped"], 0, "{after}");
    assert_eq!(rig.harvest(), (0..MESSAGES).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_was_full_before_the_first_start_is_waited_for() {
    let Some(mut rig) = Rig::new("a_disk_that_was_full_before_the_first_start_is_waited_for", "block") else { return };
    rig.disk.fill();
    rig.start();
    rig.publish(0..MESSAGES);
    let full = rig.await_status("the log to be full", |status| status["spool"]["state"] == "full");
    assert_eq!(full["ledger"]["delivered"], 0, "{full}");
    rig.disk.free();
    rig.await_room(MESSAGES);
    assert_eq!(rig.harvest(), (0..MESSAGES).collect::<Vec<_>>());
}

#[test]
fn drop_oldest_on_a_disk_filled_by_something_else_keeps_the_newest() {
    let Some(mut rig) = Rig::new("drop_oldest_on_a_disk_filled_by_something_else_keeps_the_newest", "drop-oldest")
    else {
        return;
    };
    rig.start_and_fill();
    rig.publish(BEFORE..MESSAGES);
    let full = rig.await_status("all to be taken", |status| status["ledger"]["received"].as_u64() >= Some(MESSAGES));
    assert!(dropped(&full, "spool_full_oldest") > 0, "{full}");
    rig.disk.free();
    rig.publish(MESSAGES..MESSAGES + AFTERWARDS);
    let after = rig.await_room(MESSAGES + AFTERWARDS);
    let lost = dropped(&after, "spool_full_oldest");
    assert_eq!(rig.harvest(), (lost..MESSAGES + AFTERWARDS).collect::<Vec<_>>(), "the oldest went: {after}");
}

#[test]
fn drop_newest_on_a_disk_filled_by_something_else_keeps_the_oldest() {
    let Some(mut rig) = Rig::new("drop_newest_on_a_disk_filled_by_something_else_keeps_the_oldest", "drop-newest")
    else {
        return;
    };
    rig.start_and_fill();
    rig.publish(BEFORE..MESSAGES);
    let full = rig.await_status("all to be taken", |status| status["ledger"]["received"].as_u64() >= Some(MESSAGES));
    let lost = dropped(&full, "spool_full_newest");
    assert!(lost > 0, "{full}");
    rig.disk.free();
    rig.await_room(MESSAGES);
    rig.publish(MESSAGES..MESSAGES + AFTERWARDS);
    let after = rig.await_room(MESSAGES + AFTERWARDS);
    assert_eq!(dropped(&after, "spool_full_newest"), lost, "there is space: {after}");
    let kept = (0..MESSAGES - lost).chain(MESSAGES..MESSAGES + AFTERWARDS);
    assert_eq!(rig.harvest(), kept.collect::<Vec<_>>());
}

/// The kernel turns an ext4 read-only when it meets an error; only a check and a new mount make it writable again.
#[test]
fn a_disk_that_turns_read_only_is_read_and_holds_acknowledgements_back_until_it_is_repaired() {
    let test = "a_disk_that_turns_read_only_is_read_and_holds_acknowledgements_back_until_it_is_repaired";
    let Some(mut rig) = Rig::new(test, "block") else { return };
    rig.start();
    rig.publish(0..AFTERWARDS);
    rig.await_room(AFTERWARDS);
    rig.disk.break_down();
    rig.publish(AFTERWARDS..MESSAGES);
    let failed = rig.await_status("the failure to be told", |status| status["spool"]["state"] == "failed");
    assert!(failed["ledger"]["received"].as_u64() < Some(MESSAGES), "the rest is with the broker: {failed}");
    rig.daemon.as_ref().unwrap().await_log(&["read-only"]);
    rig.cloud.resume();
    let mut collector = Client::resume(rig.cloud.port(), "collector").unwrap();
    for number in 0..AFTERWARDS {
        let publish = collector.next(STEP).unwrap().expect("what is on the disk is delivered");
        assert_eq!(u64::from_le_bytes(publish.payload[..8].try_into().unwrap()), number);
    }
    // When this is answered, all of those are acknowledged, and do not come again from this broker.
    collector.publish("elsewhere", "");
    drop(collector);
    rig.cloud.stop();
    rig.kill();
    rig.disk.repair();
    rig.start();
    let after = rig.await_room(MESSAGES);
    assert_eq!(after["ledger"]["dropped"], 0, "{after}");
    assert_eq!(rig.harvest(), (0..MESSAGES).collect::<Vec<_>>());
}
