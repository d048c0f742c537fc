//! `eyot demo`: the whole path in one process, with what goes wrong in the field.
//!
//! Twenty simulated sensors publish to a broker in this process; a gateway runs `celsius` on every message, commits the
//! results to disk and forwards them to a second broker, the cloud. At one third of the messages the link to the cloud
//! is cut, at one half the gateway is killed without warning and started again, at two thirds the link is back. In the
//! end every message a sensor got an acknowledgement for must be accounted for.
//!
//! - [`traffic`]: the sensors, and what they published;
//! - [`cloud`]: what arrived;
//! - [`proxy`]: the link that is cut;
//! - [`report`]: progress, and the ledger at the end.

mod cloud;
mod proxy;
mod report;
mod traffic;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_gateway::broker::Embedded;
use eyot_gateway::{Config, Gateway};

use self::cloud::Cloud;
use self::proxy::Proxy;
use self::report::{Ledger, Outcome, Progress, Status};
use self::traffic::{Plan, Traffic};
use crate::error::Error;
use crate::file;

/// The function of the demonstration, as it stands in the repository.
const CELSIUS: &[u8] = include_bytes!("../../../../functions/celsius/celsius.wasm");
/// Least and most messages.
const MESSAGES: std::ops::RangeInclusive<u64> = 30..=10_000_000;
/// How long the gateway is gone after it was killed.
const DEAD_TIME: Duration = Duration::from_millis(500);
/// The backlog must move at least once in this time.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the scenario looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Run the whole path on embedded parts: sensors, a function, flash, and a cloud that is cut and comes back.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Messages the sensors publish.
    #[arg(long, default_value_t = 6000, value_name = "N")]
    messages: u64,
    /// Messages per second, all sensors together; by default the run takes about ten seconds.
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Seed of the readings.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Keep the gateway's data in this directory instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  eyot demo
  eyot demo --messages 20000 --seed 7
  eyot demo --json | jq .balanced

Exit codes: 0 nothing was lost and the ledger balances, 1 otherwise, 2 bad usage.";

/// Runs it.
///
/// # Errors
/// Something was lost, or the ledger does not balance, or the parts do not start.
pub fn execute(args: &Args) -> Result<(), Error> {
    if !MESSAGES.contains(&args.messages) {
        let (least, most) = MESSAGES.into_inner();
        let reason = format!("{} is not between {least} and {most}", args.messages);
        return Err(Error::bad_input("--messages", reason, "choose another number"));
    }
    let rate = args.rate.unwrap_or((args.messages / 10).max(500));
    if rate == 0 {
        return Err(Error::bad_input("--rate", "0 messages per second never end", "choose another number"));
    }
    let outcome = Demo::start(args, rate)?.run()?;
    outcome.print(args.json)?;
    match outcome.verdict() {
        None => Ok(()),
        Some(reason) => {
            let seed = format!("please report it with the seed, {}", args.seed);
            Err(Error::failed("demo", reason, seed).in_report())
        }
    }
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// All parts, running.
struct Demo {
    seed: u64,
    started: Instant,
    config: Config,
    gateway: Option<Gateway>,
    traffic: Arc<Traffic>,
    cloud: Arc<Cloud>,
    link: Proxy,
    progress: Progress,
    kills: u64,
    // Stopped last, in this order, when the demo is dropped.
    _runtime: tokio::runtime::Runtime,
    _brokers: [Embedded; 2],
    _temporary: Option<tempfile::TempDir>,
}

impl Demo {
    fn start(args: &Args, rate: u64) -> Result<Self, Error> {
        let failed = |what: &'static str| {
            move |e: std::io::Error| Error::failed(what, e, "free a port, a file descriptor or memory, and try again")
        };
        let (temporary, data_dir) = match &args.data_dir {
            Some(dir) => (None, dir.clone()),
            None => {
                let dir = tempfile::tempdir().map_err(failed("a temporary directory"))?;
                let path = dir.path().to_owned();
                (Some(dir), path)
            }
        };
        let local = Embedded::start(any_port(), None).map_err(failed("the local broker"))?;
        let far = Embedded::start(any_port(), None).map_err(failed("the cloud's broker"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(failed("the demonstration's thread"))?;
        let link = runtime.block_on(Proxy::start(far.local_addr)).map_err(failed("the link to the cloud"))?;
        let config = config(&data_dir, local.local_addr, link.local_addr)?;
        let cloud = Cloud::listen(&runtime, far.local_addr);
        cloud.wait_until_ready(STALL_TIMEOUT).map_err(failed("the cloud's subscriber"))?;
        let gateway = start(&config)?;
        // A broker keeps messages for a session from its first subscription on; earlier ones have no receiver.
        until_subscribed(&gateway)?;
        let traffic =
            Traffic::start(&runtime, local.local_addr, Plan { messages: args.messages, rate, seed: args.seed });
        Ok(Self {
            seed: args.seed,
            started: Instant::now(),
            config,
            gateway: Some(gateway),
            traffic,
            cloud,
            link,
            progress: Progress::new(args.messages, args.json),
            kills: 0,
            _runtime: runtime,
            _brokers: [local, far],
            _temporary: temporary,
        })
    }

    fn run(mut self) -> Result<Outcome, Error> {
        let total = self.traffic.planned();
        self.progress.stage("20 sensors publish; celsius runs on every message; results go to the cloud");
        self.until_published(total / 3);
        self.link.cut();
        self.progress.stage("the link to the cloud is cut; results stay on the gateway's disk");
        self.until_published(total / 2);
        self.kill_and_restart()?;
        self.until_published(total * 2 / 3);
        self.link.restore();
        self.progress.stage("the link is back; the backlog goes out, in order");
        self.until_published(total);
        self.progress.stage("all messages are published; waiting for the last results");
        let ledger = self.until_drained()?;
        self.progress.finish();
        let arrived = self.cloud.arrived();
        let published = self.traffic.published();
        Ok(Outcome {
            seed: self.seed,
            messages: published.acknowledged,
            kills: self.kills,
            seconds: self.started.elapsed().as_secs_f64(),
            lost: published.expected.iter().filter(|id| !arrived.ids.contains(id)).count() as u64,
            duplicates: arrived.total - arrived.ids.len() as u64,
            resent: arrived.total - arrived.stamps as u64,
            arrived: arrived.ids.len() as u64,
            ledger,
        })
    }

    fn until_published(&mut self, count: u64) {
        let mut moved = (0, Instant::now());
        while self.traffic.acknowledged() < count && moved.1.elapsed() < STALL_TIMEOUT {
            if self.traffic.acknowledged() != moved.0 {
                moved = (self.traffic.acknowledged(), Instant::now());
            }
            self.look();
        }
    }

    fn look(&mut self) {
        std::thread::sleep(LOOK_EVERY);
        self.progress.show(self.traffic.acknowledged(), self.cloud.count());
    }

    /// As `kill -9` does it: nothing is drained, synced or said.
    fn kill_and_restart(&mut self) -> Result<(), Error> {
        if let Some(gateway) = self.gateway.take() {
            gateway.kill();
            self.kills += 1;
        }
        self.progress.stage("the gateway is killed, without warning");
        std::thread::sleep(DEAD_TIME);
        self.gateway = Some(start(&self.config)?);
        self.progress.stage("the gateway is back, with its log; the broker delivers again what was not acknowledged");
        Ok(())
    }

    /// Waits until nothing is pending and nothing more arrives.
    fn until_drained(&mut self) -> Result<Ledger, Error> {
        let mut moved = ((0, 0), Instant::now());
        loop {
            self.look();
            let ledger = status(self.gateway.as_ref())?.ledger;
            let missing = self.traffic.published().expected.len() as u64 > self.cloud.distinct();
            if ledger.pending == 0 && !missing || moved.1.elapsed() >= STALL_TIMEOUT {
                return Ok(ledger);
            }
            let state = (ledger.pending, self.cloud.count());
            if state != moved.0 {
                moved = (state, Instant::now());
            }
        }
    }
}

fn start(config: &Config) -> Result<Gateway, Error> {
    Gateway::start(config.clone()).map_err(|e| Error::failed("the gateway", e, "see the reason"))
}

fn status(gateway: Option<&Gateway>) -> Result<Status, Error> {
    let text = gateway.and_then(Gateway::status);
    let gone = || Error::failed("the gateway", "gives no status", "its log above says why");
    Status::parse(&text.ok_or_else(gone)?)
}

fn until_subscribed(gateway: &Gateway) -> Result<(), Error> {
    let started = Instant::now();
    while !status(Some(gateway))?.subscribed {
        if started.elapsed() >= STALL_TIMEOUT {
            return Err(Error::failed("the gateway", "does not subscribe", "its log above says why"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn config(data_dir: &Path, local: SocketAddr, cloud: SocketAddr) -> Result<Config, Error> {
    let module = data_dir.join("celsius.wasm");
    file::write_atomically(&module, CELSIUS)?;
    let text = format!(
        r#"
[gateway]
id = "demo"
data_dir = {data_dir:?}
[broker]
url = "mqtt://{local}"
[[uplink]]
name = "cloud"
url = "mqtt://{cloud}"
topics = ["processed/#"]
[[function]]
path = {module:?}
"#,
    );
    Config::parse(Path::new("demo.toml"), &text)
        .map_err(|e| Error::failed("the demonstration's configuration", e, "report it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_begin_when_the_gateway_has_subscribed() {
        for seed in 0..5 {
            let args = Args { messages: 30, rate: None, seed, data_dir: None, json: true };
            let demo = Demo::start(&args, 500).unwrap();
            assert!(status(demo.gateway.as_ref()).unwrap().subscribed, "the first readings would have no receiver");
        }
    }
}
