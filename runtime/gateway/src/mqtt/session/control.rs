//! What deployment asks of a session: subscriptions that change, and messages as large as a module.

use eyot_wire::module::MODULE_MAX_BYTES;

use super::*;

/// Where a push is cut: above the largest module, so that what was cut is still seen to be over the limit.
pub const LARGE_MAX_BYTES: usize = MODULE_MAX_BYTES + (68 << 10);

impl Session {
    /// Where a packet is cut: pushes, and parts of them, may be as large as modules, other messages
    /// not. None until the topic is here.
    pub(super) fn packet_max_bytes(&self, head: Head, input: &BytesMut) -> Option<usize> {
        let most = self.options.packet_max_bytes;
        if head.packet_bytes <= most || head.first >> 4 != 3 || self.options.large.is_empty() {
            return Some(most);
        }
        let topic = input.get(head.head_bytes..)?;
        let (length, topic) = topic.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length > TOPIC_MAX_BYTES {
            return Some(most);
        }
        let topic = topic.get(..length)?;
        let is_large = self.options.large.iter().any(|large| {
            let part = topic.strip_prefix(large.as_bytes());
            part.is_some_and(|part| part.is_empty() || part.starts_with(b"/"))
        });
        Some(if is_large { LARGE_MAX_BYTES } else { most })
    }

    /// Subscribes to what is new in `filters`, and unsubscribes from what is not in it any more. The next
    /// connection is told of all of them before it begins.
    pub fn subscribe(&mut self, filters: &[String]) {
        let before = std::mem::replace(&mut self.filters, filters.to_vec());
        if self.is_connecting() {
            return;
        }
        let only = |these: &[String], not: &[String]| -> Vec<String> {
            these.iter().filter(|filter| !not.contains(filter)).cloned().collect()
        };
        handshake::subscribe(&self.options, &only(filters, &before), &mut self.asked, &mut self.out);
        handshake::unsubscribe(&self.options, &only(&before, filters), &mut self.asked, &mut self.out);
    }

    /// Tokens of the publishes in flight that somebody waits for.
    pub fn unanswered(&self) -> impl Iterator<Item = u64> + '_ {
        self.inflight.tokens().filter(|token| *token != 0)
    }

    /// What it is subscribed to, or about to be.
    pub fn filters(&self) -> &[String] {
        &self.filters
    }

    /// Unsubscribes from these before the connection begins, if the broker has kept our session: we may have subscribed to
    /// them on an earlier connection, or in an earlier life.
    pub fn forget(&mut self, stale: Vec<String>) {
        self.stale = stale;
    }

    pub(super) fn unsubscribed(&mut self, packet_id: u16) -> Result<Option<Event>, SessionError> {
        self.asked_due_us = None;
        match self.asked.take(packet_id) {
            Some(filters) if filters.is_empty() => Ok(self.up_if_subscribed()),
            _ => Err(Malformed("an answer to nothing that was asked".to_owned()).into()),
        }
    }

    /// What changes subscriptions while the connection is up is to be answered in time as well.
    pub(super) fn tick_asked(&mut self, now_us: u64, reading: bool) -> Result<(), SessionError> {
        let is_waiting = self.is_up() && !self.asked.is_empty();
        let due_us = self.asked_due_us.filter(|_| reading).unwrap_or(now_us + ANSWER_TIMEOUT_US);
        if is_waiting && now_us >= due_us {
            return Err(SessionError::Timeout("SUBSCRIBE or UNSUBSCRIBE"));
        }
        self.asked_due_us = is_waiting.then_some(due_us);
        Ok(())
    }
}
