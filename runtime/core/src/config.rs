//! What the state machine needs to know at start; the gateway fills it in from `gateway.toml`.

use eyot_wire::manifest::{Limits, Rollout};
use eyot_wire::module::PAYLOAD_MAX_BYTES;

use crate::deploy::registry::Build;
use crate::sensor::SensorReport;

/// Most uplinks of one gateway.
pub const UPLINKS_MAX: usize = 16;
/// Most functions of one gateway.
pub const FUNCTIONS_MAX: usize = 4096;
/// Most messages that are not acknowledged, if nothing else is said. When so many wait for one slow function, the broker
/// sends nothing to the others.
pub const RECEIVE_MAX_DEFAULT: u16 = 8192;
/// Most groups of one gateway.
pub const GROUPS_MAX: usize = 16;
/// Most bytes of parts of pushes, if nothing else is said.
pub const STAGING_MAX_BYTES_DEFAULT: u64 = 16 << 20;
/// How long they are kept, if nothing else is said: a day.
pub const PARTS_TTL_US_DEFAULT: u64 = 86_400_000_000;
/// Most bytes of the flash in a day for pushes that come to nothing, if nothing else is said.
pub const VAIN_DAY_BYTES_DEFAULT: u64 = 64 << 20;
/// Longest gateway id, in bytes.
pub const GATEWAY_ID_MAX_BYTES: usize = 64;

/// Configuration of [`Core`](crate::Core).
#[derive(Clone, Debug)]
pub struct Config {
    /// Gateway id: names the control topics and stamps every output.
    pub gateway_id: String,
    /// Program version, for the status document.
    pub version: &'static str,
    /// Uplinks in the order of `gateway.toml`. Whatever no uplink takes goes to the local broker.
    pub uplinks: Vec<Uplink>,
    /// The nodes behind the gateway, in the order of `gateway.toml`.
    pub nodes: Vec<Node>,
    /// Sensors at the gateway itself, in the order of `gateway.toml`, as they are before the first sample.
    pub sensors: Vec<SensorReport>,
    /// What happens to new messages when the spool is full.
    pub when_full: WhenFull,
    /// Makes less of the backlog before that.
    pub reduce: Option<Reduce>,
    /// Longest time a message waits for others to share its commit.
    pub commit_window_us: u64,
    /// Most bytes the flash should take in a day; none for no matter.
    pub wear_budget_day_bytes: Option<u64>,
    /// How long the commit window may grow to keep to that.
    pub commit_window_max_us: u64,
    /// Groups of gateways it belongs to: it also takes what is meant for `@<group>`.
    pub groups: Vec<String>,
    /// Most bytes of parts of pushes that are not complete.
    pub staging_max_bytes: u64,
    /// How long they are kept without a further one.
    pub parts_ttl_us: u64,
    /// Most bytes of the flash in a day for parts of pushes that come to nothing, and as many for whole ones.
    pub vain_day_bytes: u64,
    /// The system it runs on is an image of ours, and says what becomes of its updates.
    pub is_flashed: bool,
    /// How versions come in force whose manifest says nothing of it; none for at once.
    pub rollout: Option<Rollout>,
    /// Fuel in a second that all functions together may come to, by their limits and expected rates; none if nobody adds up.
    pub fuel_budget_per_s: Option<u64>,
    /// Most messages delivered to the gateway and not yet acknowledged: MQTT's receive maximum.
    pub receive_max: u16,
    /// Most publishes in flight on one link, if its broker does not set a lower receive maximum.
    pub inflight_max: u16,
    /// Largest payload accepted from a sensor.
    pub payload_max_bytes: usize,
    /// Threads that run what takes long, and most instances of one function; at least 1.
    pub workers: usize,
    /// What any function may ask for at most.
    pub ceiling: Limits,
    /// How often the retained status document is renewed.
    pub status_interval_us: u64,
    /// How long acknowledgements of an otherwise idle uplink may stay unwritten; a crash in between means
    /// redelivery under the same sequence numbers.
    pub ack_flush_us: u64,
}

impl Default for Config {
    /// As an empty `gateway.toml` has it, for a gateway called `gateway`.
    fn default() -> Self {
        Self {
            gateway_id: "gateway".to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            uplinks: Vec::new(),
            nodes: Vec::new(),
            sensors: Vec::new(),
            when_full: WhenFull::DropOldest,
            reduce: None,
            commit_window_us: 10_000,
            wear_budget_day_bytes: None,
            commit_window_max_us: 1_000_000,
            groups: Vec::new(),
            staging_max_bytes: STAGING_MAX_BYTES_DEFAULT,
            parts_ttl_us: PARTS_TTL_US_DEFAULT,
            vain_day_bytes: VAIN_DAY_BYTES_DEFAULT,
            is_flashed: false,
            rollout: None,
            fuel_budget_per_s: None,
            receive_max: RECEIVE_MAX_DEFAULT,
            inflight_max: 500,
            payload_max_bytes: PAYLOAD_MAX_BYTES,
            workers: 1,
            ceiling: Limits::CEILING,
            status_interval_us: 30_000_000,
            ack_flush_us: 500_000,
        }
    }
}

/// A node behind the gateway.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Its name in topics, status and logs.
    pub id: String,
    /// Its board, by the name of its file, if the configuration names it.
    pub board: Option<String>,
    /// What the configuration file gives it to run, if that is a function; what is pushed to it goes before that.
    pub configured: Option<Configured>,
}

/// A function that came with the configuration file.
#[derive(Clone, Debug)]
pub struct Configured {
    /// Its name.
    pub name: String,
    /// The build.
    pub build: Build,
}

/// A place outputs go to.
#[derive(Clone, Debug, Default)]
pub struct Uplink {
    /// Its name in configuration, status and ledger.
    pub name: String,
    /// Topic filters of the outputs it takes that no route of its own takes: its default route, of normal priority. None
    /// if there are routes only.
    pub topics: Vec<String>,
    /// Routes in the order they are tried.
    pub routes: Vec<Route>,
    /// Topic filters of the messages that come down from it to the local broker.
    pub down: Vec<String>,
    /// Control messages are taken from it.
    pub control: bool,
    /// Most publishes a second, all routes together, so that a gateway that was away does not flood its link or cloud.
    pub rate_max_per_s: Option<u32>,
    /// Outputs of the default route older than this are of no use any more: they are dropped instead of sent.
    pub ttl_ms: Option<u64>,
    /// Most bytes, of topics and payloads, that may wait for it, all routes together.
    pub backlog_max_bytes: Option<u64>,
    /// What happens then; as for the spool if none.
    pub when_full: Option<WhenFull>,
    /// What is sent first when a link comes back to a backlog.
    pub order: Order,
    /// Most outputs that are sent, and answered, together; none if each is on its own.
    pub batch_max: Option<u16>,
    /// Its connection says nothing until it has accepted an output, as with HTTP: it counts as connected from then on.
    pub proven_by_answer: bool,
}

/// What of a stream is sent first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The backlog, and then what is new.
    #[default]
    OldestFirst,
    /// What comes from now on, and the backlog behind it, under an epoch of its own.
    LiveFirst,
}

/// Outputs of an uplink that are numbered, ordered and accounted for on their own. All routes share the uplink's link.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// Its name; `uplink/route` in status and ledger.
    pub name: String,
    /// Topic filters of the outputs it takes.
    pub topics: Vec<String>,
    /// What is sent first.
    pub priority: Priority,
    /// As [`Uplink::ttl_ms`].
    pub ttl_ms: Option<u64>,
}

/// What is sent first when both wait, and given up last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// After everything else.
    Low,
    /// Telemetry.
    #[default]
    Normal,
    /// Alarms.
    High,
}

impl Priority {
    /// One word, as in configuration and status.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// Most fuel the manifest of a reducer may allow it for one output: messages wait while it is shown one.
pub const REDUCER_FUEL_MAX: u64 = 10_000_000;

/// When a function is to make less of the backlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// Part of what the log takes before it is full, from which on, in percent.
    pub at_percent: u8,
    /// Name of the function. It is shown what is pending, oldest first, and wakes on nothing else.
    pub function: String,
}

/// Policy at the quota of the spool or of an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Give up the oldest of the backlog; of an uplink, that of the lowest priority first.
    DropOldest,
    /// Acknowledge and discard what arrives; of an uplink, its outputs.
    DropNewest,
    /// Hold what arrives unacknowledged, so that the broker keeps it.
    Block,
}
