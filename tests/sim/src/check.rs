//! What must hold: at every arrival, in every step, after every boot, and when everything has healed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use eyot_core::config::{Priority, WhenFull};
use eyot_core::io::{LinkId, Notice, Now, Publish};
use eyot_core::ledger::{Ledger, StreamAccount};
use eyot_core::Core;
use eyot_spool::Storage;
use eyot_wire::code::DropReason;

use crate::books::{accounts, clock_is_steady, counts_agree, disk_retry_ms, only_allowed_drops, waits_for_log};
use crate::broker::{Broker, DOWN};
use crate::extra::Extra;
use crate::faults::Faults;
use crate::force::{found, Force};
use crate::guest::{has_local_part, is_reduced, Failing};
use crate::operator::Asked;
use crate::output::{message_of, refused, Output};
use crate::scenario::Scenario;
use crate::stream::{Parts, Seen};

/// What an uplink with a rate may send beyond it within a second: it makes up for a pause of a tenth.
const CATCH_UP_PERCENT: usize = 15;
/// Ages are looked at in steps, and what waits for a sync then has a step's time.
const TTL_SLACK_MS: i64 = 1100;

/// The outputs of one message take less than this.
const MESSAGE_BYTES: u64 = 200;
/// Where alarms go.
const ALARMS: &str = "cloud/alarms";

/// The checkers' memory of one history.
#[derive(Debug, Default)]
pub struct Checks {
    epoch: Option<u64>,
    /// By the epoch that tells streams apart.
    pub(crate) streams: BTreeMap<u64, Seen>,
    /// The epochs and the routes they are of, in the order they came to be; of backlogs that are gone as well.
    pub(crate) routes: Vec<(u64, String)>,
    /// When each message was taken in last, by the gateway's clock.
    taken_at_ms: BTreeMap<(u32, u64), i64>,
    /// When the last publishes were sent to the cloud, within a second.
    sent_at_us: VecDeque<u64>,
    /// Epochs and numbers of refused outputs that a dead letter arrived about.
    letters: BTreeSet<(u64, u64)>,
    /// Dead letters that were refused themselves: nothing tells of them.
    letters_refused: BTreeSet<(u64, u64)>,
    /// Outputs of high priority that were given up for room.
    alarms_gone: u64,
    /// No link was up.
    was_offline: bool,
    /// Which version is in force.
    pub force: Force,
    pub(crate) extra: Extra,
    /// Next sequence numbers by epoch, as of the last step.
    next_seqs: BTreeMap<u64, u64>,
    /// How many changes of version there had been when each message was taken in first.
    changes_at: BTreeMap<(u32, u64), usize>,
    /// Messages from the cloud that were taken in.
    down: u64,
    /// Times the rate of the uplink was all used.
    pub paced: u64,
}

impl Checks {
    /// Nothing happened yet.
    pub fn new(scenario: &Scenario) -> Self {
        Self { force: Force::new(scenario), ..Self::default() }
    }

    /// A publish arrives at its destination. `published` has how many messages each sensor has sent.
    pub fn arrive(&mut self, scenario: &Scenario, publish: &Publish, published: &[u64]) {
        let Some(stamp) = publish.stamp else { return };
        let output = Output::parse(&publish.payload);
        let output = output.unwrap_or_else(|| panic!("invented: {:?}", String::from_utf8_lossy(&publish.payload)));
        let is_known = published.get(output.topic as usize).is_some_and(|sent| (1..=*sent).contains(&output.number));
        assert!(is_known, "invented: nobody sent {output:?}");
        if let Some((epoch, seq)) = refused(&publish.payload) {
            let was_refused = self.streams.get(&epoch).is_some_and(|seen| seen.has_refused(seq));
            assert!(was_refused, "invented: nobody refused what the letter is about, {epoch} {seq}");
            self.letters.insert((epoch, seq));
        }
        let seen = self.streams.get_mut(&stamp.epoch);
        let seen = seen.unwrap_or_else(|| panic!("invented: no stream has epoch {}", stamp.epoch));
        if seen.arrive(stamp.seq, output) && ![Output::REFUSED, Output::DOWN].contains(&output.part) {
            let last = seen.changes_at(stamp.seq);
            // A message that a function without state is done with may wait for its place in the log while the version
            // changes.
            let first = self.changes_at.get(&(output.topic, output.number)).filter(|_| waits_for_log(scenario));
            let was_in_force = self.force.was_between(output, first.copied().unwrap_or(last), last);
            assert!(was_in_force, "not the active version of the function: {} {output:?}, {:?}", stamp.seq, self.force);
        }
    }

    /// A destination refuses a publish for good.
    pub fn refuse(&mut self, publish: &Publish) {
        let Some((stamp, output)) = publish.stamp.zip(Output::parse(&publish.payload)) else { return };
        if let Some(seen) = self.streams.get_mut(&stamp.epoch) {
            seen.refuse(stamp.seq, output);
        }
        if publish.topic.starts_with(b"eyot/sim/dead/") {
            self.letters_refused.insert((stamp.epoch, stamp.seq));
        }
    }

    /// The gateway tells something, while this is what it was asked for.
    pub fn noticed(&mut self, notice: &Notice, asked: Asked) {
        if self.force.noticed(notice, asked) {
            // The change is durable, and nothing was done by the function since it was made.
            for (epoch, next_seq) in &self.next_seqs {
                if let Some(seen) = self.streams.get_mut(epoch) {
                    seen.changed(*next_seq, self.force.changes());
                }
            }
        }
    }

    /// The gateway takes a message of a sensor in.
    pub fn taken(&mut self, scenario: &Scenario, payload: &[u8], now: Now) {
        if scenario.setup.ttl_ms.is_none() && !waits_for_log(scenario) {
            return;
        }
        let message = std::str::from_utf8(payload).ok().and_then(message_of);
        let message = message.expect("sensors send well-formed messages");
        if scenario.setup.ttl_ms.is_some() {
            self.taken_at_ms.insert(message, now.unix_ms);
        }
        if waits_for_log(scenario) {
            self.changes_at.entry(message).or_insert(self.force.changes());
        }
    }

    /// The gateway takes a message from the cloud in.
    pub fn taken_down(&mut self) {
        self.down += 1;
    }

    /// The gateway sends an output: not faster than the uplink's rate, and not too old.
    pub fn sent(&mut self, scenario: &Scenario, publish: &Publish, now: Now) {
        if publish.link != LinkId::uplink(0) || publish.stamp.is_none() {
            return;
        }
        if let Some(rate) = scenario.setup.rate_max_per_s {
            self.sent_at_us.push_back(now.mono_us);
            while self.sent_at_us.front().is_some_and(|at_us| at_us + 1_000_000 <= now.mono_us) {
                self.sent_at_us.pop_front();
            }
            self.paced += u64::from(self.sent_at_us.len() >= rate as usize);
            let most = rate as usize * (100 + CATCH_UP_PERCENT) / 100;
            assert!(self.sent_at_us.len() <= most, "rate: {} within a second, {rate}/s allowed", self.sent_at_us.len());
        }
        let output = Output::parse(&publish.payload).filter(|output| output.part == b'a' && clock_is_steady(scenario));
        if let (Some(ttl_ms), Some(output)) = (scenario.setup.ttl_ms, output) {
            let age_ms = now.unix_ms - self.taken_at_ms[&(output.topic, output.number)];
            assert!(
                age_ms <= ttl_ms as i64 + TTL_SLACK_MS + disk_retry_ms(scenario),
                "age: {output:?} is sent after {age_ms} ms, {ttl_ms} allowed"
            );
        }
    }

    /// After every step.
    pub fn always<S: Storage>(
        &mut self,
        scenario: &Scenario,
        core: &Core<S>,
        max_bytes: u64,
        downs: &Broker,
        is_offline: bool,
    ) {
        let ledger = core.ledger();
        self.enrol(ledger);
        assert!(ledger.is_balanced(), "the ledger does not balance: {ledger:?}");
        let used = core.spool().usage().bytes;
        assert!(used <= max_bytes, "quota: the log uses {used} bytes of {max_bytes}");
        counts_agree(scenario, core, (downs, self.down), "state and ledger disagree");
        if scenario.faults.push_mean_ms > 0 {
            self.next_seqs.clear();
            self.next_seqs.extend(ledger.streams.iter().map(|s| (s.epoch, s.next_seq)));
        }
        if let Some((max, when_full)) = scenario.setup.backlog {
            let routes = ledger.streams.iter().filter(|s| s.uplink() == "cloud");
            let waiting: u64 = routes.map(|s| s.pending_bytes).sum();
            // What is given up for others leaves in order, when all before it is answered: a silent link keeps it waiting.
            let is_kept = when_full == WhenFull::DropOldest || waiting <= max + MESSAGE_BYTES;
            assert!(is_kept, "quota: {waiting} bytes wait for the cloud, {max} allowed");
        }
        self.alarms_last(scenario, core, is_offline);
        for account in &ledger.streams {
            let seen = self.seen(account).count;
            let delivered = account.outputs.delivered;
            assert!(delivered <= seen, "{}: {delivered} counted as delivered, {seen} arrived", account.name);
        }
    }

    /// Nothing of high priority is given up for room while there is anything else to give up. With a link that is up a
    /// stream moves, and segments it moves in are not rewritten; a disk that fails may leave no choice.
    fn alarms_last<S: Storage>(&mut self, scenario: &Scenario, core: &Core<S>, is_offline: bool) {
        let Faults { disk_full_mean_ms, disk_error_mean_ms, sync_error_ppm, .. } = scenario.faults;
        if scenario.setup.alarms != Some(Priority::High)
            || scenario.setup.resizes
            || disk_full_mean_ms + disk_error_mean_ms + u64::from(sync_error_ppm) > 0
        {
            return;
        }
        let (alarms, others): (Vec<_>, Vec<_>) = core.ledger().streams.iter().partition(|s| s.base() == ALARMS);
        let gone = alarms.iter().map(|s| s.total().dropped(DropReason::SpoolFullOldest)).sum();
        let has_lost = gone > std::mem::replace(&mut self.alarms_gone, gone);
        let was_offline = std::mem::replace(&mut self.was_offline, is_offline);
        if has_lost && is_offline && was_offline {
            let waiting: u64 = others.iter().map(|s| s.pending_bytes).sum();
            let unsealed = 2 * core.spool().usage().bytes / core.spool().usage().segments.max(1);
            assert!(waiting <= unsealed, "alarms were given up while {waiting} bytes of others waited");
        }
    }

    /// Streams that came to be while the gateway ran.
    fn enrol(&mut self, ledger: &Ledger) {
        for account in &ledger.streams {
            self.streams.entry(account.epoch).or_insert_with(|| {
                let mut seen = Seen::default();
                seen.changed(1, self.force.changes());
                seen
            });
        }
        if self.routes.len() == self.streams.len() {
            return;
        }
        for account in &ledger.streams {
            if !self.routes.iter().any(|(epoch, _)| *epoch == account.epoch) {
                self.routes.push((account.epoch, account.base().to_owned()));
            }
        }
    }

    fn seen(&self, account: &StreamAccount) -> &Seen {
        &self.streams[&account.epoch]
    }

    /// After every boot: the log is the same log, nothing acknowledged is forgotten, and state and ledger are of one
    /// moment.
    pub fn booted<S: Storage>(
        &mut self,
        scenario: &Scenario,
        core: &Core<S>,
        (configured, asked): (u8, Asked),
        (broker, downs): (&Broker, &Broker),
    ) {
        self.force.booted(found(scenario, core, configured), configured, asked);
        // A log that never had a durable frame may begin again.
        if core.spool().durable() > 0 {
            let epoch = *self.epoch.get_or_insert(core.epoch());
            assert_eq!(core.epoch(), epoch, "the log was made anew");
        } else {
            assert_eq!(self.epoch, None, "the log is gone");
        }
        let ledger = core.ledger();
        for account in &ledger.streams {
            let seen = self.streams.entry(account.epoch).or_default();
            seen.changed(account.next_seq, self.force.changes());
            self.next_seqs.insert(account.epoch, account.next_seq);
        }
        self.enrol(ledger);
        let (received, acked) = (ledger.messages.received, broker.acks + downs.acks);
        assert!(received >= acked, "{acked} messages were acknowledged, the ledger remembers {received}");
        counts_agree(scenario, core, (downs, self.down), "state and ledger disagree after recovery");
        for (what, account) in accounts(ledger) {
            only_allowed_drops(scenario, what, &account);
        }
        self.sent_at_us.clear();
    }

    /// Outputs that arrived in the stream of this name, repetitions included.
    pub fn arrivals(&self, ledger: &Ledger, stream: &str) -> u64 {
        let account = ledger.streams.iter().find(|s| s.name == stream);
        account.and_then(|account| self.streams.get(&account.epoch)).map_or(0, |seen| seen.arrivals)
    }

    /// After faults have ended and the backlog is gone.
    pub fn finally<S: Storage>(&self, scenario: &Scenario, core: &Core<S>, (broker, downs): (&Broker, &Broker)) {
        let ledger = core.ledger();
        for (what, account) in accounts(ledger) {
            assert_eq!(account.pending, 0, "{what}: the backlog is gone and yet something is pending");
            only_allowed_drops(scenario, what, &account);
        }
        for account in &ledger.streams {
            let missing = self.seen(account).missing(account.next_seq);
            let dropped = account.outputs.dropped_total();
            assert!(missing <= dropped, "{}: {missing} outputs never arrived, {dropped} were dropped", account.name);
            // A route of its own, or a quota that refuses what is new, may part them.
            let refuses = scenario.setup.backlog.is_some_and(|(_, when_full)| when_full == WhenFull::DropNewest);
            let stay_together = scenario.setup.alarms.is_none() && !refuses;
            if let (true, Some((first, second))) = (stay_together, self.seen(account).torn()) {
                assert_eq!(account.name, "archive", "half of a message: {first:?} is followed by {second:?}");
            }
        }
        self.every_message_arrived(ledger, [broker, downs]);
        self.every_refusal_has_its_letter(ledger);
        self.in_order(ledger, broker);
        if scenario.setup.failing == Failing::Never {
            let mut failed = BTreeMap::<u8, u64>::new();
            for (version, count) in self.streams.values().flat_map(|seen| &seen.failed) {
                *failed.entry(*version).or_default() += count;
            }
            self.force.bad_ones_went(&failed);
        }
    }

    /// What arrived by any route of an uplink, also under epochs that are gone.
    fn arrived_at(&self, uplink: &str) -> Parts {
        let mut parts = Parts::default();
        let of_uplink = self.routes.iter().filter(|(_, route)| route.split('/').next() == Some(uplink));
        of_uplink.for_each(|(epoch, _)| parts.merge(&self.streams[epoch].parts));
        parts
    }

    /// Every message the gateway acknowledged came to all it should, or to a dead letter, or the ledger has it as dropped.
    fn every_message_arrived(&self, ledger: &Ledger, brokers: [&Broker; 2]) {
        let [local, cloud, archive] = ["local", "cloud", "archive"].map(|uplink| self.arrived_at(uplink));
        let has_archive = ledger.streams.iter().any(|s| s.name == "archive");
        let absent: Vec<_> = brokers
            .into_iter()
            .flat_map(|broker| &broker.acked)
            .filter(|(topic, number)| {
                let local = local.of(*topic, *number);
                if *topic == DOWN {
                    return local & Output::bit(Output::DOWN) == 0;
                }
                let is_dead = local & Output::bit(Output::DEAD) != 0;
                let wants_local = if has_local_part(*number) { Output::bit(b'c') } else { 0 };
                let in_cloud = cloud.of(*topic, *number) == Output::bit(b'a') | Output::bit(b'b');
                let in_archive = !has_archive || archive.of(*topic, *number) == Output::bit(b'b');
                !(is_dead || in_cloud && in_archive && local & wants_local == wants_local)
            })
            .collect();
        let dropped: u64 = accounts(ledger).map(|(_, account)| account.dropped_total()).sum();
        let dropped = dropped - ledger.messages.dropped(DropReason::DeadLetter);
        assert!(
            absent.len() as u64 <= dropped,
            "{} acknowledged messages did not arrive in full, {dropped} are in the ledger as dropped: {:?}",
            absent.len(),
            absent.iter().take(5).collect::<Vec<_>>()
        );
        let reduced: u64 = accounts(ledger).map(|(_, account)| account.dropped(DropReason::Reduced)).sum();
        let kept: Vec<_> = absent.iter().filter(|(_, number)| !is_reduced(*number)).collect();
        assert!(
            kept.len() as u64 <= dropped - reduced,
            "{} messages that a reducer keeps did not arrive in full, {} are in the ledger as dropped otherwise: {:?}",
            kept.len(),
            dropped - reduced,
            kept.iter().take(5).collect::<Vec<_>>()
        );
    }

    /// What was refused came as a dead letter, or the ledger has the letter as dropped: before it got a number, or after.
    fn every_refusal_has_its_letter(&self, ledger: &Ledger) {
        let accounts = ledger.streams.iter().map(StreamAccount::total);
        let refused: u64 = accounts.map(|account| account.dropped(DropReason::Refused)).sum();
        let local = ledger.streams.iter().find(|s| s.name == "local").map(StreamAccount::total).unwrap_or_default();
        let dropped = local.dropped_total() - local.dropped(DropReason::Refused) + ledger.letters_dropped;
        let (letters, of_letters) = (self.letters.len() as u64, self.letters_refused.len() as u64);
        assert!(
            // A refused letter is a refused output itself, and so is what it was about.
            refused <= letters + 2 * of_letters + dropped,
            "{refused} outputs were refused, {of_letters} of them letters, {letters} letters came, {dropped} were dropped"
        );
    }

    /// What came late has an excuse: it was sent again after it was given up, or failed, the first time.
    fn in_order(&self, ledger: &Ledger, broker: &Broker) {
        let local = ledger.streams.iter().find(|s| s.name == "local").expect("there is a local stream");
        // A message that was given up, and is delivered again because its acknowledgement was lost, may come through when
        // later ones have come through already. So may one whose dead letter was given up.
        let dropped = ledger.messages.dropped(DropReason::SpoolFullNewest) + local.outputs.dropped_total();
        for account in &ledger.streams {
            let excused = dropped + account.outputs.dropped_total() > 0;
            for (topic, number, part) in &self.seen(account).late {
                let failed_first = self.seen(local).parts.of(*topic, *number) & Output::bit(Output::DEAD) != 0;
                let refused_first = self.seen(account).refused_messages.contains(&(*topic, *number));
                // In a stream that this one took the place of: what is late here is the message delivered again.
                let earlier = self.routes.iter().take_while(|(epoch, _)| *epoch != account.epoch);
                let mut earlier = earlier.filter(|(_, route)| route == account.base());
                let came_first =
                    earlier.any(|(epoch, _)| self.streams[epoch].parts.of(*topic, *number) & Output::bit(*part) != 0);
                let excused = excused || failed_first || refused_first || came_first;
                assert!(
                    excused || broker.repeated.contains(&(*topic, *number)),
                    "order of topic {topic}: {number} came new after later ones in {}",
                    account.name
                );
            }
        }
    }
}
