//! One gateway's surroundings: a broker, a data directory, a configuration.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::config::Config;
use crate::daemon::Eyotd;
use crate::mosquitto::Mosquitto;
use crate::wait::RENEWED_STATUS;

/// What a test begins with.
#[derive(Debug)]
pub struct Site {
    /// The local broker.
    pub broker: Mosquitto,
    /// What the daemon is told; data and modules lie in [`dir`](Self::dir).
    pub config: Config,
    dir: TempDir,
}

impl Site {
    /// A site with a forgetful broker and no function.
    pub fn new(id: &str) -> Self {
        Self::with_broker(id, Mosquitto::forgetful())
    }

    /// A site around `broker`.
    ///
    /// # Panics
    /// When there is no temporary directory.
    pub fn with_broker(id: &str, broker: Mosquitto) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let config = Config::new(id, &dir.path().join("data"), broker.url());
        Self { broker, config, dir }
    }

    /// Adds a function.
    #[must_use]
    pub fn function(mut self, module: impl FnOnce(&Path) -> PathBuf) -> Self {
        self.config.functions.push(module(self.dir.path()));
        self
    }

    /// A directory for the files of the test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the daemon, and waits until it takes messages.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn start(&self) -> Eyotd {
        let daemon = Eyotd::start(&self.config);
        self.await_status("the gateway to be online", |status| status["online"] == true);
        daemon
    }

    /// A client of the local broker.
    #[track_caller]
    pub fn client(&self, id: &str) -> Client {
        Client::connect(self.broker.port(), id)
    }

    /// The next status document for which `good` holds; the retained one counts.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn await_status(&self, what: &str, good: impl FnMut(&Value) -> bool) -> Value {
        await_status(self.broker.port(), &self.config.id, what, good)
    }
}

/// The next status document of gateway `id` at the broker on `port` for which `good` holds; the retained one counts.
///
/// # Panics
/// When none comes.
#[track_caller]
pub fn await_status(port: u16, id: &str, what: &str, mut good: impl FnMut(&Value) -> bool) -> Value {
    static WATCHERS: AtomicU64 = AtomicU64::new(0);
    let mut client = Client::connect(port, &format!("status-watch-{}", WATCHERS.fetch_add(1, Ordering::Relaxed)));
    client.subscribe(&format!("eyot/{id}/status"));
    let deadline = Instant::now() + RENEWED_STATUS;
    let mut last = Value::Null;
    while let Ok(Some(publish)) = client.next(deadline.saturating_duration_since(Instant::now())) {
        last = serde_json::from_slice(&publish.payload).expect("the status is JSON");
        if good(&last) {
            return last;
        }
    }
    panic!("waited {RENEWED_STATUS:?} for {what}, in vain; the last status was {last}");
}

/// Whether `received = delivered + pending + dropped` in a status document, for the messages and for each stream.
///
/// # Panics
/// When it has no ledger.
pub fn balances(status: &Value) -> bool {
    let ledger = &status["ledger"];
    let number = |account: &Value, key: &str| account[key].as_u64().unwrap_or_else(|| panic!("no {key} in {account}"));
    let account_balances = |account: &Value| {
        number(account, "received")
            == number(account, "delivered") + number(account, "pending") + number(account, "dropped")
    };
    account_balances(ledger) && ledger["streams"].as_object().is_some_and(|s| s.values().all(account_balances))
}
