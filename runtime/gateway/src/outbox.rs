//! Effects of the core into the links' queues.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use eyot_core::io::{LinkId, Publish};
use flume::Sender;
use tracing::{error, warn};

use crate::mqtt::link::Command;
use crate::mqtt::{self, Stamp};

/// The core's end of one link.
pub struct LinkEnd {
    /// Its name, for logs.
    pub name: String,
    /// Its queue.
    pub commands: Sender<Command>,
    /// Starts its connection anew.
    pub reset: Arc<AtomicBool>,
}

/// All links, in the order of their [`LinkId`].
pub struct Outbox {
    links: Vec<LinkEnd>,
    /// Control messages given up since the last that was not.
    dropped: u64,
}

impl Outbox {
    /// Over these links.
    pub fn new(links: Vec<LinkEnd>) -> Self {
        Self { links, dropped: 0 }
    }

    /// Acknowledges a message on the intake.
    pub fn ack(&mut self, conn: u64, packet_id: u16) {
        self.put(LinkId::INTAKE, Command::Ack { conn, packet_id }, false);
    }

    /// Sends a publish.
    pub fn publish(&mut self, publish: Publish) {
        let Publish { link, conn, token, topic, payload, retain, stamp } = publish;
        let stamp = stamp.map(|s| Stamp { epoch: s.epoch, seq: s.seq });
        let publish = mqtt::Publish { token, topic, payload, retain, stamp };
        self.put(link, Command::Publish { conn, publish }, token == 0);
    }

    /// Never waits: a broker that does not read must not stop the core.
    fn put(&mut self, link: LinkId, command: Command, expendable: bool) {
        let Some(end) = self.links.get(usize::from(link.0)) else { return };
        match end.commands.try_send(command) {
            Ok(()) => {
                if self.dropped > 0 && expendable {
                    warn!(
                        link = end.name,
                        count = self.dropped,
                        "control messages were dropped: the link was too slow"
                    );
                    self.dropped = 0;
                }
            }
            Err(_) if expendable => self.dropped += 1,
            // The queue holds more than any window. To lose an answer would stall the window for ever; on a new
            // connection everything unanswered is sent again.
            Err(_) => {
                if !end.reset.swap(true, Ordering::Relaxed) {
                    error!(link = end.name, "the link's queue is full; connecting anew");
                }
            }
        }
    }

    /// Says goodbye on every link.
    pub fn finish(self) {
        for link in self.links {
            // A queue that is full ends the link as well: nobody holds its other end any more.
            let _ = link.commands.try_send(Command::Finish);
        }
    }
}
