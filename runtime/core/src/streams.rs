//! Streams: every route of every uplink, and the local broker, with a number in the log each.

use eyot_spool::Lsn;
use eyot_wire::record::Route;
use eyot_wire::topic::matches;

use crate::backlog::Quotas;
use crate::config::{Order, Priority, Uplink};
use crate::io::LinkId;
use crate::ledger::{bit, Ledger, StreamAccount, STREAMS_MAX};

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
    /// Whether what is new is to be sent before a backlog.
    live_first: bool,
    /// 0 for a stream that takes outputs; backlogs behind one count from 1, the oldest first.
    pub behind: usize,
    topics: Vec<String>,
}

impl Stream {
    /// The same as a backlog.
    fn behind(self, number: u8) -> Self {
        Self { number, topics: Vec::new(), live_first: false, behind: 1, ..self }
    }
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
        ledger.retire(|_| true);
        let mut planned = plan(uplinks);
        ledger.streams.retain(|s| planned.iter().any(|p| p.name == s.name) || s.outputs.pending > 0);
        for Planned { name, stream } in &mut planned {
            if let Some(known) = ledger.streams.iter().find(|s| s.name == *name) {
                stream.number = known.stream;
                continue;
            }
            let free = (0..STREAMS_MAX).find(|n| ledger.stream(*n).is_none());
            stream.number = free.ok_or_else(|| TooMany(name.clone()))?;
            ledger.streams.push(StreamAccount::new(stream.number, name.clone(), fresh(), end));
        }
        let mut streams: Vec<Stream> = planned.into_iter().map(|p| p.stream).collect();
        for account in &ledger.streams {
            if let Some(base) = ledger.streams.iter().find(|s| account.is_behind() && s.name == account.base()) {
                streams.extend(
                    streams.iter().find(|s| s.number == base.stream).cloned().map(|s| s.behind(account.stream)),
                );
            }
            if !streams.iter().any(|s| s.number == account.stream) {
                streams.push(leftover(account, uplinks));
            }
        }
        let mut streams = Self(streams);
        streams.rank();
        Ok(streams)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.0.iter()
    }

    /// Streams of a link that make way for a new one when the link comes back to a backlog.
    pub fn live_first(&self, link: LinkId) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().filter(move |s| s.live_first && s.link == Some(link)).map(|s| s.number)
    }

    /// `new` takes the place of `old`, which becomes a backlog. Returns the new stream.
    pub fn succeed(&mut self, old: u8, new: u8) -> Option<&Stream> {
        let index = self.0.iter().position(|s| s.number == old)?;
        let stream = self.0.get_mut(index)?;
        let backlog = stream.clone().behind(old);
        stream.number = new;
        self.0.push(backlog);
        self.rank();
        self.0.get(index)
    }

    pub fn remove(&mut self, gone: &[u8]) {
        self.0.retain(|s| !gone.contains(&s.number));
    }

    /// Backlogs stand in the order they came to be.
    fn rank(&mut self) {
        for (place, stream) in self.0.iter_mut().filter(|s| s.behind > 0).enumerate() {
            stream.behind = place + 1;
        }
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
        let mut is_served = false;
        for stream in self.takers(topic) {
            is_served = true;
            if quotas.refuses(stream.link, bytes, ledger) {
                ledger.refuse_output(stream.number);
                routed.refused += 1;
            } else {
                enter(stream.number, ledger);
            }
        }
        if let (false, Some(local)) = (is_served, self.0.first()) {
            enter(local.number, ledger);
        }
        routed
    }

    /// Of each uplink, the first stream that takes the topic.
    fn takers<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Stream> {
        let mut served = None;
        self.0.iter().filter(move |stream| {
            let takes = stream.link != served && stream.topics.iter().any(|filter| matches(filter, topic));
            served = if takes { stream.link } else { served };
            takes
        })
    }

    /// Whether outputs of both topics go to the same streams.
    pub fn are_alike(&self, one: &str, other: &str) -> bool {
        one == other || self.takers(one).map(|s| s.number).eq(self.takers(other).map(|s| s.number))
    }

    /// Gives an output of so many `bytes` a number in the stream to the local broker; with it, the mask of that stream.
    pub fn local(&self, bytes: u64, ledger: &mut Ledger) -> (u32, Route) {
        let stream = self.0.first().map_or(0, |local| local.number);
        (bit(stream), Route { stream, seq: ledger.enter_output(stream, bytes) })
    }
}

fn plan(uplinks: &[Uplink]) -> Vec<Planned> {
    let stream = |link, topics: &[String], priority, ttl_ms, order| Stream {
        number: 0,
        link: Some(link),
        priority,
        ttl_ms,
        live_first: order == Order::LiveFirst,
        behind: 0,
        topics: topics.to_vec(),
    };
    let local = stream(LinkId::LOCAL, &[], Priority::Normal, None, Order::OldestFirst);
    let mut planned = vec![Planned { name: LOCAL.to_owned(), stream: local }];
    for (link, uplink) in (0..).map(LinkId::uplink).zip(uplinks) {
        for route in &uplink.routes {
            let name = format!("{}/{}", uplink.name, route.name);
            let stream = stream(link, &route.topics, route.priority, route.ttl_ms, uplink.order);
            planned.push(Planned { name, stream });
        }
        if !uplink.topics.is_empty() {
            let default = stream(link, &uplink.topics, Priority::Normal, uplink.ttl_ms, uplink.order);
            planned.push(Planned { name: uplink.name.clone(), stream: default });
        }
    }
    planned
}

/// A stream that is not in the configuration any more and has a backlog: it goes where it was to go if that is there.
fn leftover(account: &StreamAccount, uplinks: &[Uplink]) -> Stream {
    let link = (0..).map(LinkId::uplink).zip(uplinks).find(|(_, u)| u.name == account.uplink()).map(|(link, _)| link);
    Stream {
        number: account.stream,
        link,
        priority: Priority::Normal,
        ttl_ms: None,
        live_first: false,
        behind: 1,
        topics: Vec::new(),
    }
}
