//! Intake: the messages that wait for their commit, and whether it is worth waiting for more.
//!
//! A broker stops sending when its in-flight limit is reached: MQTT 5 tells it ours (receive maximum), but does not tell
//! us its own (mosquitto's default is 20, rumqttd's 100). Then nothing comes until we acknowledge, and sitting out the
//! commit window only stalls the flow. So the flow is watched: when a window ends with the line silent for its second
//! half, messages come in bursts, and from then on a short silence ends the window. How many messages are unacknowledged
//! at such a silence is the broker's limit: as soon as so many are here again nothing more can come. To commit half of
//! them, so that the broker sends the next half while the disk is busy, pays only where a sync takes as long as the
//! functions: where it takes longer it halves the rate, and everywhere it doubles the commits, each of which wakes four
//! threads. Steady sensors look different: their silences end commits that hold few messages, and one such commit brings
//! the whole window back.

use std::collections::VecDeque;

use crate::io::ConnId;

/// Fewer messages than this are no burst: slow sensors look just like that.
const BURST_MIN: u32 = 8;
/// The shortest and the longest silence that ends a burst. In between it is half of what a sync takes: waiting may cost
/// little next to what a second commit would.
const SILENCE_US: std::ops::RangeInclusive<u64> = 30..=500;

/// In place of the batch of a message that is in none yet.
const IN_FLIGHT: u64 = u64::MAX;

/// An acknowledgement that waits for its commit. Acknowledgements keep the order of the messages [MQTT-4.6.0-2]: one that
/// is due waits for those before it.
#[derive(Clone, Copy, Debug)]
struct Unacked {
    /// The batch that must be durable.
    batch: u64,
    conn: ConnId,
    packet_id: u16,
}

/// The messages at hand.
#[derive(Debug)]
pub(crate) struct Intake {
    receive_max: usize,
    unacked: VecDeque<Unacked>,
    /// Place of the first of them in the line of all there ever were.
    first: u64,
    /// Of these, how many are in flight.
    flying: usize,
    /// Of these, how many are in the open batch.
    open: u32,
    last_arrival_us: u64,
    bursts: bool,
    /// Most messages the broker sends without an acknowledgement, as far as it showed; 0 while that is unknown.
    burst_size: usize,
    silence_us: u64,
    /// The window that showed the bursts.
    learned_with_us: u64,
}

impl Intake {
    pub fn new(receive_max: u16) -> Self {
        let receive_max = usize::from(receive_max.max(1));
        let silence_us = *SILENCE_US.end();
        Self {
            receive_max,
            unacked: VecDeque::new(),
            first: 0,
            flying: 0,
            open: 0,
            last_arrival_us: 0,
            bursts: false,
            burst_size: 0,
            silence_us,
            learned_with_us: 0,
        }
    }

    /// A message that must be acknowledged once this batch is durable.
    pub fn admit(&mut self, batch: u64, conn: ConnId, packet_id: u16, mono_us: u64) {
        self.line_up(batch, conn, packet_id, mono_us);
        self.open += 1;
    }

    /// A message that must be acknowledged once the batch is durable that it [lands](Self::landed) in. Returns its place in
    /// the line.
    pub fn admit_flying(&mut self, conn: ConnId, packet_id: u16, mono_us: u64) -> u64 {
        self.flying += 1;
        self.line_up(IN_FLIGHT, conn, packet_id, mono_us)
    }

    fn line_up(&mut self, batch: u64, conn: ConnId, packet_id: u16, mono_us: u64) -> u64 {
        self.unacked.push_back(Unacked { batch, conn, packet_id });
        self.last_arrival_us = mono_us;
        if self.burst_size > 0 {
            self.burst_size = self.burst_size.max(self.unacked.len());
        }
        self.first + self.unacked.len() as u64 - 1
    }

    /// The message at this place is in the open batch, which is `batch`.
    pub fn landed(&mut self, place: u64, batch: u64, mono_us: u64) {
        let index = place.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        // Of a connection that is gone, nothing is in the line any more.
        let Some(unacked) = index.and_then(|index| self.unacked.get_mut(index)) else { return };
        unacked.batch = batch;
        self.flying -= 1;
        self.open += 1;
        self.last_arrival_us = mono_us;
    }

    /// The message at this place, which is in no batch, is done with.
    pub fn done(&mut self, place: u64) {
        let index = place.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(unacked) = index.and_then(|index| self.unacked.get_mut(index)) else { return };
        unacked.batch = 0;
        self.flying -= 1;
    }

    /// When a burst counts as over; none while messages do not come in bursts.
    pub fn burst_ends_us(&self) -> Option<u64> {
        (self.bursts && self.open > 0).then(|| self.last_arrival_us + self.silence_us)
    }

    /// Whether nothing more can be expected before an acknowledgement.
    pub fn is_complete(&self, mono_us: u64) -> bool {
        let all = if self.burst_size > 0 { self.burst_size.min(self.receive_max) } else { self.receive_max };
        let all_are_here = self.unacked.len() >= all && self.flying == 0;
        self.open > 0 && all_are_here || self.burst_ends_us().is_some_and(|ends_us| mono_us >= ends_us)
    }

    /// The open batch is committed, after its window if `in_full`.
    pub fn committed(&mut self, mono_us: u64, window_us: u64, in_full: bool) {
        let silent_us = mono_us.saturating_sub(self.last_arrival_us);
        if self.open < BURST_MIN {
            self.bursts = false;
            self.burst_size = 0;
        } else if in_full && silent_us >= window_us / 2 {
            self.bursts = true;
            self.learned_with_us = window_us;
        } else if self.burst_ends_us().is_some_and(|ends_us| mono_us >= ends_us) {
            self.burst_size = self.unacked.len();
        }
        self.open = 0;
    }

    /// The window may have grown. What is a burst in a short one may be a steady flow in a long one, which is to wait for
    /// all of it.
    pub fn window_is(&mut self, window_us: u64) {
        if self.bursts && window_us > 2 * self.learned_with_us {
            self.bursts = false;
            self.burst_size = 0;
        }
    }

    /// A sync took this long.
    pub fn synced(&mut self, took_us: u64) {
        let (shortest, longest) = SILENCE_US.into_inner();
        self.silence_us = (took_us / 2).clamp(shortest, longest);
    }

    /// The next acknowledgement that is due, with all batches up to `durable` on disk.
    pub fn next_due(&mut self, durable: u64) -> Option<(ConnId, u16)> {
        self.unacked.front().filter(|u| u.batch <= durable)?;
        self.first += 1;
        self.unacked.pop_front().map(|u| (u.conn, u.packet_id))
    }

    /// A new connection: the broker delivers again whatever it was not answered.
    pub fn reconnected(&mut self) {
        self.first += self.unacked.len() as u64;
        self.unacked.clear();
        self.flying = 0;
        self.open = 0;
        self.bursts = false;
        self.burst_size = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_US: u64 = 10_000;

    fn fill(intake: &mut Intake, count: u16, mono_us: u64) {
        for packet_id in 1..=count {
            intake.admit(1, 1, packet_id, mono_us);
        }
    }

    #[test]
    fn bursts_are_learned_and_then_end_with_a_silence() {
        let mut intake = Intake::new(1000);
        fill(&mut intake, 20, 1000);
        assert!(!intake.is_complete(9000), "not known yet");
        intake.committed(11_000, WINDOW_US, true);
        fill(&mut intake, 54, 12_000);
        assert!(!intake.is_complete(12_499));
        assert!(intake.is_complete(12_500), "20 or 54: what counts is the silence");
        intake.synced(200);
        assert!(intake.is_complete(12_100), "where syncs are fast, so are commits");
        intake.synced(1);
        assert!(!intake.is_complete(12_029));
    }

    #[test]
    fn the_size_of_a_burst_is_learned_and_grows_with_what_comes() {
        let mut intake = Intake::new(1000);
        fill(&mut intake, 100, 1000);
        intake.committed(11_000, WINDOW_US, true);
        while intake.next_due(1).is_some() {}
        fill(&mut intake, 40, 12_000);
        assert!(!intake.is_complete(12_000), "40 or 100: what counts is the silence");
        intake.committed(12_600, WINDOW_US, false);
        while intake.next_due(1).is_some() {}
        fill(&mut intake, 39, 12_700);
        assert!(!intake.is_complete(12_700));
        fill(&mut intake, 1, 12_700);
        assert!(intake.is_complete(12_700), "all 40 are here: no silence is needed");
        intake.committed(12_700, WINDOW_US, false);
        fill(&mut intake, 60, 12_800);
        while intake.next_due(1).is_some() {}
        fill(&mut intake, 40, 12_900);
        assert!(!intake.is_complete(12_900), "the broker sends more than 40");
        intake.committed(12_900, WINDOW_US, false);
        while intake.next_due(1).is_some() {}
        fill(&mut intake, 1, 13_000);
        intake.committed(14_000, WINDOW_US, false);
        fill(&mut intake, 100, 15_000);
        assert!(!intake.is_complete(15_000), "the flow was a trickle");
    }

    #[test]
    fn steady_sensors_keep_the_whole_window() {
        let mut intake = Intake::new(1000);
        fill(&mut intake, 20, 9000);
        intake.committed(10_000, WINDOW_US, true);
        assert_eq!(intake.burst_ends_us(), None, "messages were still coming");
        fill(&mut intake, 3, 11_000);
        intake.committed(21_000, WINDOW_US, true);
        fill(&mut intake, 1, 22_000);
        assert!(!intake.is_complete(30_000), "three are no burst");
    }

    #[test]
    fn a_window_that_grew_learns_bursts_anew() {
        let mut intake = Intake::new(1000);
        fill(&mut intake, 20, 1000);
        intake.committed(11_000, WINDOW_US, true);
        intake.window_is(2 * WINDOW_US);
        fill(&mut intake, 20, 12_000);
        assert!(intake.is_complete(13_000));
        intake.window_is(3 * WINDOW_US);
        assert!(!intake.is_complete(13_000), "more may come within the longer window");
        intake.committed(42_000, 3 * WINDOW_US, true);
        fill(&mut intake, 20, 43_000);
        intake.window_is(3 * WINDOW_US);
        assert!(intake.is_complete(44_000), "nothing did");
    }

    #[test]
    fn a_silence_that_ends_a_small_commit_is_unlearned() {
        let mut intake = Intake::new(1000);
        fill(&mut intake, 20, 1000);
        intake.committed(11_000, WINDOW_US, true);
        fill(&mut intake, 2, 12_000);
        assert!(intake.is_complete(13_000));
        intake.committed(13_000, WINDOW_US, false);
        fill(&mut intake, 2, 14_000);
        assert!(!intake.is_complete(20_000));
    }

    #[test]
    fn what_lands_late_holds_up_what_came_after_it() {
        let mut intake = Intake::new(3);
        intake.admit(1, 1, 1, 0);
        let place = intake.admit_flying(1, 2, 0);
        intake.admit(1, 1, 3, 0);
        assert!(!intake.is_complete(0), "the receive maximum is reached, and one of them will still land");
        assert_eq!((intake.next_due(1), intake.next_due(1)), (Some((1, 1)), None));
        intake.landed(place, 2, 0);
        assert_eq!(intake.next_due(1), None);
        assert_eq!((intake.next_due(2), intake.next_due(2), intake.next_due(2)), (Some((1, 2)), Some((1, 3)), None));
        let place = intake.admit_flying(1, 4, 0);
        intake.reconnected();
        intake.admit(3, 2, 4, 0);
        intake.landed(place, 2, 0);
        assert_eq!(intake.next_due(2), None, "what belonged to the old connection has no place in the new one");
        assert_eq!(intake.next_due(3), Some((2, 4)));
    }

    #[test]
    fn acks_wait_for_their_commit_and_belong_to_their_connection() {
        let mut intake = Intake::new(2);
        fill(&mut intake, 2, 0);
        assert!(intake.is_complete(0), "the receive maximum is reached");
        assert_eq!(intake.next_due(0), None);
        assert_eq!((intake.next_due(1), intake.next_due(1), intake.next_due(1)), (Some((1, 1)), Some((1, 2)), None));
        fill(&mut intake, 1, 0);
        intake.reconnected();
        assert_eq!(intake.next_due(9), None);
    }
}
