//! Uplinks that are no brokers: HTTP endpoints, files, object stores.
//!
//! To the core each is a link like the MQTT ones: it comes up, takes publishes up to its window, answers each of them.
//! Outputs gather into batches, and a batch is answered when the other end has stored it. Documents without a stamp
//! (status, function states, dead letters) are MQTT's retained world: these uplinks ignore them.
//!
//! In the order an output passes them:
//! - [`batch`]: outputs gather until there are enough, or the first has waited long enough.
//! - [`work`]: one batch on its way: halved where the other end refuses it, remembered when done.
//! - [`body`]: records as JSON lines or an array, compressed or not.
//! - [`http`], [`file`], [`s3`]: where they go.
//! - [`runner`]: keeps one of these up and moves batches, answers and events.

pub mod batch;
pub mod body;
pub mod client;
pub mod file;
pub mod http;
pub mod reply;
pub mod runner;
#[cfg(feature = "s3")]
pub mod s3;
pub mod work;

use std::io;
use std::time::{Duration, Instant};

use self::file::FileStore;
use self::http::HttpStore;
#[cfg(feature = "s3")]
use self::s3::S3Store;
use self::work::Part;

/// Why a batch is not stored yet. Nothing is lost: it is tried again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// What happened, where, and what helps: the same as long as it fails in the same way.
    pub reason: String,
    /// What the other end said, if anything.
    pub detail: String,
    /// When to try again.
    pub retry: Retry,
}

/// When to try again after a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// With the usual backoff.
    Soon,
    /// The other end names a time, which is a lower bound to the backoff.
    After(Duration),
    /// It takes a person to change something: seldom.
    Slowly,
}

impl Failure {
    /// A failure that may pass by itself.
    pub fn soon(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), detail: String::new(), retry: Retry::Soon }
    }

    /// A failure that lasts until somebody changes a configuration, here or there.
    pub fn slowly(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), detail: String::new(), retry: Retry::Slowly }
    }
}

/// Work that would hold up the links' thread.
///
/// # Errors
/// Its own.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Failure> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(io::Error::other).and_then(|result| result).map_err(|e| Failure::soon(e.to_string()))
}

/// Percent-encodes whatever is not unreserved in URIs (RFC 3986) nor one of `safe`.
fn escape(text: &str, safe: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || safe.contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What the other end said to a part of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has it.
    Stored,
    /// It will never take it as it is, with its reason. At least one of the records is at fault.
    Refused(String),
}

/// Where batches go, as configured.
#[derive(Clone, Debug)]
pub enum Place {
    /// `http://` and `https://`.
    Http(http::Options),
    /// `s3://`.
    #[cfg(feature = "s3")]
    S3(s3::Options),
    /// `file://`.
    File(file::Options),
}

impl Place {
    /// Whether that it can be reached shows that it will store, as an open file does; a server is asked nothing before
    /// there is something to store.
    pub fn proves_itself(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// For outputs of `gateway` on the uplink `name`.
    pub fn store(self, gateway: &str, name: &str) -> Store {
        match self {
            Self::Http(options) => Store::Http(Box::new(HttpStore::new(options, gateway, name))),
            #[cfg(feature = "s3")]
            Self::S3(options) => Store::S3(Box::new(S3Store::new(options, gateway, name))),
            Self::File(options) => Store::File(FileStore::new(options, gateway, name)),
        }
    }
}

/// Where batches go.
#[derive(Debug)]
pub enum Store {
    /// `http://` and `https://`.
    Http(Box<HttpStore>),
    /// `s3://`.
    #[cfg(feature = "s3")]
    S3(Box<S3Store>),
    /// `file://`.
    File(FileStore),
}

impl Store {
    /// What it is called in logs.
    pub fn address(&self) -> String {
        match self {
            Self::Http(store) => store.address(),
            #[cfg(feature = "s3")]
            Self::S3(store) => store.address(),
            Self::File(store) => store.address(),
        }
    }

    /// As [`Place::proves_itself`].
    pub fn proves_itself(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Reaches it, as far as that can be done without data.
    ///
    /// # Errors
    /// Why it cannot be reached now.
    pub async fn open(&mut self) -> Result<(), Failure> {
        match self {
            Self::Http(store) => store.open().await,
            #[cfg(feature = "s3")]
            Self::S3(store) => store.open().await,
            Self::File(store) => store.open().await,
        }
    }

    /// Stores a part of a batch, as a whole or not at all. Storing it again after a failure or a cancelled call does no
    /// harm.
    ///
    /// # Errors
    /// Why it is not known to be stored.
    pub async fn put(&mut self, part: &Part) -> Result<Verdict, Failure> {
        match self {
            Self::Http(store) => store.put(part).await,
            #[cfg(feature = "s3")]
            Self::S3(store) => store.put(part).await,
            Self::File(store) => store.put(part).await,
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn due(&self) -> Option<Instant> {
        match self {
            Self::File(store) => store.due(),
            _ => None,
        }
    }

    /// Does what is due without data.
    ///
    /// # Errors
    /// Why it could not be done.
    pub async fn tick(&mut self) -> Result<(), Failure> {
        match self {
            Self::File(store) => store.tick().await,
            _ => Ok(()),
        }
    }
}
