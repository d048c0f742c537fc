//! MQTT client links, version 5 and 3.1.1.
//!
//! Built on rumqttc's packet codec and not on its event loop. Measured and read in rumqttc 0.25.1: the event loop makes
//! one system call for each publish and acknowledgement, its queue carries acknowledgements over to the next connection,
//! it drops pending publishes when the broker has no session, and it allocates for each possible packet id.
//!
//! - [`codec`]: packets to bytes and back.
//! - `options`: what a session is told.
//! - [`session`]: the protocol over one connection, without I/O; it dies with the connection.
//! - [`wakes`]: how many messages may still come of one that came of ours.
//! - [`handshake`]: CONNECT and SUBSCRIBE.
//! - [`inflight`]: which publish waits for which packet id.
//! - [`subscriptions`]: what the broker may still be subscribed to for us.
//! - [`queue`]: messages on their way to the core, bounded by memory.
//! - [`transport`]: TCP and TLS.
//! - [`backoff`]: when to try again.
//! - [`suspicion`]: which publish it is that the broker closes on, again and again.
//! - [`link`]: keeps a connection up and moves events and commands across it.

pub mod backoff;
pub mod codec;
mod connection;
mod decimal;
pub mod handshake;
pub mod inflight;
pub mod link;
mod options;
pub mod wakes;

pub mod queue;
pub mod session;
pub mod subscriptions;
pub mod suspicion;
pub mod transport;

use std::time::Instant;

use bytes::Bytes;

/// Protocol version, by its number in CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

/// A publish to send at QoS 1.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Comes back in [`Event::Published`]; 0 if nobody waits for the answer.
    pub token: u64,
    /// Topic name.
    pub topic: Bytes,
    /// Payload.
    pub payload: Bytes,
    /// Retained by the broker.
    pub retain: bool,
    /// Sent as the user properties `eyot-gateway`, `eyot-epoch` and `eyot-seq` in MQTT 5.
    pub stamp: Option<Stamp>,
    /// Unix time in milliseconds at which the message that an output was made of arrived. MQTT has no place for it.
    pub received_at_ms: i64,
    /// How many messages may come of it; sent as the user property `eyot-wakes` with the stamp.
    pub wakes: Option<u32>,
}

/// Identity of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Generation of the gateway's log.
    pub epoch: u64,
    /// Number of the output within it.
    pub seq: u64,
}

/// A message from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Packet id; 0 for QoS 0.
    pub packet_id: u16,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Possibly delivered before.
    pub dup: bool,
    /// The broker had it when we subscribed.
    pub retain: bool,
    /// Topic name, not checked.
    pub topic: Bytes,
    /// Payload. One that is over [`session::Options::packet_max_bytes`] arrives cut there.
    pub payload: Bytes,
    /// How many messages may come of it, if it came of ours.
    pub wakes: Option<u32>,
    /// When its sample was taken, of a [node's](crate::node) reading or one of our own sensors; MQTT says nothing of that.
    pub sampled_at: Option<Instant>,
}

/// What a session reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Connected, and all subscriptions answered. Always the first event, so earlier if the broker kept our session and
    /// delivers before it answers.
    Up {
        /// The broker kept our session.
        session_present: bool,
        /// Most publishes in flight: the smaller of ours and the broker's.
        inflight_max: u16,
    },
    /// The broker refuses one of our filters; the others stand.
    FilterRefused {
        /// The filter.
        filter: String,
        /// The broker's reason.
        reason: String,
    },
    /// A message; QoS 1 and 2 wait for [`session::Session::ack`].
    Message(Message),
    /// A publish was answered.
    Published {
        /// [`Publish::token`], never 0.
        token: u64,
        /// False if the broker refuses it for good.
        accepted: bool,
    },
}
