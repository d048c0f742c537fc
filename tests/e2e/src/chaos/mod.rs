//! The guarantee under everything that goes wrong at once: a steady load of numbered messages, and faults in a random
//! order, some of them at the same time. Then all is healed, and every message is accounted for.
//!
//! - [`load`]: the sensors, and the collector at the cloud.
//! - [`faults`]: what goes wrong, and when.
//! - [`report`]: what came of it, and whether that is what is promised.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::config::Uplink;
use crate::daemon::Eyotd;
use crate::disk::SmallDisk;
use crate::guest::{echo, Manifest};
use crate::mosquitto::Mosquitto;
use crate::proxy::Proxy;
use crate::site::Site;

pub mod faults;
pub mod load;
pub mod report;

use faults::Weather;
use load::{collect, Came, Collected, Sensors};
pub use report::Report;

/// The card in the gateway.
const DISK_MEBIBYTES: u64 = 20;
/// With messages of a kibibyte a segment lasts some seconds: when the disk is full for a while, so is the log.
const SPOOL: &str = "max_bytes = \"12MiB\"\nwhen_full = \"block\"";
/// Longest time without a new message at the cloud when all is healed: links try again every 30 seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// How often there is something to do.
const TURN: Duration = Duration::from_millis(20);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long things go wrong.
    pub lasts: Duration,
    /// Decides what goes wrong when.
    pub seed: u64,
    /// Messages a second.
    pub rate_per_s: u32,
}

/// Runs it, and tells what goes wrong as it does.
///
/// # Errors
/// The promise that was broken.
///
/// # Panics
/// When something other than the gateway does not work.
pub fn run(plan: Plan, tell: &mut dyn FnMut(&str)) -> Result<Report, String> {
    // The disk is unmounted after the daemon that uses it has ended: what is declared first is dropped last.
    let disk = SmallDisk::ext4("the full disk in this chaos", DISK_MEBIBYTES);
    let mut cloud = Mosquitto::persistent();
    let proxy = Proxy::new(cloud.port());
    let mut site = site(&proxy, disk.as_ref());
    Client::resume(cloud.port(), "collector").expect("the cloud is there").subscribe("cloud/#");
    let mut daemon = site.start();
    let (enough, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let (to_us, arrivals) = mpsc::channel();
    let (sensors_port, cloud_port) = (site.broker.port(), cloud.port());
    thread::scope(|scope| {
        let _stop = (SetOnDrop(&enough), SetOnDrop(&stop));
        scope.spawn(|| collect(cloud_port, &stop, to_us));
        let sensors = scope.spawn(|| Sensors::new(sensors_port, plan.rate_per_s, &enough, &stop).publish());
        let mut collected = Collected::default();
        let mut weather = Weather::new(plan.seed, disk.as_ref(), &proxy, tell);
        let began = Instant::now();
        while began.elapsed() < plan.lasts {
            weather.turn(&mut site, &mut daemon, &mut cloud)?;
            collected.take(&arrivals, TURN);
        }
        weather.heal(&mut site, &mut daemon, &mut cloud)?;
        enough.store(true, Ordering::Relaxed);
        while !sensors.is_finished() {
            running(&mut daemon)?;
            collected.take(&arrivals, TURN);
        }
        let sent = sensors.join().map_err(|_| "the sensors could not publish".to_owned())?;
        await_rest(&mut collected, &arrivals, &mut daemon, sent.messages)?;
        Report::new(plan, began.elapsed(), &weather, sent, &collected, &site)
    })
}

/// The gateway with its persistent broker, on the small disk if there is one.
fn site(proxy: &Proxy, disk: Option<&SmallDisk>) -> Site {
    let mut site = Site::with_broker("chaos", Mosquitto::persistent())
        .function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
    site.config.uplinks = vec![Uplink::cloud(proxy.url())];
    site.config.spool = SPOOL.into();
    if let Some(disk) = disk {
        site.config.data_dir = disk.path();
    }
    site
}

/// Waits until every message has arrived, or nothing new does.
fn await_rest(
    collected: &mut Collected,
    arrivals: &Receiver<Came>,
    daemon: &mut Eyotd,
    messages: u64,
) -> Result<(), String> {
    let (mut before, mut news) = (collected.distinct(), Instant::now());
    while collected.distinct() < messages && news.elapsed() < SILENCE {
        running(daemon)?;
        collected.take(arrivals, TURN);
        if collected.distinct() > before {
            (before, news) = (collected.distinct(), Instant::now());
        }
    }
    Ok(())
}

fn running(daemon: &mut Eyotd) -> Result<(), String> {
    match daemon.is_running() {
        true => Ok(()),
        false => Err(format!("eyotd ended by itself:\n{}", daemon.log())),
    }
}

/// The scope waits for its threads, also when the run fails in between.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
