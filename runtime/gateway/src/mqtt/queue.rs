//! The queue of messages from a link to whoever takes them, bounded by the memory they hold.
//!
//! A bound on their number would be too small for bursts of small messages, which arrive while the disk syncs, or too
//! large for the memory of a small box.

use std::sync::Arc;

use flume::{Receiver, Sender};
use tokio::sync::Semaphore;

use super::Message;

/// Counted for each message beside topic and payload.
pub const MESSAGE_OVERHEAD_BYTES: usize = 128;

/// A message with the numbers of the link and of the connection that delivered it.
pub type Delivered = (u8, u64, Message);

/// Why a message was not taken.
#[derive(Debug)]
pub enum Refused {
    /// The queue holds what it may.
    Full(Message),
    /// Nobody takes messages any more.
    Closed,
}

/// The link's end.
#[derive(Clone, Debug)]
pub struct MessageSender {
    queue: Sender<Delivered>,
    room: Arc<Semaphore>,
    most_bytes: usize,
}

/// The other end.
#[derive(Debug)]
pub struct MessageReceiver {
    queue: Receiver<Delivered>,
    room: Arc<Semaphore>,
    most_bytes: usize,
}

/// A queue for messages of `most_bytes` together. A message larger than that passes alone.
pub fn queue(most_bytes: usize) -> (MessageSender, MessageReceiver) {
    let most_bytes = most_bytes.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
    let (sender, receiver) = flume::unbounded();
    let room = Arc::new(Semaphore::new(most_bytes));
    let receiver = MessageReceiver { queue: receiver, room: room.clone(), most_bytes };
    (MessageSender { queue: sender, room, most_bytes }, receiver)
}

fn cost(message: &Message, most_bytes: usize) -> usize {
    (message.topic.len() + message.payload.len() + MESSAGE_OVERHEAD_BYTES).min(most_bytes)
}

impl MessageSender {
    fn cost(&self, message: &Message) -> u32 {
        u32::try_from(cost(message, self.most_bytes)).unwrap_or(u32::MAX)
    }

    /// Puts a message in if there is room for it now.
    pub fn try_send(&self, link: u8, conn: u64, message: Message) -> Result<(), Refused> {
        match self.room.try_acquire_many(self.cost(&message)) {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(Refused::Full(message)),
        }
        self.queue.try_send((link, conn, message)).map_err(|_| Refused::Closed)
    }

    /// Waits for room. False if nobody takes messages any more.
    pub async fn send(self, link: u8, conn: u64, message: Message) -> bool {
        match self.room.acquire_many(self.cost(&message)).await {
            Ok(permit) => permit.forget(),
            Err(_) => return false,
        }
        self.queue.send((link, conn, message)).is_ok()
    }
}

impl MessageReceiver {
    /// The next message, if one is there.
    pub fn try_recv(&self) -> Option<Delivered> {
        self.queue.try_recv().ok().map(|got| self.release(got))
    }

    /// The next message; none when all senders are gone.
    pub async fn recv(&self) -> Option<Delivered> {
        self.queue.recv_async().await.ok().map(|got| self.release(got))
    }

    fn release(&self, got: Delivered) -> Delivered {
        self.room.add_permits(cost(&got.2, self.most_bytes));
        got
    }
}

impl Drop for MessageReceiver {
    fn drop(&mut self) {
        self.room.close();
    }
}
