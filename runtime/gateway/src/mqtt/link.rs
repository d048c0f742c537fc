//! Keeps one connection to a broker up, and moves events and commands across it.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eyot_core::node::NodeReport;
use eyot_core::sensor::SensorReport;
use flume::Sender;
use tokio::sync::mpsc::Receiver;
use tracing::{debug, warn};

use super::backoff::{self, BACKOFF_RESET_AFTER_MS};
use super::connection::Connection;
use super::queue::MessageSender;
use super::session::{Options, SessionError};
use super::subscriptions::Subscriptions;
use super::suspicion::{Ended, Suspicion};
use super::transport::Endpoint;
use super::Publish;

/// Room made for each read.
pub const READ_BYTES: usize = 32 << 10;
/// Commands wait in their queue while this much is unsent.
pub const OUT_MAX_BYTES: usize = 512 << 10;
/// Most bytes of topics and payloads in flight to a broker: enough for a window of ordinary publishes, while a window of
/// the largest would take the memory of a small gateway.
pub const INFLIGHT_MAX_BYTES: u64 = 8 << 20;
/// How long a link may take to say goodbye.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// An output buffer that grew beyond this is given back when empty.
pub(super) const OUT_KEPT_BYTES: usize = 64 << 10;
/// How long a count of discarded messages may wait for the next turn.
pub(super) const DROPPED_REPORT: Duration = Duration::from_millis(500);

/// What happens on a link, with the number of its connection.
#[derive(Debug)]
pub enum LinkEvent {
    /// Connected and subscribed.
    Up {
        /// Number of the connection, growing from 1.
        conn: u64,
        /// Most publishes in flight.
        inflight_max: u16,
        /// Most bytes of their topics and payloads.
        inflight_max_bytes: u64,
    },
    /// A connection that was up ended.
    Down {
        /// Its number.
        conn: u64,
    },
    /// Publishes were answered.
    Published {
        /// The connection they were sent on.
        conn: u64,
        /// As they came.
        answers: Vec<PublishAnswer>,
    },
    /// How a [node](crate::node) is.
    Node {
        /// As far as it is known.
        report: Box<NodeReport>,
    },
    /// How a [sensor](crate::sensor) is.
    Sensor {
        /// Its place in the configuration.
        place: usize,
        /// How it is.
        report: Box<SensorReport>,
    },
    /// QoS 0 messages were discarded because the queue was full.
    Dropped {
        /// How many since the last report.
        messages: u64,
    },
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishAnswer {
    /// The publish's token.
    pub token: u64,
    /// False if refused for good.
    pub accepted: bool,
}

/// What a link is told. Commands for another connection than the present one are dropped.
#[derive(Debug)]
pub enum Command {
    /// Acknowledge messages.
    Ack {
        /// The connection that delivered them.
        conn: u64,
        /// Their packet ids, in the order they came.
        packet_ids: Vec<u16>,
    },
    /// Send a publish.
    Publish {
        /// The connection it is meant for.
        conn: u64,
        /// The publish.
        publish: Publish,
    },
    /// [`Link::filters`] have changed.
    Subscribe,
    /// Several commands, in order.
    Batch(Vec<Command>),
    /// Publish the will's document, disconnect and end.
    Finish,
}

impl Command {
    /// Whether nobody waits for it: a control message.
    pub fn is_expendable(&self) -> bool {
        matches!(self, Self::Publish { publish, .. } if publish.token == 0)
    }
}

/// Where events go. Messages have a queue of their own, so that the receiver can leave them waiting and still hear the
/// rest; what else happened before a message is in its queue before the message is.
#[derive(Clone)]
pub struct Events {
    /// Everything but messages, with [`Link::id`].
    pub control: Sender<(u8, LinkEvent)>,
    /// Messages, with the number of the connection that delivered them.
    pub messages: MessageSender,
    /// Called after something was put into a queue.
    pub wake: Arc<dyn Fn() + Send + Sync>,
}

/// A link, before it runs.
pub struct Link {
    /// What it is called in logs.
    pub name: String,
    /// Number given with each event.
    pub id: u8,
    /// Where the broker is.
    pub endpoint: Endpoint,
    /// How to talk to it.
    pub options: Arc<Options>,
    /// What to subscribe to now; the options have what it was at start.
    pub filters: Arc<Mutex<Vec<String>>>,
    /// What the broker may keep for us.
    pub subscriptions: Option<Subscriptions>,
    /// Wrap stamped payloads, see [`envelope`](crate::envelope).
    pub envelope: bool,
    /// Where events go.
    pub events: Events,
    /// Where commands come from.
    pub commands: Receiver<Command>,
    /// Set to make it start its connection anew.
    pub reset: Arc<AtomicBool>,
    /// For the jitter between attempts.
    pub seed: u64,
}

/// Why the work on a link stops.
pub(super) enum Stop {
    /// [`Command::Finish`], or nobody is left to talk to.
    Finished,
    /// The connection failed.
    Failed(Failure),
}

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Session(#[from] SessionError),
    #[error("closed by the broker without a reason{0}")]
    Eof(&'static str),
    #[error("more commands than its queue holds")]
    Reset,
    #[error("nothing is left of what the broker may have closed on; publishing in full again")]
    Cleared,
}

impl Failure {
    /// Who ended the connection.
    fn ended(&self) -> Ended {
        match self {
            Self::Session(SessionError::Closed { blames: true, .. }) => Ended::ByBlame,
            Self::Session(SessionError::Closed { .. }) | Self::Eof(_) => Ended::ByBroker,
            // What it had not read yet when it closed makes a reset of it.
            Self::Io(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                Ended::ByBroker
            }
            _ => Ended::Otherwise,
        }
    }
}

impl<T: Into<Failure>> From<T> for Stop {
    fn from(failure: T) -> Self {
        Self::Failed(failure.into())
    }
}

/// Waits for something while there is no connection that a command could be for; none if the link must end first.
pub(crate) async fn while_away<F: Future>(commands: &mut Receiver<Command>, until: F) -> Option<F::Output> {
    tokio::pin!(until);
    loop {
        tokio::select! {
            biased;
            output = &mut until => return Some(output),
            command = commands.recv() => match command {
                Some(Command::Finish) | None => return None,
                Some(_) => {}
            },
        }
    }
}

impl Link {
    /// As they are now.
    pub(super) fn filters(&self) -> Vec<String> {
        self.filters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs until [`Command::Finish`], or until the other ends of its queues are gone.
    pub async fn run(mut self) {
        let mut jitter = fastrand::Rng::with_seed(self.seed);
        let (mut conn, mut attempt, mut told) = (0, 0, String::new());
        let mut suspicion = Suspicion::default();
        loop {
            conn += 1;
            let started = Instant::now();
            let Stop::Failed(failure) = self.attempt(conn, &mut told, &mut suspicion).await else { return };
            if started.elapsed() >= Duration::from_millis(BACKOFF_RESET_AFTER_MS) {
                attempt = 0;
            }
            let reason = failure.to_string();
            // One line per episode: as long as it fails in the same way, the first line stands.
            if told == reason {
                debug!(link = self.name, attempt, %reason, "still no connection");
            } else {
                let address = self.endpoint.address();
                warn!(link = self.name, %address, %reason, "no connection to the broker; trying again until there is");
                told = reason;
            }
            let wait = backoff::wait(attempt, jitter.u64(..));
            attempt = attempt.saturating_add(1);
            if while_away(&mut self.commands, tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    async fn attempt(&mut self, conn: u64, told: &mut String, suspicion: &mut Suspicion) -> Stop {
        let io = match while_away(&mut self.commands, self.endpoint.connect()).await {
            Some(Ok(io)) => io,
            Some(Err(error)) => return error.into(),
            None => return Stop::Finished,
        };
        self.reset.store(false, Ordering::Relaxed);
        let mut connection = Connection::new(self, conn, io, suspicion.alone());
        let stop = connection.run(told).await;
        let (Stop::Failed(failure), true) = (&stop, connection.told_up) else { return stop };
        let refused = suspicion.ended(failure.ended(), &connection.traffic());
        if refused.is_some() {
            let link = &self.name;
            warn!(link, reason = %failure, "the broker closes the connection whenever it gets one output, which counts as refused");
        }
        let answer = refused.map(|token| PublishAnswer { token, accepted: false });
        let answer = answer.map(|answer| LinkEvent::Published { conn, answers: vec![answer] });
        for event in answer.into_iter().chain([LinkEvent::Down { conn }]) {
            let told = self.events.control.send_async((self.id, event));
            match while_away(&mut self.commands, told).await {
                Some(Ok(())) => (self.events.wake)(),
                _ => return Stop::Finished,
            }
        }
        stop
    }
}
