//! Streams: every route of every uplink, and the local broker, with a number in the log each.

use eyot_spool::Lsn;
use eyot_wire::record::Route;
use eyot_wire::topic::matches;

use crate::backlog::Quotas;
use crate::config::{Priority, Uplink};
use crate::io::LinkId;
use crate::ledger::{bit, Account, Ledger, StreamAccount, STREAMS_MAX};

/// Name of the stream to the local broker.
const LOCAL: &str = "local";

/// Outputs that are numbered, ordered and accounted for together.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub number: u8,
    /// Where it goes; none if its uplink is gone from the configuration: then its backlog is dropped.
    pub link: Option<LinkId>,
    pub priority: Priority,
    pub ttl_ms: Option<u64>,
    topics: Vec<String>,
}

/// Where an output goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Routed {
    /// A bit for each stream that takes it.
    pub mask: u32,
    /// Uplinks that have no room for it.
    pub refused: u32,
}

/// All streams: that to the local broker, those of each uplink in the order they are tried, and at the end those that
/// only have a backlog.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Vec<Stream>);

/// A stream one too many.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany(pub String);

/// A stream before it has its number.
struct Planned {
    name: String,
    stream: Stream,
}

impl Streams {
    /// Finds or gives a number to every stream the configuration wants. A new one begins at the `end` of the log, what
    /// stands there under a number used before is not for it, and counts under an epoch of its own, from `fresh`.
    pub fn open(
        uplinks: &[Uplink],
        ledger: &mut Ledger,
        end: Lsn,
        mut fresh: impl FnMut() -> u64,
    ) -> Result<Self, TooMany> {
        let mut planned = plan(uplinks);
        ledger.streams.retain(|s| planned.iter().any(|p| p.name == s.name) || s.outputs.pending > 0);
        for Planned { name, stream } in &mut planned {
            if let Some(known) = ledger.streams.iter().find(|s| s.name == *name) {
                stream.number = known.stream;
                continue;
            }
            let free = (0..STREAMS_MAX).find(|n| ledger.stream(*n).is_none());
            stream.number = free.ok_or_else(|| TooMany(name.clone()))?;
            ledger.streams.push(StreamAccount {
                stream: stream.number,
                name: name.clone(),
                epoch: fresh(),
                passed: end,
                resume_seq: 1,
                counted_seq: 1,
                next_seq: 1,
                outputs: Account::default(),
                pending_bytes: 0,
            });
        }
        let mut streams: Vec<Stream> = planned.into_iter().map(|p| p.stream).collect();
        for account in &ledger.streams {
            if !streams.iter().any(|s| s.number == account.stream) {
                streams.push(leftover(account, uplinks));
            }
        }
        Ok(Self(streams))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.0.iter()
    }

    /// What is given up last of all when there is no room.
    pub fn priority(&self, number: u8) -> Priority {
        self.0.iter().find(|s| s.number == number).map_or(Priority::Normal, |s| s.priority)
    }

    /// Gives an output of so many `bytes` a number in the first stream of each uplink that takes its topic; the local
    /// broker gets what none takes.
    pub fn route(
        &self,
        topic: &str,
        bytes: u64,
        quotas: &Quotas,
        ledger: &mut Ledger,
        routes: &mut Vec<Route>,
    ) -> Routed {
        routes.clear();
        let mut routed = Routed::default();
        let mut enter = |stream: u8, ledger: &mut Ledger| {
            routes.push(Route { stream, seq: ledger.enter_output(stream, bytes) });
            routed.mask |= bit(stream);
        };
        let mut served = None;
        for stream in &self.0 {
            if stream.link != served && stream.topics.iter().any(|filter| matches(filter, topic)) {
                served = stream.link;
                if quotas.refuses(stream.link, bytes, ledger) {
                    ledger.refuse_output(stream.number);
                    routed.refused += 1;
                } else {
                    enter(stream.number, ledger);
                }
            }
        }
        if let (None, Some(local)) = (served, self.0.first()) {
            enter(local.number, ledger);
        }
        routed
    }
}

fn plan(uplinks: &[Uplink]) -> Vec<Planned> {
    let stream = |link, topics: &[String], priority, ttl_ms| Stream {
        number: 0,
        link: Some(link),
        priority,
        ttl_ms,
        topics: topics.to_vec(),
    };
    let local = stream(LinkId::LOCAL, &[], Priority::Normal, None);
    let mut planned = vec![Planned { name: LOCAL.to_owned(), stream: local }];
    for (link, uplink) in (0..).map(LinkId::uplink).zip(uplinks) {
        for route in &uplink.routes {
            let name = format!("{}/{}", uplink.name, route.name);
            planned.push(Planned { name, stream: stream(link, &route.topics, route.priority, route.ttl_ms) });
        }
        if !uplink.topics.is_empty() {
            let default = stream(link, &uplink.topics, Priority::Normal, uplink.ttl_ms);
            planned.push(Planned { name: uplink.name.clone(), stream: default });
        }
    }
    planned
}

/// A stream that is not in the configuration any more and has a backlog: it goes where it was to go if that is there.
fn leftover(account: &StreamAccount, uplinks: &[Uplink]) -> Stream {
    let uplink = account.name.split('/').next().unwrap_or_default();
    let link = (0..).map(LinkId::uplink).zip(uplinks).find(|(_, u)| u.name == uplink).map(|(link, _)| link);
    Stream { number: account.stream, link, priority: Priority::Normal, ttl_ms: None, topics: Vec::new() }
}
