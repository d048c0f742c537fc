//! Intake: how many messages are with us unacknowledged, and how many the broker sends before it waits for an answer.
//!
//! A broker stops sending when its in-flight limit is reached: MQTT 5 tells us ours (receive maximum), but not its own
//! (mosquitto's default is 20). Waiting out the commit window then only stalls the flow, so the limit is learned: when
//! a window ends with the line silent for its second half, the number of messages at hand is taken for the limit, and
//! from then on reaching it ends the window. One message more proves the guess wrong.

use std::collections::VecDeque;

use crate::io::ConnId;

/// A smaller burst is not taken for a limit: slow sensors look just like that.
const LIMIT_LEARNED_MIN: u32 = 8;

/// An acknowledgement that waits for its commit.
#[derive(Clone, Copy, Debug)]
struct Unacked {
    batch: u64,
    conn: ConnId,
    packet_id: u16,
}

/// The messages at hand.
#[derive(Debug)]
pub(crate) struct Intake {
    receive_max: u32,
    learned: Option<u32>,
    unacked: VecDeque<Unacked>,
    last_arrival_us: u64,
}

impl Intake {
    pub fn new(receive_max: u16) -> Self {
        Self { receive_max: u32::from(receive_max.max(1)), learned: None, unacked: VecDeque::new(), last_arrival_us: 0 }
    }

    /// A message that must be acknowledged once this batch is durable.
    pub fn admit(&mut self, batch: u64, conn: ConnId, packet_id: u16, mono_us: u64) {
        self.unacked.push_back(Unacked { batch, conn, packet_id });
        self.last_arrival_us = mono_us;
        if self.learned.is_some_and(|limit| self.len() > limit) {
            self.learned = None;
        }
    }

    fn len(&self) -> u32 {
        u32::try_from(self.unacked.len()).unwrap_or(u32::MAX)
    }

    /// Whether the broker will send nothing more before it is answered.
    pub fn is_saturated(&self) -> bool {
        self.len() >= self.learned.unwrap_or(self.receive_max).min(self.receive_max)
    }

    /// The commit window ran out by itself.
    pub fn window_ended(&mut self, mono_us: u64, window_us: u64) {
        let silent_us = mono_us.saturating_sub(self.last_arrival_us);
        if self.len() >= LIMIT_LEARNED_MIN && silent_us >= window_us / 2 {
            self.learned = Some(self.len());
        }
    }

    /// The next acknowledgement that is due, with all batches up to `durable` on disk.
    pub fn next_due(&mut self, durable: u64) -> Option<(ConnId, u16)> {
        self.unacked.front().filter(|u| u.batch <= durable)?;
        self.unacked.pop_front().map(|u| (u.conn, u.packet_id))
    }

    /// A new connection: the broker delivers again whatever it was not answered.
    pub fn reconnected(&mut self) {
        self.unacked.clear();
        self.learned = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(intake: &mut Intake, from: u64, count: u64) {
        for i in from..from + count {
            intake.admit(i, 1, i as u16, 1000);
        }
    }

    #[test]
    fn the_brokers_limit_is_learned_and_unlearned() {
        let mut intake = Intake::new(1000);
        fill(&mut intake, 1, 20);
        assert!(!intake.is_saturated());
        intake.window_ended(11_000, 10_000);
        assert!(intake.is_saturated(), "20 and then silence: that is the limit");
        fill(&mut intake, 21, 1);
        assert!(!intake.is_saturated(), "a 21st disproves it");
    }

    #[test]
    fn slow_sensors_are_no_limit() {
        let mut intake = Intake::new(1000);
        fill(&mut intake, 1, 2);
        intake.window_ended(11_000, 10_000);
        assert!(!intake.is_saturated());
        fill(&mut intake, 3, 20);
        intake.window_ended(2000, 10_000);
        assert!(!intake.is_saturated(), "messages were still coming");
    }

    #[test]
    fn acks_wait_for_their_commit_and_belong_to_their_connection() {
        let mut intake = Intake::new(2);
        fill(&mut intake, 1, 2);
        assert!(intake.is_saturated());
        assert_eq!(intake.next_due(0), None);
        assert_eq!((intake.next_due(1), intake.next_due(1)), (Some((1, 1)), None));
        intake.reconnected();
        assert_eq!(intake.next_due(9), None);
    }
}
