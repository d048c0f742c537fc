//! The queue of messages from a link to whoever takes them, bounded by the memory they hold.
//!
//! A bound on their number would be too small for bursts of small messages, which arrive while the disk syncs, or too
//! large for the memory of a small box. What was read together goes through together: two threads that meet at a lock for
//! every message cost more than the message.

use std::sync::Arc;
use std::vec;

use flume::{Receiver, Sender};
use tokio::sync::Semaphore;

use super::Message;

/// Counted for each message beside topic and payload.
pub const MESSAGE_OVERHEAD_BYTES: usize = 128;

/// A message with the numbers of the link and of the connection that delivered it.
pub type Delivered = (u8, u64, Message);

/// Messages of one connection that were read together.
#[derive(Debug)]
struct Batch {
    link: u8,
    conn: u64,
    messages: vec::IntoIter<Message>,
    /// What they were counted as, all of them until the last is taken.
    cost: usize,
}

/// The queue holds what it may.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// The link's end.
#[derive(Clone, Debug)]
pub struct MessageSender {
    queue: Sender<Batch>,
    room: Arc<Semaphore>,
    most_bytes: usize,
}

/// The other end.
#[derive(Debug)]
pub struct MessageReceiver {
    queue: Receiver<Batch>,
    at_hand: Option<Batch>,
    room: Arc<Semaphore>,
}

/// A queue for messages of `most_bytes` together. A message larger than that passes alone.
pub fn queue(most_bytes: usize) -> (MessageSender, MessageReceiver) {
    let most_bytes = most_bytes.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
    let (sender, receiver) = flume::unbounded();
    let room = Arc::new(Semaphore::new(most_bytes));
    let receiver = MessageReceiver { queue: receiver, at_hand: None, room: room.clone() };
    (MessageSender { queue: sender, room, most_bytes }, receiver)
}

impl MessageSender {
    fn cost(&self, message: &Message) -> usize {
        (message.topic.len() + message.payload.len() + MESSAGE_OVERHEAD_BYTES).min(self.most_bytes)
    }

    fn permits(&self, message: &Message) -> u32 {
        u32::try_from(self.cost(message)).unwrap_or(u32::MAX)
    }

    /// Takes room for a message that is to be [sent](Self::send).
    pub fn take_room(&self, message: &Message) -> Result<(), Full> {
        self.room.try_acquire_many(self.permits(message)).map_err(|_| Full)?.forget();
        Ok(())
    }

    /// As [`take_room`](Self::take_room), when there is room. False if nobody takes messages any more.
    pub async fn await_room(&self, message: &Message) -> bool {
        let room = self.room.acquire_many(self.permits(message)).await;
        room.map(|permit| permit.forget()).is_ok()
    }

    /// Puts messages in for which there is room, as [taken](Self::take_room). False if nobody takes messages any more.
    pub fn send(&self, link: u8, conn: u64, messages: Vec<Message>) -> bool {
        let cost = messages.iter().map(|message| self.cost(message)).sum();
        self.queue.send(Batch { link, conn, messages: messages.into_iter(), cost }).is_ok()
    }
}

impl MessageReceiver {
    /// The next message, if one is there.
    pub fn try_recv(&mut self) -> Option<Delivered> {
        loop {
            if let Some(delivered) = self.next_at_hand() {
                return Some(delivered);
            }
            self.at_hand = Some(self.queue.try_recv().ok()?);
        }
    }

    /// The next message; none when all senders are gone.
    pub async fn recv(&mut self) -> Option<Delivered> {
        loop {
            if let Some(delivered) = self.next_at_hand() {
                return Some(delivered);
            }
            self.at_hand = Some(self.queue.recv_async().await.ok()?);
        }
    }

    /// Whether none is there.
    pub fn is_empty(&self) -> bool {
        self.at_hand.is_none() && self.queue.is_empty()
    }

    fn next_at_hand(&mut self) -> Option<Delivered> {
        let Batch { link, conn, messages, cost } = self.at_hand.as_mut()?;
        let next = messages.next().map(|message| (*link, *conn, message));
        if messages.len() == 0 {
            self.room.add_permits(*cost);
            self.at_hand = None;
        }
        next
    }
}

impl Drop for MessageReceiver {
    fn drop(&mut self) {
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(packet_id: u16, payload_bytes: usize) -> Message {
        let payload = Bytes::from(vec![0; payload_bytes]);
        Message {
            packet_id,
            qos: 1,
            dup: false,
            retain: false,
            topic: Bytes::new(),
            payload,
            wakes: None,
            sampled_at: None,
        }
    }

    #[test]
    fn what_goes_in_together_comes_out_one_by_one_and_then_gives_its_room_back() {
        let (sender, mut receiver) = queue(3 * MESSAGE_OVERHEAD_BYTES);
        let batch: Vec<_> = (1..=3).map(|packet_id| message(packet_id, 0)).collect();
        assert!(batch.iter().all(|message| sender.take_room(message).is_ok()));
        assert!(sender.send(0, 7, batch));
        for packet_id in 1..=3 {
            assert_eq!(sender.take_room(&message(4, 0)), Err(Full), "before {packet_id} is taken");
            let (link, conn, message) = receiver.try_recv().unwrap();
            assert_eq!((link, conn, message.packet_id), (0, 7, packet_id));
        }
        assert_eq!(receiver.try_recv(), None);
        let large = message(4, 1 << 20);
        assert_eq!(
            (sender.take_room(&large), sender.take_room(&message(5, 0))),
            (Ok(()), Err(Full)),
            "it passes alone"
        );
        assert!(sender.send(0, 7, vec![large]));
        assert_eq!(receiver.try_recv().map(|(.., message)| message.packet_id), Some(4));
        assert_eq!(sender.take_room(&message(5, 0)), Ok(()));
    }
}
