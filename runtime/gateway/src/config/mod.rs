//! `gateway.toml`: read, checked as a whole, and turned into settings that need no further check.
//!
//! Keys, but for those of `[[uplink]]`:
//!
//! | key | default | what |
//! |---|---|---|
//! | `gateway.id` | the host name | names it on all its topics; at most 64 bytes |
//! | `gateway.data_dir` | `/var/lib/eyot` | directory of the log, on a disk; made if it is missing |
//! | `gateway.status_interval` | `30s` | how often the status document is renewed, at least 1s |
//! | `broker.url` | required | `mqtt://` or `mqtts://host[:port]`; `embedded://address:port` runs a broker in this process |
//! | `broker.protocol` | 5 | MQTT 5, or 4 for MQTT 3.1.1 |
//! | `broker.client_id` | `eyot-<id>` | MQTT client id of the intake; deliveries add `-local` |
//! | `broker.username`, `password_file`, `password_env` | none | login; the password is a file's content or a variable's value |
//! | `broker.receive_max` | 8192 | most messages in the gateway that are not acknowledged yet; when so many wait for one function, others get none |
//! | `[broker.tls]` `ca`, `cert`, `key` | system's authorities | PEM files for `mqtts://` |
//! | `run.workers` | the number of cores | threads that run functions which take long, 1 to 64; see [`workers`](crate::workers) |
//! | `metrics.listen` | required in `[metrics]` | address and port, not 0, for Prometheus, see [`metrics`](crate::metrics) |
//! | `spool.max_bytes` | `512MiB` | the log's quota, at least 512KiB and eight times the state of all functions |
//! | `spool.when_full` | `drop-oldest` | what happens at the quota: also `drop-newest`, `block` |
//! | `spool.commit_window` | `10ms` | how long a message may wait to share a commit with others |
//! | `spool.wear_budget` | none | most bytes the flash should take in a day, as `"2GiB/day"`, at least 16MiB; the commit window grows to keep to it |
//! | `spool.commit_window_max` | 1s, or `commit_window` if that is longer | how long it may grow |
//! | `spool.reduce.function` | none | name of the function that makes less of the backlog; no message wakes it |
//! | `spool.reduce.at` | `"80%"` | from which part of what the log takes before it is full on, 10% to 95% |
//! | `run.fuel_budget` | none | fuel in a second, as `"200_000_000/s"`: functions are refused whose `[limits] fuel`, and what a new start takes, times the `rate` of their triggers, comes to more all together |
//! | `gateway.groups` | none | groups of gateways it belongs to, as `"barns"`: it takes pushes and commands for `eyot/@barns/…` as well; at most 16 |
//! | `deploy.staging_max` | `16MiB` | most bytes of pushes that are not whole yet, 1MiB to 1GiB |
//! | `deploy.vain_per_day` | `64MiB` | bytes of the flash in a day for parts of pushes that come to nothing, and for signed whole ones |
//! | `deploy.parts_ttl` | `24h` | how long their parts are kept after the last one came, 1m to 30d |
//! | `deploy.rollout.shadow` | | `"1000 messages"` or `"until promoted"`: versions without a `[rollout]` are shadows first |
//! | `deploy.rollout.failures` | `0` | of these messages, so many may fail that the version in force does well with |
//! | `deploy.rollout.different` | `0%` | of these messages, so many may lead to other outputs |
//! | `deploy.rollout.canary` | | `"10%"` or `"10% for 1000 messages"`: then they have this share of the messages first |
//! | `trust.keys` | none | public keys that may push any function: lines of OpenSSH `.pub` files, or the bytes in hex or base64; at most 1024 with those of `[[trust.key]]` |
//! | `trust.revoked` | none | keys, or their ids, that are trusted no more, wherever else they stand |
//! | `trust.allow_unsigned` | false | whether functions that no trusted key signed may be pushed |
//! | `[[trust.key]]` `key` | required | a public key that is trusted with less |
//! | `trust.key.expires` | never | first moment at which it is good no more: `"2027-01-01"`, UTC; refused while the clock is not set |
//! | `trust.key.roles` | `"push"`, `"command"` | what it may be used for: these, or `"update"`: replace the system of a gateway that was flashed; `trust.keys` may do all |
//! | `trust.key.functions` | all | names of functions, as `"celsius"` or `"lab-*"`; at most 64 |
//! | `[[function]]` `path` | none | a module that is there from the first start on |
//! | `[[node]]` `id` | required | name of a microcontroller, `[a-z0-9-]`; its readings come on `nodes/<id>/…`; at most 32 nodes, see [`node`](crate::node) |
//! | `node.port` | required | its line: a device, as `"/dev/ttyUSB0"`, or `"tcp://host:port"` |
//! | `node.baud` | 115200 | of a device: bits a second, 300 to 4,000,000 |
//! | `node.board` | none | what it runs on, of `eyot boards`: what is pushed to it must fit that |
//! | `node.function` | none | the module it is to run, as for `[[function]]`; without the key it is left as it is |
//! | `node.program` | none | its own program, for nodes that take one over the line: as it is linked, or as the flash is to have it; without the key it is left as it is |
//! | `[[sensor]]` `kind` | required | a sensor at the gateway: `"bme280"`, `"sht4x"`, `"ads1115"`, `"ds18b20"`, `"pin"`; at most 32, see [`sensor`](crate::sensor) |
//! | `sensor.topic` | required | what its samples are messages on; of no other sensor, and not below `eyot/` |
//! | `sensor.bus` | required, `/sys/bus/w1/devices` for `ds18b20` | `"/dev/i2c-1"`; the directory of the kernel's 1-Wire devices; of a pin its chip, `"/dev/gpiochip0"` |
//! | `sensor.address` | 0x76, 0x44, 0x48 | on I²C: 0x76 and 0x77 of `bme280`, 0x44 to 0x46 of `sht4x`, 0x48 to 0x4b of `ads1115`. Of `ds18b20` its number, `"28-0316a2794caa"`, required |
//! | `sensor.line` | required | of a pin: its number on the chip |
//! | `sensor.input` | `"A0"` | of `ads1115`: or `"A1"`, `"A2"`, `"A3"`; each is a sensor of its own |
//! | `sensor.range` | `"2.048V"` | of `ads1115`: or `"6.144V"`, `"4.096V"`, `"1.024V"`, `"0.512V"`, `"0.256V"` |
//! | `sensor.every` | `"10s"` | 100ms to 1d |
//!
//! Keys of `[[uplink]]`, of which there are at most 16, by the scheme of its `url`. Whatever is no broker gets every output as an
//! [`envelope`](crate::envelope), and no control documents.
//!
//! | scheme | key | default | what |
//! |---|---|---|---|
//! | any | `topics` | none | filters of the emitted topics it takes; may be left out beside routes |
//! | | `down` | none | filters of the topics that come down from it to the local broker, of MQTT only; none may have a topic in common with what goes up there, or with `eyot/#` |
//! | | `rate` | none | most publishes a second, all routes together: `"100/s"` |
//! | | `ttl` | none | outputs older than this, give or take a second, are dropped instead of sent, at least 1s; of routes too |
//! | | `max_backlog` | none | most bytes (topics and payloads) that may wait for it, all routes together; at least 64KiB, and less than `spool.max_bytes`. With `drop-oldest` what is in flight is not given up, nor what is behind it before it is answered |
//! | | `when_full` | the spool's | what happens then: `"drop-oldest"`, of the lowest priority first, and while it is connected a sixteenth of `max_backlog` at a time, `"drop-newest"`, `"block"` |
//! | | `order` | `"oldest-first"` | or `"live-first"`: when the link is back, what is new goes before the backlog |
//! | | `[[uplink.route]]` `name`, `topics` | none | outputs with a stream of their own; the first route that matches wins |
//! | | `route.priority` | `"normal"` | or `"high"`, `"low"`: what is sent first, and given up last |
//! | | `route.ttl` | the uplink's | as `ttl` |
//! | | `control` | true for MQTT | whether pushes and commands are taken from there, and function logs and captures go there; say `false` where the broker closes connections that subscribe to `eyot/<id>/push` |
//! | `mqtt`, `mqtts` | `client_id` | `eyot-<id>-<name>` | MQTT client id |
//! | | `username`, `password_file`, `password_env` | none | as above |
//! | | `protocol` | 5 | or 4 |
//! | | `inflight` | 500 | most unacknowledged publishes, and at most 8 MiB of topics and payloads |
//! | | `envelope` | none | `"json"`: wrap each payload |
//! | `http`, `https` | `batch_max`, `batch_bytes`, `linger` | 500, `512KiB`, `1s` | a batch is sent at whichever comes first: records (at most 16384), bytes before compression (`1KiB` to `64MiB`), age of its first record (at most `1h`) |
//! | | `format` | `ndjson` | or `json`: an array |
//! | | `compress` | `none` | `gzip` or `zstd`, if the server decodes request bodies, which few do unasked |
//! | | `token_file`, `token_env` | none | sent as `Authorization: Bearer`; the file is read again when the token is not accepted |
//! | | `timeout` | `30s` | for one request with its answer, `1s` to `10m` |
//! | `s3` | `endpoint` | Amazon's for `region` | `http(s)://host[:port]` of another S3 server; buckets are addressed in path style |
//! | | `region` | `us-east-1` | region of the bucket |
//! | | `access_key` | required | name of the access key |
//! | | `secret_key_file`, `secret_key_env` | one is required | its secret; the file is read again with each connection |
//! | | `batch_max`, `batch_bytes`, `linger` | 10000, `512KiB`, `1m` | as above: each batch is an object; a day (UTC) ends a batch |
//! | | `compress` | `zstd` | or `none`, or `gzip`, which takes 3 MB less of memory |
//! | | `timeout` | `30s` | as above |
//! | `file` | `batch_max`, `batch_bytes`, `linger` | 1000, `512KiB` or `rotate_bytes`, `1s` | as above: each batch is one `fdatasync` |
//! | | `rotate_bytes` | `64MiB` | largest file, `64KiB` to `1GiB` and at least `batch_bytes`; a record that is larger has one of its own |
//! | | `rotate_every` | `24h` | oldest file, `1s` to `366days` |
//! | | `keep` | all | rotated files kept, the oldest is removed |
//! | `mqtts`, `https`, `s3` | `[uplink.tls]` `ca`, `cert`, `key` | system's authorities, none | PEM files; `cert` and `key` are shown to a server that asks |
//!
//! All routes of an uplink, its own `topics` among them, share its link. There are at most 32 streams, that to the local
//! broker included.
//!
//! Relative paths are relative to the configuration file. An `embedded://` broker speaks both protocol versions;
//! `broker.protocol` is then the one the gateway itself uses.

mod data_dir;
mod delivery;
mod deploy;
mod metrics;
mod node;
mod problem;
mod read;
mod reduce;
mod run;
mod secret;
mod section;
mod sensor;
mod spool;
mod trust;
mod uplink;
pub mod url;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use eyot_core::config::WhenFull;
use eyot_trust::policy::Policy;

pub use deploy::Deploy;
pub use problem::{ConfigError, Problem, PROBLEMS_MAX, PROBLEM_MAX_CHARS};
pub use reduce::Reduce;
pub use run::Run;
pub use secret::{Secret, SECRET_MAX_BYTES, USERNAME_MAX_BYTES};
pub use section::meant;

use crate::file::read_text;
use crate::mqtt::transport::Endpoint;
use crate::mqtt::Version;
use crate::node::Node;
use crate::sensor::Sensor;
use crate::uplink::batch::Limits;
use crate::uplink::Place;

/// Largest `gateway.toml`.
pub const FILE_MAX_BYTES: usize = 1 << 20;
/// Smallest `spool.max_bytes`.
pub const SPOOL_MIN_BYTES: u64 = eyot_spool::Options::MAX_BYTES_MIN;
/// Largest size that makes sense: more than any disk of a gateway holds, and the largest file of ext4.
pub const SIZE_MAX_BYTES: u64 = 16 << 40;

/// Everything the gateway needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Gateway id: one topic level, at most 64 bytes.
    pub id: String,
    /// Groups it belongs to: what is meant for `@<group>` is meant for it.
    pub groups: Vec<String>,
    /// Where the log is.
    pub data_dir: PathBuf,
    /// How often the status document is renewed.
    pub status_interval: Duration,
    /// Where the sensors are.
    pub broker: Broker,
    /// Where outputs go.
    pub uplinks: Vec<Uplink>,
    /// Microcontrollers, and where they are.
    pub nodes: Vec<Node>,
    /// Sensors at this gateway.
    pub sensors: Vec<Sensor>,
    /// The log.
    pub spool: Spool,
    /// How functions are run.
    pub run: Run,
    /// Where metrics are served, if at all.
    pub metrics: Option<SocketAddr>,
    /// Room for pushes.
    pub deploy: Deploy,
    /// Who may push functions.
    pub trust: Policy,
    /// Functions present at first boot.
    pub functions: Vec<FunctionFile>,
    /// Where the system says what it is, if it is an image of ours. No key of the file.
    pub system: Option<PathBuf>,
    /// What can be done, and is hardly meant; at most [`PROBLEMS_MAX`].
    pub warnings: Vec<Problem>,
}

/// `[broker]`.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Where.
    pub at: BrokerAt,
    /// Protocol version.
    pub version: Version,
    /// Client id.
    pub client_id: Option<String>,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// Most messages delivered and not acknowledged.
    pub receive_max: u16,
}

/// Where the local broker is.
#[derive(Clone, Debug)]
pub enum BrokerAt {
    /// In this process, listening here.
    Embedded(SocketAddr),
    /// Somewhere else.
    Remote(Endpoint),
}

/// `[[uplink]]`.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// Name in status, ledger and logs.
    pub name: String,
    /// What it takes, and how that is sent; under the same name.
    pub delivery: eyot_core::config::Uplink,
    /// Where that goes.
    pub at: UplinkAt,
}

/// What an uplink is.
#[derive(Clone, Debug)]
pub enum UplinkAt {
    /// A broker.
    Mqtt(Mqtt),
    /// Whatever is no broker, and when a batch for it is complete.
    Store(Place, Limits),
}

/// A broker in the cloud.
#[derive(Clone, Debug)]
pub struct Mqtt {
    /// Where.
    pub endpoint: Endpoint,
    /// Protocol version.
    pub version: Version,
    /// Client id.
    pub client_id: Option<String>,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// Most unacknowledged publishes.
    pub inflight: u16,
    /// Wrap payloads.
    pub envelope: bool,
}

/// `[spool]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// Most bytes on disk.
    pub max_bytes: u64,
    /// What happens then.
    pub when_full: WhenFull,
    /// What makes less of the backlog before.
    pub reduce: Option<Reduce>,
    /// Longest wait of a message for others to share its commit.
    pub commit_window: Duration,
    /// Most bytes the flash should take in a day.
    pub wear_budget_day_bytes: Option<u64>,
    /// How long the commit window may grow to keep to that; at least [`commit_window`](Self::commit_window).
    pub commit_window_max: Duration,
}

/// `[[function]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionFile {
    /// The module.
    pub path: PathBuf,
    /// Line of the configuration that names it.
    pub line: usize,
}

impl Config {
    /// Reads and checks a file and the files it names, except functions.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(file, &text_of(file)?)
    }

    /// Reads and checks only `[trust]` of a file; what else it names may be on another machine.
    pub fn load_trust(file: &Path) -> Result<Policy, ConfigError> {
        read::read_trust(&text_of(file)?).map_err(|error| ConfigError { file: file.to_owned(), ..error })
    }

    /// Checks the text of a file; `file` is for messages and relative paths.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let base = file.parent().unwrap_or(Path::new(""));
        read::read(text, base).map_err(|error| ConfigError { file: file.to_owned(), ..error })
    }
}

fn text_of(file: &Path) -> Result<String, ConfigError> {
    read_text(file, FILE_MAX_BYTES).map_err(|error| {
        let reason = format!("cannot be read: {error}; check --config and the file's permissions");
        ConfigError::new(file.to_owned(), vec![Problem { line: 1, key: String::new(), reason }])
    })
}
