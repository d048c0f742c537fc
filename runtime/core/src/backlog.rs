//! The quota of an uplink: how many bytes of outputs may wait for it, all its routes together, and what happens then.

use crate::config::{Uplink, WhenFull};
use crate::io::{LinkId, Notice};
use crate::ledger::{Account, Ledger};
use crate::streams::Streams;
use eyot_wire::code::DropReason;

/// An episode of a full quota ends when one part in so many of it is free again.
const FREE_PARTS: u64 = 8;

/// The quota of one uplink.
pub(crate) struct Quota {
    pub link: LinkId,
    pub max_bytes: u64,
    pub when_full: WhenFull,
    name: String,
    streams: Vec<u8>,
    /// Outputs it had cost when it was last looked at.
    dropped: u64,
    /// What that was when it filled up; none while there is room.
    full_since_dropped: Option<u64>,
}

impl Quota {
    /// Bytes that wait, all routes together.
    fn pending_bytes(&self, ledger: &Ledger) -> u64 {
        self.streams.iter().filter_map(|s| ledger.stream(*s)).map(|s| s.pending_bytes).sum()
    }

    /// Bytes beyond the quota, when `doomed_bytes` are about to go.
    pub fn excess_bytes(&self, ledger: &Ledger, doomed_bytes: u64) -> u64 {
        self.pending_bytes(ledger).saturating_sub(doomed_bytes).saturating_sub(self.max_bytes)
    }

    pub fn is_full(&self) -> bool {
        self.full_since_dropped.is_some()
    }

    /// Looks whether an episode begins or ends.
    pub fn look(&mut self, ledger: &Ledger) -> Option<Notice> {
        let dropped = dropped(&self.streams, ledger);
        let costs = dropped > std::mem::replace(&mut self.dropped, dropped);
        let pending_bytes = self.pending_bytes(ledger);
        match self.full_since_dropped {
            None if costs || pending_bytes >= self.max_bytes => {
                self.full_since_dropped = Some(dropped);
                Some(Notice::UplinkFull { uplink: self.name.clone() })
            }
            Some(before) if !costs && pending_bytes <= self.max_bytes - self.max_bytes / FREE_PARTS => {
                self.full_since_dropped = None;
                Some(Notice::UplinkHasRoom { uplink: self.name.clone(), dropped: dropped.saturating_sub(before) })
            }
            _ => None,
        }
    }
}

/// Outputs that quotas cost these streams.
fn dropped(streams: &[u8], ledger: &Ledger) -> u64 {
    let of = |account: &Account| account.dropped(DropReason::UplinkFull);
    streams.iter().filter_map(|s| ledger.stream(*s)).map(|s| of(&s.outputs) + of(&s.earlier)).sum()
}

/// The quotas of all uplinks that have one.
pub(crate) struct Quotas(Vec<Quota>);

impl Quotas {
    /// `when_full` is for uplinks that do not say.
    pub fn new(uplinks: &[Uplink], when_full: WhenFull, streams: &Streams, ledger: &Ledger) -> Self {
        let quota = |(link, uplink): (LinkId, &Uplink)| {
            let streams: Vec<u8> = streams.iter().filter(|s| s.link == Some(link)).map(|s| s.number).collect();
            Some(Quota {
                link,
                max_bytes: uplink.backlog_max_bytes?,
                when_full: uplink.when_full.unwrap_or(when_full),
                name: uplink.name.clone(),
                dropped: dropped(&streams, ledger),
                streams,
                full_since_dropped: None,
            })
        };
        Self((0..).map(LinkId::uplink).zip(uplinks).filter_map(quota).collect())
    }

    /// Streams came or went.
    pub fn follow(&mut self, streams: &Streams) {
        for quota in &mut self.0 {
            quota.streams = streams.iter().filter(|s| s.link == Some(quota.link)).map(|s| s.number).collect();
        }
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Quota> {
        self.0.iter_mut()
    }

    pub fn of(&self, link: Option<LinkId>) -> Option<&Quota> {
        self.0.iter().find(|q| Some(q.link) == link)
    }

    /// Whether the uplink does not take an output of so many bytes.
    pub fn refuses(&self, link: Option<LinkId>, bytes: u64, ledger: &Ledger) -> bool {
        self.of(link)
            .filter(|quota| quota.when_full == WhenFull::DropNewest)
            .is_some_and(|quota| quota.pending_bytes(ledger).saturating_add(bytes) > quota.max_bytes)
    }

    /// Whether messages must wait until an uplink has room.
    pub fn block(&self, ledger: &Ledger) -> bool {
        let blocking = self.0.iter().filter(|quota| quota.when_full == WhenFull::Block);
        blocking.into_iter().any(|quota| quota.pending_bytes(ledger) >= quota.max_bytes)
    }
}
