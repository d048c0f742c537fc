//! The brokers outputs go to: each sees publishes on a connection, in order, and answers, sometimes late or twice.

use std::collections::VecDeque;

use eyot_core::io::{ConnId, LinkId, Publish};

/// An answer on its way back.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    at_ms: u64,
    /// [`Publish::token`].
    pub token: u64,
    /// False: refused for good.
    pub accepted: bool,
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
    answers: VecDeque<Answer>,
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
            answers: VecDeque::new(),
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

    /// The next publish that has arrived.
    pub fn receive(&mut self, now_ms: u64) -> Option<Publish> {
        self.wire.front().filter(|(at_ms, _)| *at_ms <= now_ms)?;
        self.wire.pop_front().map(|(_, publish)| publish)
    }

    /// Answers a publish; the gateway hears it at `at_ms`.
    pub fn answer(&mut self, token: u64, accepted: bool, at_ms: u64) {
        let at_ms = self.answers.back().map_or(at_ms, |last| at_ms.max(last.at_ms));
        self.answers.push_back(Answer { at_ms, token, accepted });
    }

    /// The next answer that has come back.
    pub fn answered(&mut self, now_ms: u64) -> Option<Answer> {
        self.answers.front().filter(|answer| answer.at_ms <= now_ms)?;
        self.answers.pop_front()
    }

    /// When something happens here next by itself.
    pub fn next_ms(&self) -> u64 {
        let arrival = self.wire.front().map(|(at_ms, _)| *at_ms);
        let answer = self.answers.front().map(|answer| answer.at_ms);
        let back = self.conn.is_none().then_some(self.down_until_ms);
        [arrival, answer, self.dead_until_ms, back].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// The connection breaks. Returns what is on the wire; answers are lost.
    pub fn break_wire(&mut self) -> VecDeque<(u64, Publish)> {
        self.answers.clear();
        std::mem::take(&mut self.wire)
    }

    /// The gateway sees that the connection is broken.
    pub fn is_down(&mut self, until_ms: u64) -> Option<ConnId> {
        self.dead_until_ms = None;
        self.down_until_ms = self.down_until_ms.max(until_ms);
        self.conn.take()
    }
}
