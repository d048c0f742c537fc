//! The end of the embedded broker in good order: it takes nothing more, and hands over what it has acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flume::{Receiver, RecvTimeoutError, Sender};

use super::guard::plain;
use super::session::Session;

/// Longest hand-over.
pub const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// When so long after its last acknowledgement the intake has got nothing more, there is nothing more: rumqttd does not
/// tell what it still holds, and sends it as soon as there is room for it in its window.
const SILENCE: Duration = Duration::from_millis(200);

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Whoever is none of ours.
    Client,
    /// Takes what the session collects.
    Intake,
    /// Publishes what came of it.
    Delivery,
}

/// What all connections of a broker share.
#[derive(Debug)]
pub(super) struct Handover {
    intake_id: Option<String>,
    delivery_id: Option<String>,
    closing: AtomicBool,
    /// Connections of the intake: one, or while it comes back none or two.
    intakes: AtomicU64,
    /// Messages that the intake was sent and has not acknowledged.
    unanswered: AtomicU64,
    stir: Sender<()>,
    stirred: Receiver<()>,
}

impl Handover {
    /// For a broker that keeps `session`.
    pub fn new(session: Option<&Session>) -> Self {
        let (stir, stirred) = flume::bounded(1);
        Self {
            intake_id: session.map(|session| plain(&session.client_id)),
            delivery_id: session.map(|session| plain(&session.delivery_id)),
            closing: AtomicBool::new(false),
            intakes: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            stir,
            stirred,
        }
    }

    /// A client of this id, as rumqttd knows it, connects.
    pub fn arrive(&self, id: &str) -> Peer {
        let id = Some(id);
        if id == self.intake_id.as_deref() {
            self.intakes.fetch_add(1, Ordering::Relaxed);
            // What the connection before it did not answer is sent again.
            self.unanswered.store(0, Ordering::Relaxed);
            return Peer::Intake;
        }
        if id == self.delivery_id.as_deref() {
            return Peer::Delivery;
        }
        Peer::Client
    }

    /// A connection ends.
    pub fn leave(&self, peer: Peer) {
        if peer == Peer::Intake {
            self.intakes.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether what `peer` publishes is still taken.
    pub fn takes_from(&self, peer: Peer) -> bool {
        peer != Peer::Client || !self.closing.load(Ordering::Relaxed)
    }

    /// The intake is sent a message that it will acknowledge.
    pub fn sent(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        self.stir();
    }

    /// The intake acknowledges a message.
    pub fn answered(&self) {
        // Of a message sent on an earlier connection, none was counted.
        let _ = self.unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        self.stir();
    }

    fn stir(&self) {
        if self.closing.load(Ordering::Relaxed) {
            let _ = self.stir.try_send(());
        }
    }

    /// From now on publishes of clients are neither taken nor acknowledged. Waits until the intake has acknowledged all
    /// that the session holds, at most [`HANDOVER_TIMEOUT`]; false if it has not.
    pub fn close(&self) -> bool {
        self.closing.store(true, Ordering::Relaxed);
        let end = Instant::now() + HANDOVER_TIMEOUT;
        while Instant::now() < end {
            match self.stirred.recv_timeout(SILENCE) {
                Err(RecvTimeoutError::Timeout) if self.is_done() => return true,
                _ => {}
            }
        }
        false
    }

    fn is_done(&self) -> bool {
        self.intake_id.is_none()
            || self.intakes.load(Ordering::Relaxed) > 0 && self.unanswered.load(Ordering::Relaxed) == 0
    }
}
