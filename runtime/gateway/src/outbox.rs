//! Effects of the core into the links' queues.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use eyot_core::io::{LinkId, Publish};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tracing::{error, warn};

use crate::mqtt::link::Command;
use crate::mqtt::{self, Stamp};
use crate::node::peer::Wanted;
use crate::node::Module;

/// The core's end of one link.
pub struct LinkEnd {
    /// Its name, for logs.
    pub name: String,
    /// Its queue.
    pub commands: Sender<Command>,
    /// What it subscribes to.
    pub filters: Arc<Mutex<Vec<String>>>,
    /// Of that, whatever functions there are.
    pub control: Vec<String>,
    /// What the node at it is to run, if it is one; none before that is told.
    pub wanted: watch::Sender<Option<Wanted>>,
    /// Starts its connection anew.
    pub reset: Arc<AtomicBool>,
}

/// All links, in the order of their [`LinkId`]. Commands gather until [`flush`](Outbox::flush): a link that was woken for
/// each of them would write each of them by itself.
pub struct Outbox {
    links: Vec<(LinkEnd, Vec<Command>)>,
    /// Control messages given up since the last that was not.
    dropped: u64,
}

impl Outbox {
    /// Over these links.
    pub fn new(links: Vec<LinkEnd>) -> Self {
        Self { links: links.into_iter().map(|end| (end, Vec::new())).collect(), dropped: 0 }
    }

    /// Acknowledges a message on the link that delivered it.
    pub fn ack(&mut self, link: LinkId, conn: u64, packet_id: u16) {
        let gathered = self.links.get_mut(usize::from(link.0)).and_then(|(_, gathered)| gathered.last_mut());
        match gathered {
            Some(Command::Ack { conn: of, packet_ids }) if *of == conn => packet_ids.push(packet_id),
            _ => self.gather(link, Command::Ack { conn, packet_ids: vec![packet_id] }),
        }
    }

    /// Sends a publish.
    pub fn publish(&mut self, publish: Publish) {
        let Publish { link, conn, token, topic, payload, retain, stamp, received_at_ms, wakes } = publish;
        let stamp = stamp.map(|s| Stamp { epoch: s.epoch, seq: s.seq });
        let publish = mqtt::Publish { token, topic, payload, retain, stamp, received_at_ms, wakes };
        self.gather(link, Command::Publish { conn, publish });
    }

    /// The node at a link is to run this module, or none.
    pub fn install(&mut self, link: LinkId, module: Option<([u8; 32], Bytes)>) {
        let wanted = module.map_or(Wanted::Nothing, |(sha256, bytes)| Wanted::Module(Module { bytes, sha256 }));
        if let Some((end, _)) = self.links.get(usize::from(link.0)) {
            end.wanted.send_replace(Some(wanted));
        }
    }

    /// The intake is to be subscribed to these filters, besides the control topics.
    pub fn subscribe(&mut self, triggers: Vec<String>) {
        if let Some((end, _)) = self.links.get(usize::from(LinkId::INTAKE.0)) {
            let filters = end.control.iter().cloned().chain(triggers).collect();
            *end.filters.lock().unwrap_or_else(PoisonError::into_inner) = filters;
        }
        self.gather(LinkId::INTAKE, Command::Subscribe);
    }

    fn gather(&mut self, link: LinkId, command: Command) {
        if let Some((_, gathered)) = self.links.get_mut(usize::from(link.0)) {
            gathered.push(command);
        }
    }

    /// Hands over what has gathered. Never waits: a broker that does not read must not stop the core.
    pub fn flush(&mut self) {
        for (end, gathered) in &mut self.links {
            if gathered.is_empty() {
                continue;
            }
            let expendable = gathered.iter().all(Command::is_expendable);
            let count = gathered.len() as u64;
            match end.commands.try_send(Command::Batch(std::mem::take(gathered))) {
                Ok(()) => {
                    if self.dropped > 0 && expendable {
                        let (link, count) = (&end.name, std::mem::take(&mut self.dropped));
                        warn!(link, count, "control messages were dropped: the link was too slow");
                    }
                }
                Err(_) if expendable => self.dropped += count,
                // The queue holds more than any window. To lose an answer would stall the window for ever; on a new
                // connection everything unanswered is sent again.
                Err(_) => {
                    if !end.reset.swap(true, Ordering::Relaxed) {
                        error!(link = end.name, "the link's queue is full; connecting anew");
                    }
                }
            }
        }
    }

    /// Says goodbye on every link.
    pub fn finish(mut self) {
        self.flush();
        for (link, _) in self.links {
            // A queue that is full ends the link as well: nobody holds its other end any more.
            let _ = link.commands.try_send(Command::Finish);
        }
    }
}
