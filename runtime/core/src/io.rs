//! The only ways in and out of the state machine: [`Input`] and [`Effect`].

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use eyot_engine::Level;
use eyot_spool::Commit;

pub use crate::job::Job;
pub use crate::node::NodeReport;
pub use crate::notice::Notice;
pub use crate::notices::FUNCTION_LOG_LINES_PER_S_MAX;
pub use crate::sensor::SensorReport;
pub use crate::task::{Answer, Task};

/// The time, as the edge tells it. The core has no clock of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Microseconds on a clock that never steps back, from any start.
    pub mono_us: u64,
    /// Unix time in milliseconds; may jump.
    pub unix_ms: i64,
}

/// A connection to a broker that is kept up by the edge.
///
/// The intake subscribes to the functions' triggers on the local broker and carries control topics there. `LOCAL`
/// delivers outputs to the local broker. `uplink(i)` delivers to the `i`-th uplink of the configuration; behind the last of
/// these, the nodes have a link each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u8);

impl LinkId {
    /// Receives sensor messages.
    pub const INTAKE: Self = Self(0);
    /// Delivers to the local broker.
    pub const LOCAL: Self = Self(1);

    /// The gateway's own sensors: no connection, and nothing goes there.
    pub const SENSORS: Self = Self(u8::MAX);

    /// Delivers to the uplink with this index in the configuration.
    pub const fn uplink(index: u8) -> Self {
        Self(index + 2)
    }
}

/// Number of one connection of one link; grows with each reconnect and is never reused within a process. Whatever
/// belongs to a connection (packet ids, tokens) carries it, so that nothing crosses from one to the next.
pub type ConnId = u64;

/// What happened outside.
#[derive(Debug)]
pub enum Input {
    /// A link is connected, and for the intake: subscribed.
    LinkUp {
        /// Which link.
        link: LinkId,
        /// Its new connection.
        conn: ConnId,
        /// Most unacknowledged publishes the broker accepts on it (its receive maximum; 65,535 if it names none).
        inflight_max: u16,
        /// Most bytes of their topics and payloads; a publish larger than that goes alone.
        inflight_max_bytes: u64,
    },
    /// A connection ended. What was in flight on it is neither acknowledged nor lost.
    LinkDown {
        /// Which link.
        link: LinkId,
        /// The connection that ended.
        conn: ConnId,
    },
    /// A message arrived on the intake. Only while [`Core::accepts_messages`](crate::Core::accepts_messages): keep it
    /// queued otherwise, on a queue of its own so that the other inputs overtake it.
    Message(Message),
    /// A message came down from an uplink, for the local broker. As [`Message`](Self::Message) otherwise.
    Down {
        /// Which uplink's link.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// A node's reading, or a sample of a sensor of our own. As [`Message`](Self::Message) otherwise; if no function is
    /// triggered by it, it is an output.
    Reading {
        /// The node's link, which comes after those of the uplinks, or [`LinkId::SENSORS`].
        link: LinkId,
        /// Milliseconds since its sample was taken.
        age_ms: u32,
        /// The message: a node's at QoS 1, a sensor's at QoS 0.
        message: Message,
    },
    /// How a sensor of our own is.
    Sensor {
        /// Its place in the configuration.
        place: usize,
        /// How it is.
        report: Box<SensorReport>,
    },
    /// How a node is.
    Node {
        /// The node's link.
        link: LinkId,
        /// As far as it is known.
        report: Box<NodeReport>,
    },
    /// The broker of an uplink answered a publish.
    Published {
        /// Which link.
        link: LinkId,
        /// The connection the publish was sent on.
        conn: ConnId,
        /// The token of [`Publish`].
        token: u64,
        /// False if the broker refuses this publish for good (not authorised, malformed, over its packet size).
        accepted: bool,
    },
    /// The edge discarded QoS 0 messages because the queue to the core was full.
    IntakeDropped {
        /// How many since the last report.
        messages: u64,
    },
    /// A [`Effect::Sync`] is done.
    Synced {
        /// [`Commit::id`].
        commit: u64,
        /// How the sync ended.
        result: io::Result<()>,
    },
    /// A job of [`Effect::Run`] is done.
    Ran(Box<Job>),
    /// A task of [`Effect::Task`] is done.
    Answer(Box<Answer>),
    /// Time passed; wakes whatever [`Core::deadline_us`](crate::Core::deadline_us) announced.
    Tick,
    /// Stop taking messages, commit what is here, then answer [`Effect::Drained`].
    Drain,
}

/// One MQTT message, from a sensor or down from an uplink.
#[derive(Clone, Debug)]
pub struct Message {
    /// The connection that delivered it.
    pub conn: ConnId,
    /// MQTT packet identifier; 0 for QoS 0.
    pub packet_id: u16,
    /// 0, 1 or 2.
    pub qos: u8,
    /// The broker says it may have delivered this before.
    pub dup: bool,
    /// How many messages may come of it, if it came of an output: see [`wakes`](eyot_wire::wakes).
    pub wakes: Option<u32>,
    /// Topic name, not yet checked.
    pub topic: Bytes,
    /// Payload.
    pub payload: Bytes,
}

/// What the edge must do, in this order.
#[derive(Debug)]
pub enum Effect<F> {
    /// Acknowledge a message, if `conn` is still the connection of its link.
    Ack {
        /// The link that delivered it.
        link: LinkId,
        /// The connection that delivered it.
        conn: ConnId,
        /// Its packet id.
        packet_id: u16,
    },
    /// Send a publish at QoS 1, if `conn` is still the link's connection.
    Publish(Publish),
    /// Sync this file's data, anywhere, then answer [`Input::Synced`].
    Sync(Commit<F>),
    /// Run this job on a worker, then hand it back with [`Input::Ran`].
    Run(Box<Job>),
    /// Do this, after the tasks before it and away from this thread, then hand in [`Input::Answer`] if it has one.
    Task(Box<Task>),
    /// A node is to run this module from now on, or none.
    Install {
        /// The node's link.
        link: LinkId,
        /// The module, with its SHA-256.
        module: Option<([u8; 32], Bytes)>,
    },
    /// From now on the intake is to be subscribed to exactly these topic filters, besides the control topics.
    Subscribe(Vec<String>),
    /// A line a function logged.
    FunctionLog {
        /// The function's name.
        function: Arc<str>,
        /// How grave it is.
        level: Level,
        /// At most 1 KiB.
        line: String,
    },
    /// Something an operator should know, once per episode.
    Notice(Notice),
    /// All is committed; the core takes no more messages.
    Drained,
}

/// One publish.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Which link.
    pub link: LinkId,
    /// Which of its connections.
    pub conn: ConnId,
    /// Comes back in [`Input::Published`]. 0 means nobody waits for the answer.
    pub token: u64,
    /// Topic name.
    pub topic: Bytes,
    /// Payload.
    pub payload: Bytes,
    /// Retained by the broker.
    pub retain: bool,
    /// Identity of an output, for deduplication in the cloud; control messages have none.
    pub stamp: Option<Stamp>,
    /// Unix time in milliseconds at which the message that an output was made of arrived; 0 for control messages.
    pub received_at_ms: i64,
    /// How many messages may come of it, unless that is as many as of any output.
    pub wakes: Option<u32>,
}

/// What makes an output unique together with the gateway id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Random, of one route of one uplink; changes when the log is made anew, or the route comes back after it was removed.
    pub epoch: u64,
    /// Counts the outputs of one epoch, without gaps, from 1.
    pub seq: u64,
}
