//! The gateway's own ledger, from the document on `eyot/<gw>/status`, against what arrived.
//!
//! An uplink's outputs are delivered in the order of their numbers, so those that are pending have the last numbers given
//! out. What is missing below them must have been dropped; what is missing among them is on its way. A reducer leaves
//! holes among those that are pending: then this is not true of each number, but still of how many there are.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::audit::{Key, Stream};
use crate::error::Error;
use crate::file;
use crate::output::shown;

/// Largest status document, in bytes.
const STATUS_MAX_BYTES: usize = 1 << 20;
/// Stream to the local broker, which is no cloud.
const LOCAL: &str = "local";

/// What is read of the document.
#[derive(Debug, Deserialize)]
pub struct Status {
    pub gateway: String,
    uplinks: Vec<Uplink>,
    /// Backlogs that are delivered and gone; gateways of old do not say.
    #[serde(default)]
    finished: Vec<Uplink>,
}

/// A stream: an uplink's default route, or `uplink/route`; with `~` and its epoch if it is a backlog behind another one.
#[derive(Debug, Deserialize)]
struct Uplink {
    name: String,
    epoch: u64,
    next_seq: u64,
    #[serde(flatten)]
    account: Account,
}

impl Uplink {
    fn is_of(&self, uplink: &str) -> bool {
        self.uplink() == uplink
    }

    fn uplink(&self) -> &str {
        self.name.split(['/', '~']).next().unwrap_or_default()
    }
}

/// What the gateway says of one uplink.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Account {
    pub received: u64,
    pub delivered: u64,
    pub pending: u64,
    pub dropped: u64,
    pub dropped_by_reason: BTreeMap<String, u64>,
}

impl Account {
    /// What is wrong with it in itself; none if nothing is.
    fn fault(&self) -> Option<String> {
        let sum = |counts: &[u64]| counts.iter().map(|n| u128::from(*n)).sum::<u128>();
        let parts = sum(&[self.delivered, self.pending, self.dropped]);
        if parts != u128::from(self.received) {
            return Some(format!("received {} but accounted for {parts}", self.received));
        }
        let reasons = sum(&self.dropped_by_reason.values().copied().collect::<Vec<_>>());
        (reasons != u128::from(self.dropped)).then(|| format!("dropped {} but for reasons {reasons}", self.dropped))
    }
}

/// A stream and its account, side by side.
#[derive(Debug, Serialize)]
pub struct Reconciled {
    pub uplink: String,
    #[serde(flatten)]
    pub account: Account,
    /// Numbers the gateway had given out.
    pub numbered: u64,
    /// Missing, and pending at the gateway.
    pub missing_pending: u64,
    /// Missing, and dropped by the gateway.
    pub missing_dropped: u64,
    /// Missing for no reason the gateway knows.
    pub unexplained: u64,
    /// Arrived, though the gateway counts them as pending or dropped: their acknowledgements were under way or lost.
    pub arrived_unacknowledged: u64,
    /// Arrived under numbers given out after the status was written.
    pub after_status: u64,
    /// Why the account itself cannot be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl Status {
    /// Reads the document in `path`.
    ///
    /// # Errors
    /// It cannot be read, or is not the status of a gateway that is online.
    pub fn read(path: &Path) -> Result<Self, Error> {
        const REMEDY: &str = "save it from a gateway that is online: mosquitto_sub -t eyot/<gw>/status -C 1";
        let bad = |reason: String| Error::bad_input(path.display(), reason, REMEDY);
        let bytes = file::read_start(path, STATUS_MAX_BYTES + 1)?;
        if bytes.len() > STATUS_MAX_BYTES {
            return Err(bad(format!("is larger than {STATUS_MAX_BYTES} bytes, so it is not a status document")));
        }
        serde_json::from_slice(&bytes)
            .map_err(|e| bad(format!("is not a status document: {}", shown(e.to_string().as_bytes()))))
    }

    fn streams(&self) -> impl Iterator<Item = &Uplink> {
        self.uplinks.iter().chain(&self.finished)
    }

    fn stream(&self, key: &Key) -> Option<&Uplink> {
        self.streams().find(|u| key.gateway == self.gateway && key.epoch == u.epoch)
    }

    /// Whether this document is about `key`.
    pub fn covers(&self, key: &Key) -> bool {
        self.stream(key).is_some()
    }

    /// Whether one of them makes the other superfluous.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.gateway == other.gateway && self.streams().any(|u| other.streams().any(|o| o.epoch == u.epoch))
    }

    /// Whether `key` is of the uplink `asked`, as far as this document knows.
    pub fn is_of(&self, key: &Key, asked: &str) -> bool {
        self.stream(key).is_none_or(|stream| stream.is_of(asked))
    }

    /// The streams the dump must be about: all routes of the uplink `asked`, else of the uplinks that something `arrived`
    /// of, else of the only one.
    ///
    /// # Errors
    /// There is no such uplink, or several.
    pub fn expected(&self, asked: Option<&str>, arrived: &[Key]) -> Result<Vec<Key>, Error> {
        let mut wanted: Vec<&str> = match asked {
            Some(name) => vec![name],
            None => arrived.iter().filter_map(|key| self.stream(key)).map(Uplink::uplink).collect(),
        };
        if wanted.is_empty() {
            wanted = self.uplinks.iter().map(Uplink::uplink).filter(|name| *name != LOCAL).collect();
            wanted.sort_unstable();
            wanted.dedup();
            if wanted.len() > 1 {
                return Err(self.which("has several uplinks", &wanted));
            }
        }
        if wanted.is_empty() {
            wanted.push(LOCAL);
        }
        let streams: Vec<&Uplink> = self.streams().filter(|u| wanted.iter().any(|name| u.is_of(name))).collect();
        if streams.is_empty() {
            let names: Vec<&str> = self.uplinks.iter().map(|u| u.name.as_str()).collect();
            return Err(self.which(&format!("has no uplink {}, only", shown(wanted.concat().as_bytes())), &names));
        }
        let key = |u: &&Uplink| Key { gateway: self.gateway.clone(), epoch: u.epoch, uplink: None };
        Ok(streams.iter().map(key).collect())
    }

    fn which(&self, reason: &str, names: &[&str]) -> Error {
        let names: Vec<String> = names.iter().map(|name| shown(name.as_bytes())).collect();
        let thing = format!("the status of {}", shown(self.gateway.as_bytes()));
        let reason = format!("{reason}: {}", names.join(", "));
        Error::bad_input(thing, reason, "say with --uplink which of them the dump is from")
    }

    /// Sets `stream` from number `start` on, with which its first record came or an earlier one, against its account; none if
    /// this document has none of it. What was dropped before that may be taken for what is missing behind it.
    pub fn reconcile(&self, stream: &Stream, start: u64) -> Option<Reconciled> {
        let uplink = self.stream(&stream.key)?;
        let account = &uplink.account;
        let arrived = &stream.arrived;
        let numbered = uplink.next_seq.saturating_sub(1);
        let settled = numbered.saturating_sub(account.pending);
        let missing_pending = arrived.missing(start.max(settled.saturating_add(1)), numbered);
        let missing_settled = arrived.missing(start, settled);
        let last = arrived.last().unwrap_or(0);
        let missing_after = arrived.missing(start.max(uplink.next_seq), last);
        // What the log had no room for is dropped as well, but its numbers were given to others.
        let dropped_numbered = account.dropped.saturating_sub(account.received.saturating_sub(numbered));
        let missing_dropped = missing_settled.min(dropped_numbered);
        let explained = missing_pending + missing_dropped;
        let before_start = start.saturating_sub(1).min(numbered);
        let arrived_within = numbered - before_start - missing_pending - missing_settled;
        let unacknowledged = account.pending.saturating_add(dropped_numbered).saturating_sub(explained);
        Some(Reconciled {
            uplink: uplink.name.clone(),
            account: account.clone(),
            numbered,
            missing_pending,
            missing_dropped,
            unexplained: missing_settled - missing_dropped + missing_after,
            arrived_unacknowledged: unacknowledged.saturating_sub(before_start),
            after_status: arrived.count() - arrived_within,
            fault: account.fault(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(next_seq: u64, [received, delivered, pending, dropped]: [u64; 4]) -> Status {
        let dropped_by_reason = BTreeMap::from([("refused".to_owned(), dropped)]);
        let account = Account { received, delivered, pending, dropped, dropped_by_reason };
        Status {
            gateway: "g".to_owned(),
            uplinks: vec![Uplink { name: "cloud".to_owned(), epoch: 1, next_seq, account }],
            finished: Vec::new(),
        }
    }

    fn key(epoch: u64) -> Key {
        Key { gateway: "g".to_owned(), epoch, uplink: None }
    }

    /// (pending, dropped, unexplained, unacknowledged, after) of these numbers under this status.
    fn reconciled(numbers: impl IntoIterator<Item = u64>, status: &Status) -> (u64, u64, u64, u64, u64) {
        let mut stream = Stream::new(key(1));
        for number in numbers {
            stream.arrived.insert(number);
        }
        let r = status.reconcile(&stream, 1).unwrap();
        (r.missing_pending, r.missing_dropped, r.unexplained, r.arrived_unacknowledged, r.after_status)
    }

    #[test]
    fn holes_that_a_reducer_left_are_explained() {
        let waiting = status(101, [100, 10, 9, 81]);
        assert_eq!(reconciled(1..=10, &waiting), (9, 81, 0, 0, 0), "of the others, one in ten waits");
        let done = status(101, [100, 19, 0, 81]);
        let left = || (1..=10).chain((20..=100).step_by(10));
        assert_eq!(reconciled(left(), &done), (0, 81, 0, 0, 0));
        assert_eq!(reconciled(left().filter(|n| *n != 50), &done), (0, 81, 1, 0, 0), "one more is missing");
    }

    #[test]
    fn what_is_missing_must_be_dropped_or_pending() {
        let status = status(11, [10, 6, 2, 2]);
        assert_eq!(reconciled([1, 2, 5, 6, 7, 8], &status), (2, 2, 0, 0, 0), "3, 4 dropped; 9, 10 pending");
        assert_eq!(reconciled(1..=10, &status), (0, 0, 0, 4, 0), "all acknowledgements were lost");
        assert_eq!(reconciled([1, 5, 6, 7, 8], &status), (2, 2, 1, 0, 0));
        assert_eq!(reconciled([1, 5, 6, 7, 8, 9, 10], &status), (0, 2, 1, 2, 0), "what arrived early excuses no loss");
        assert_eq!(reconciled([1, 2, 5, 6, 7, 8, 9, 10, 11, 13], &status), (0, 2, 1, 2, 2), "12 is nowhere");
        assert_eq!(reconciled([], &status), (2, 2, 6, 0, 0), "nothing arrived at all");
    }

    #[test]
    fn what_came_before_the_dump_is_not_missed() {
        let from = |start: u64, numbers: &[u64], status: &Status| {
            let mut stream = Stream::new(key(1));
            for number in numbers {
                stream.arrived.insert(*number);
            }
            let r = status.reconcile(&stream, start).unwrap();
            (r.missing_pending, r.missing_dropped, r.unexplained, r.arrived_unacknowledged, r.after_status)
        };
        let all = status(11, [10, 10, 0, 0]);
        assert_eq!(from(4, &[4, 5, 7, 8, 9, 10], &all), (0, 0, 1, 0, 0), "6 is missing, 1 to 3 are not asked for");
        assert_eq!(from(1, &[4, 5, 7, 8, 9, 10], &all), (0, 0, 4, 0, 0));
        let some = status(11, [10, 6, 2, 2]);
        assert_eq!(from(4, &[4, 5, 6, 7, 8], &some), (2, 0, 0, 0, 0), "9 and 10 wait; what was dropped was before");
        assert_eq!(from(10, &[10], &some), (0, 0, 0, 0, 0), "sent, and not acknowledged, or all of it before");
        assert_eq!(from(14, &[14, 16], &some), (0, 0, 1, 0, 2), "it begins after the status");
    }

    #[test]
    fn drops_without_a_number_excuse_nothing() {
        let status = status(9, [10, 8, 0, 2]);
        assert_eq!(reconciled(1..=8, &status), (0, 0, 0, 0, 0));
        assert_eq!(reconciled(1..=7, &status), (0, 0, 1, 0, 0));
    }

    #[test]
    fn every_route_of_the_uplink_is_expected() {
        let mut status = status(1, [0; 4]);
        for (epoch, name) in [(2, "cloud/alarms"), (3, "local"), (4, "lake"), (5, "cloud~5")] {
            let account = Account::default();
            status.uplinks.push(Uplink { name: name.to_owned(), epoch, next_seq: 1, account });
        }
        let epochs = |asked, arrived: &[Key]| {
            let keys = status.expected(asked, arrived)?;
            Ok::<_, Error>(keys.iter().map(|key| key.epoch).collect::<Vec<_>>())
        };
        assert_eq!(epochs(None, &[key(2)]).unwrap(), [1, 2, 5]);
        assert_eq!(epochs(None, &[key(2), key(4)]).unwrap(), [1, 2, 4, 5]);
        assert_eq!(epochs(Some("lake"), &[key(2)]).unwrap(), [4]);
        assert_eq!(epochs(Some("local"), &[]).unwrap(), [3]);
        let several = format!("{:?}", epochs(None, &[]).unwrap_err());
        assert!(several.contains("several uplinks: cloud, lake"), "{several}");
        let none = format!("{:?}", epochs(Some("sea"), &[]).unwrap_err());
        assert!(none.contains("no uplink sea, only: cloud, cloud/alarms, local, lake, cloud~5"), "{none}");
        assert!(status.is_of(&key(2), "cloud") && !status.is_of(&key(4), "cloud") && status.is_of(&key(9), "cloud"));
    }

    #[test]
    fn gaps_of_a_backlog_that_is_gone_are_explained() {
        let json = r#"{"gateway":"g","uplinks":[
            {"name":"cloud","epoch":2,"next_seq":1,"received":0,"delivered":0,"pending":0,"dropped":0,"dropped_by_reason":{}}],
            "finished":[{"name":"cloud~1","epoch":1,"next_seq":11,"received":10,"delivered":7,"pending":0,"dropped":3,
            "dropped_by_reason":{"expired":3}}]}"#;
        let status: Status = serde_json::from_str(json).unwrap();
        assert_eq!(reconciled(4..=10, &status), (0, 3, 0, 0, 0));
        assert_eq!(reconciled(5..=10, &status), (0, 3, 1, 0, 0), "one more is missing");
        let expected = status.expected(None, &[]).unwrap();
        assert_eq!(expected.iter().map(|key| key.epoch).collect::<Vec<_>>(), [2, 1]);
        let without = json.split(",\n            \"finished\"").next().unwrap();
        let status: Status = serde_json::from_str(&format!("{without}}}")).unwrap();
        assert!(!status.covers(&key(1)), "from a gateway that does not tell");
    }

    #[test]
    fn absurd_numbers_do_no_harm() {
        let most = u64::MAX;
        assert_eq!(reconciled([1], &status(0, [0; 4])), (0, 0, 0, 0, 1));
        assert_eq!(reconciled([most], &status(most, [most; 4])).1, 0, "all that is missing is pending");
        let r = status(0, [most; 4]).reconcile(&Stream::new(key(1)), 1).unwrap();
        assert!(r.fault.unwrap().contains("accounted for"));
    }

    #[test]
    fn an_account_must_be_right_in_itself() {
        let mut account = Account { received: 3, delivered: 2, dropped: 1, ..Account::default() };
        assert_eq!(account.fault().unwrap(), "dropped 1 but for reasons 0");
        account.dropped_by_reason.insert("refused".to_owned(), 1);
        assert_eq!(account.fault(), None);
        account.received = 4;
        assert_eq!(account.fault().unwrap(), "received 4 but accounted for 3");
    }
}
