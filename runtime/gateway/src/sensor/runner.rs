//! The thread of a bus: samples what is due, hands it to the core, and says how its sensors are.
//!
//! A driver waits for its sensor, up to a second: so each bus has a thread of its own, and none is waited for when the gateway
//! ends.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eyot_core::io::LinkId;
use eyot_core::sensor::SensorReport;
use eyot_node::{Channel, Sample, SensorError};
use flume::{Receiver, RecvTimeoutError};
use tracing::{info, warn};

use super::device::Device;
use super::Sensor;
use crate::mqtt::link::{Events, LinkEvent};
use crate::mqtt::Message;

/// How often a sensor's counters are told, at most; that it fails, or answers again, is told at once.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A sensor that fails every other time is not to fill the log.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Starts a thread for each bus. They end when `dead` is closed.
///
/// # Errors
/// The system has no thread left.
pub(crate) fn start(sensors: Vec<Sensor>, events: &Events, dead: &Receiver<()>) -> io::Result<()> {
    let mut buses: BTreeMap<PathBuf, Vec<(usize, Sensor)>> = BTreeMap::new();
    for (place, sensor) in sensors.into_iter().enumerate() {
        buses.entry(sensor.bus.clone()).or_default().push((place, sensor));
    }
    for sensors in buses.into_values() {
        let (events, dead) = (events.clone(), dead.clone());
        thread::Builder::new().name("sensors".to_owned()).spawn(move || run(sensors, &events, &dead))?;
    }
    Ok(())
}

/// What is known of one sensor.
struct Account {
    place: usize,
    topic: Bytes,
    report: SensorReport,
    told_at: Option<Instant>,
    /// When a failure was last said.
    warned_at: Option<Instant>,
    is_said: bool,
}

fn run(sensors: Vec<(usize, Sensor)>, events: &Events, dead: &Receiver<()>) {
    let started = Instant::now();
    let mut accounts: Vec<_> = sensors.iter().map(|(place, sensor)| Account::new(*place, sensor)).collect();
    let mut devices: Vec<_> = sensors.iter().map(|(_, sensor)| Device::new(sensor.clone())).collect();
    let mut table = Vec::new();
    for ((_, sensor), device) in sensors.iter().zip(&mut devices) {
        let every_ms = u32::try_from(sensor.every.as_millis()).unwrap_or(u32::MAX);
        table.push(Channel::new(&sensor.topic, every_ms, device));
    }
    let now_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut sample = Sample::new();
    loop {
        for (channel, account) in table.iter_mut().zip(&mut accounts) {
            let Some(result) = channel.poll(now_ms(), &mut sample) else { continue };
            if !account.sampled(result.map(|()| &*sample), events) {
                return;
            }
        }
        let due_ms = table.iter().map(Channel::due_ms).min().unwrap_or(u64::MAX);
        let wait = Duration::from_millis(due_ms.saturating_sub(now_ms()));
        if !matches!(dead.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

impl Account {
    fn new(place: usize, sensor: &Sensor) -> Self {
        let topic = Bytes::from(sensor.topic.clone());
        Self { place, topic, report: sensor.report(), told_at: None, warned_at: None, is_said: false }
    }

    /// False if nobody listens any more.
    fn sampled(&mut self, result: Result<&str, SensorError>, events: &Events) -> bool {
        let was_answering = self.report.answers.replace(result.is_ok());
        self.report.reason = result.err().map(SensorError::reason);
        let is_heard = match result {
            Ok(sample) => {
                self.report.samples += 1;
                self.hand_over(sample, events)
            }
            Err(_) => {
                self.report.errors += 1;
                true
            }
        };
        self.say();
        let is_told = self.told_at.is_some_and(|at| at.elapsed() < REPORT_EVERY);
        if !is_heard || is_told && was_answering == self.report.answers {
            return is_heard;
        }
        self.told_at = Some(Instant::now());
        tell(events, LinkEvent::Sensor { place: self.place, report: Box::new(self.report.clone()) })
    }

    fn hand_over(&self, sample: &str, events: &Events) -> bool {
        let message = Message {
            packet_id: 0,
            qos: 0,
            dup: false,
            wakes: None,
            retain: false,
            topic: self.topic.clone(),
            payload: Bytes::copy_from_slice(sample.as_bytes()),
            sampled_at: Some(Instant::now()),
        };
        if events.messages.take_room(&message).is_err() {
            return tell(events, LinkEvent::Dropped { messages: 1 });
        }
        let is_heard = events.messages.send(LinkId::SENSORS.0, 0, vec![message]);
        (events.wake)();
        is_heard
    }

    /// One line for each episode.
    fn say(&mut self) {
        let SensorReport { topic, kind, at, reason, .. } = &self.report;
        match reason {
            None if std::mem::take(&mut self.is_said) => info!(topic, kind, at, "the sensor answers again"),
            Some(reason) if !self.is_said && self.warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) => {
                warn!(topic, kind, at, %reason, "no sample; asking again until there is one");
                (self.is_said, self.warned_at) = (true, Some(Instant::now()));
            }
            _ => {}
        }
    }
}

fn tell(events: &Events, event: LinkEvent) -> bool {
    let is_heard = events.control.send((LinkId::SENSORS.0, event)).is_ok();
    (events.wake)();
    is_heard
}
