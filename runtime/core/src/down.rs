//! Downlink: messages from the broker of an uplink, for the local broker; and the line of acknowledgements of a node.

use std::collections::VecDeque;

use eyot_wire::control::CONTROL;
use eyot_wire::topic::matches;

use crate::io::{ConnId, LinkId};

/// What comes down from one uplink.
#[derive(Debug)]
pub(crate) struct Downlink {
    pub link: LinkId,
    filters: Vec<String>,
    /// Messages that wait for their commit, with its number; as many as the broker sends without an acknowledgement.
    unacked: VecDeque<(u64, ConnId, u16)>,
    /// Place of the first of them in the line of all there ever were.
    first: u64,
}

impl Downlink {
    pub fn new(link: LinkId, filters: &[String]) -> Self {
        Self { link, filters: filters.to_vec(), unacked: VecDeque::new(), first: 0 }
    }

    /// Whether a topic is to come down. A broker that kept our session also keeps filters we have no more.
    pub fn wants(&self, topic: &str) -> bool {
        self.filters.iter().any(|filter| matches(filter, topic)) && !matches(CONTROL, topic)
    }

    /// A message that must be acknowledged once this batch is durable.
    pub fn admit(&mut self, batch: u64, conn: ConnId, packet_id: u16) {
        self.unacked.push_back((batch, conn, packet_id));
    }

    /// A message that is acknowledged when it is [done](Self::done) or has [landed](Self::landed). Returns its place in the line.
    pub fn admit_flying(&mut self, conn: ConnId, packet_id: u16) -> u64 {
        self.admit(u64::MAX, conn, packet_id);
        self.first + self.unacked.len() as u64 - 1
    }

    /// The message at this place is done with.
    pub fn done(&mut self, place: u64) {
        self.landed(place, 0);
    }

    /// The message at this place is in this batch. Of a connection that is gone, nothing is in the line any more.
    pub fn landed(&mut self, place: u64, in_batch: u64) {
        let index = place.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some((batch, ..)) = index.and_then(|index| self.unacked.get_mut(index)) {
            *batch = in_batch;
        }
    }

    /// The next acknowledgement that is due, with all batches up to `durable` on disk.
    pub fn next_due(&mut self, durable: u64) -> Option<(ConnId, u16)> {
        self.unacked.front().filter(|(batch, ..)| *batch <= durable)?;
        self.first += 1;
        self.unacked.pop_front().map(|(_, conn, packet_id)| (conn, packet_id))
    }

    /// The connection ended or is a new one: the broker delivers again whatever it was not answered.
    pub fn reconnected(&mut self) {
        self.first += self.unacked.len() as u64;
        self.unacked.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_wait_for_their_batch() {
        let mut down = Downlink::new(LinkId::uplink(0), &[]);
        down.admit(1, 9, 1);
        down.admit(2, 9, 2);
        assert_eq!(down.next_due(0), None);
        assert_eq!((down.next_due(1), down.next_due(1)), (Some((9, 1)), None));
        assert_eq!(down.next_due(2), Some((9, 2)));
    }
}
