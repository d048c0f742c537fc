//! What a ledger may say of a history, and what it has to say.

use eyot_core::config::WhenFull;
use eyot_core::ledger::{Account, Ledger};
use eyot_core::Core;
use eyot_spool::Storage;
use eyot_wire::code::DropReason;

use crate::broker::Broker;
use crate::faults::Faults;
use crate::guest::{Failing, Long, NAME};
use crate::scenario::Scenario;

/// When the gateway asks a disk again that has failed.
const DISK_RETRY_MS: i64 = 1000;

/// The counter that a function of the simulation keeps in its state.
pub(crate) fn counter<S: Storage>(core: &Core<S>, name: &str) -> u64 {
    core.states()
        .find(|(function, key, _)| *function == name && *key == b"n")
        .map_or(0, |(_, _, value)| u64::from_le_bytes(value.try_into().expect("the counter has 8 bytes")))
}

/// Messages whose record holds a change of state: all that were handled and did not fail.
fn handled(ledger: &Ledger) -> u64 {
    let unhandled =
        [DropReason::DeadLetter, DropReason::IntakeFull, DropReason::SpoolFullNewest, DropReason::Malformed];
    ledger.messages.received - unhandled.iter().map(|r| ledger.messages.dropped(*r)).sum::<u64>()
}

/// Whatever is in flight, and whatever crashed, state is of the same moment as the log. What came down from the cloud passes
/// no function: as much of it is in the ledger as was acknowledged, but for what was not kept, and at most what was `down`.
pub(crate) fn counts_agree<S: Storage>(
    scenario: &Scenario,
    core: &Core<S>,
    (downs, down): (&Broker, u64),
    otherwise: &str,
) {
    if scenario.setup.long == Long::WithoutState {
        return;
    }
    let (counter, handled) = (counter(core, NAME), handled(core.ledger()));
    let least = downs.acks.saturating_sub(core.ledger().messages.dropped(DropReason::SpoolFullNewest));
    let of_cloud = handled.checked_sub(counter).filter(|count| (least..=down).contains(count));
    assert!(of_cloud.is_some(), "{otherwise}: counted {counter}, handled {handled}, {least} to {down} from the cloud");
}

/// Whether anything may be dropped for this reason.
fn is_allowed(scenario: &Scenario, reason: DropReason) -> bool {
    let setup = &scenario.setup;
    match reason {
        DropReason::DeadLetter => setup.failing == Failing::AtRandom || scenario.faults.push_mean_ms > 0,
        DropReason::IntakeFull => scenario.qos0_percent > 0,
        DropReason::SpoolFullNewest => setup.when_full == WhenFull::DropNewest,
        DropReason::SpoolFullOldest => setup.when_full == WhenFull::DropOldest,
        DropReason::Refused => scenario.faults.refuse_ppm > 0,
        DropReason::UplinkFull => setup.backlog.is_some_and(|(_, when_full)| when_full != WhenFull::Block),
        DropReason::Expired => setup.ttl_ms.is_some(),
        DropReason::Reduced => setup.reduce_at_percent.is_some(),
        // Nothing else is corrupt, wherever the disk fails or is full: what goes, goes when it is durable why.
        DropReason::Corrupt => scenario.faults.loses_durable,
        _ => false,
    }
}

pub(crate) fn clock_is_steady(scenario: &Scenario) -> bool {
    scenario.faults.clock_jump_mean_ms == 0 && !scenario.faults.no_rtc
}

/// What waits for a sync waits that much longer where the disk fails or is full: it is asked again after so long.
pub(crate) fn disk_retry_ms(scenario: &Scenario) -> i64 {
    let Faults { disk_full_mean_ms, disk_error_mean_ms, sync_error_ppm, .. } = scenario.faults;
    let may_fail = disk_full_mean_ms + disk_error_mean_ms + u64::from(sync_error_ppm) > 0;
    if may_fail {
        DISK_RETRY_MS
    } else {
        0
    }
}

pub(crate) fn only_allowed_drops(scenario: &Scenario, what: &str, account: &Account) {
    for reason in DropReason::ALL {
        let count = account.dropped(reason);
        assert!(
            count == 0 || is_allowed(scenario, reason),
            "{what}: {count} dropped as {}, which nothing here calls for",
            reason.word()
        );
    }
}

pub(crate) fn accounts(ledger: &Ledger) -> impl Iterator<Item = (&str, Account)> {
    let streams = ledger.streams.iter().map(|s| (s.name.as_str(), s.total()));
    std::iter::once(("messages", ledger.messages.clone())).chain(streams)
}

/// Whether a message that a function is done with may wait for its place in the log while another version comes.
pub(crate) fn waits_for_log(scenario: &Scenario) -> bool {
    scenario.setup.long == Long::WithoutState && scenario.faults.push_mean_ms > 0
}
