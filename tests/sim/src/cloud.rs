//! The brokers outputs go to: each sees publishes on a connection, in order, and answers some of them.

use std::collections::VecDeque;

use eyot_core::io::{ConnId, LinkId, Publish, Stamp};

/// One arrival.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Identity the gateway gave it.
    pub stamp: Stamp,
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
}

/// A broker at the far end of one delivery link.
#[derive(Debug)]
pub struct Cloud {
    /// Which link it is at the end of.
    pub link: LinkId,
    /// Its connection, while there is one.
    pub conn: Option<ConnId>,
    /// When the link may come back.
    pub down_until_ms: u64,
    wire: VecDeque<Publish>,
    /// Stamped publishes, in order of arrival.
    pub arrivals: Vec<Arrival>,
    /// Status documents and other control messages.
    pub control: u64,
}

impl Cloud {
    /// At the end of `link`, not connected.
    pub fn new(link: LinkId) -> Self {
        Self { link, conn: None, down_until_ms: 0, wire: VecDeque::new(), arrivals: Vec::new(), control: 0 }
    }

    /// The gateway sends; what belongs to an earlier connection is dropped by the edge.
    pub fn send(&mut self, publish: Publish) {
        if Some(publish.conn) == self.conn {
            self.wire.push_back(publish);
        }
    }

    /// The next publish arrives; returns the token to acknowledge.
    pub fn receive(&mut self) -> Option<u64> {
        let publish = self.wire.pop_front()?;
        match publish.stamp {
            Some(stamp) => self.arrivals.push(Arrival {
                stamp,
                topic: String::from_utf8(publish.topic.to_vec()).expect("topics are UTF-8"),
                payload: publish.payload.to_vec(),
            }),
            None => self.control += 1,
        }
        Some(publish.token)
    }

    /// The connection breaks; what is on the wire is lost.
    pub fn cut(&mut self, until_ms: u64) -> Option<ConnId> {
        self.wire.clear();
        self.down_until_ms = until_ms;
        self.conn.take()
    }
}
