//! The brokers outputs go to: each sees publishes on a connection, in order, and answers some of them.

use std::collections::VecDeque;

use eyot_core::io::{ConnId, LinkId, Publish, Stamp};

/// One arrival.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Identity the gateway gave it.
    pub stamp: Stamp,
    /// Payload.
    pub payload: Vec<u8>,
}

/// A broker at the far end of one delivery link.
#[derive(Debug)]
pub struct Cloud {
    /// Which link it is at the end of.
    pub link: LinkId,
    /// Its connection as the gateway sees it.
    pub conn: Option<ConnId>,
    /// The connection is dead and the gateway does not know yet: it finds out then.
    pub dead_until_ms: Option<u64>,
    /// When the link may come back.
    pub down_until_ms: u64,
    wire: VecDeque<(u64, Publish)>,
    /// Stamped publishes, in order of arrival.
    pub arrivals: Vec<Arrival>,
    /// Status documents and other control messages.
    pub control: u64,
}

impl Cloud {
    /// At the end of `link`, not connected.
    pub fn new(link: LinkId) -> Self {
        Self {
            link,
            conn: None,
            dead_until_ms: None,
            down_until_ms: 0,
            wire: VecDeque::new(),
            arrivals: Vec::new(),
            control: 0,
        }
    }

    /// The gateway sends, and it takes until `at_ms`; what belongs to an earlier connection is dropped by the edge.
    pub fn send(&mut self, publish: Publish, at_ms: u64) {
        if Some(publish.conn) == self.conn && self.dead_until_ms.is_none() {
            // Nothing overtakes on a connection.
            let at_ms = self.wire.back().map_or(at_ms, |(last_ms, _)| at_ms.max(*last_ms));
            self.wire.push_back((at_ms, publish));
        }
    }

    /// The next publish that has arrived; returns the token to acknowledge.
    pub fn receive(&mut self, now_ms: u64) -> Option<u64> {
        self.wire.front().filter(|(at_ms, _)| *at_ms <= now_ms)?;
        let (_, publish) = self.wire.pop_front()?;
        match publish.stamp {
            Some(stamp) => self.arrivals.push(Arrival { stamp, payload: publish.payload.to_vec() }),
            None => self.control += 1,
        }
        Some(publish.token)
    }

    /// When something happens here next by itself.
    pub fn next_ms(&self) -> u64 {
        let arrival = self.wire.front().map(|(at_ms, _)| *at_ms);
        let back = self.conn.is_none().then_some(self.down_until_ms);
        [arrival, self.dead_until_ms, back].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// The connection breaks, and the gateway sees it; what is on the wire is lost.
    pub fn cut(&mut self, until_ms: u64) -> Option<ConnId> {
        self.wire.clear();
        self.dead_until_ms = None;
        self.down_until_ms = self.down_until_ms.max(until_ms);
        self.conn.take()
    }

    /// The connection breaks, and the gateway does not see it before `until_ms`.
    pub fn go_silent(&mut self, until_ms: u64) {
        if self.conn.is_some() {
            self.wire.clear();
            self.dead_until_ms = Some(until_ms);
        }
    }
}
