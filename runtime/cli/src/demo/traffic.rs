//! The sensors: each has its own connection, and publishes at QoS 1 at its share of the rate.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::runtime::Runtime;
use tokio::time::{interval, sleep, MissedTickBehavior};

/// Sensors of the demonstration.
pub const SENSORS: u64 = 20;
/// A reading above this is dropped by the function, as its manifest says.
const RH_MAX: f64 = 95.0;
/// Time stamp of the first reading; each one has its own, by which it is known in the cloud.
pub const FIRST_ID: u64 = 1_700_000_000_000;
/// Unacknowledged publishes of one sensor.
const IN_FLIGHT_MAX: u16 = 100;

/// What is published.
#[derive(Clone, Copy)]
pub struct Plan {
    /// All sensors together.
    pub messages: u64,
    /// Per second, all sensors together.
    pub rate: u64,
    /// Of the readings.
    pub seed: u64,
}

/// What was published.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Readings a result must arrive for, by time stamp.
    pub expected: Vec<u64>,
    /// Messages the broker acknowledged.
    pub acknowledged: u64,
}

/// The running sensors.
pub struct Traffic {
    plan: Plan,
    acknowledged: AtomicU64,
    expected: Mutex<Vec<u64>>,
}

impl Traffic {
    /// Connects the sensors and lets them publish.
    pub fn start(runtime: &Runtime, broker: SocketAddr, plan: Plan) -> Arc<Self> {
        let traffic = Arc::new(Self { plan, acknowledged: AtomicU64::new(0), expected: Mutex::default() });
        for sensor in 0..SENSORS {
            runtime.spawn(Arc::clone(&traffic).sensor(sensor, broker));
        }
        traffic
    }

    /// Messages there will be.
    pub fn planned(&self) -> u64 {
        self.plan.messages
    }

    /// Messages the broker has acknowledged by now.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// What was published by now.
    pub fn published(&self) -> Published {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Published { expected, acknowledged: self.acknowledged() }
    }

    async fn sensor(self: Arc<Self>, sensor: u64, broker: SocketAddr) {
        let mut options = MqttOptions::new(format!("sensor-{sensor}"), broker.ip().to_string(), broker.port());
        options.set_keep_alive(Duration::from_secs(30)).set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX);
        let (client, events) = AsyncClient::new(options, usize::from(IN_FLIGHT_MAX));
        let publishing = self.publish(sensor, &client);
        let mine = (self.plan.messages + SENSORS - 1 - sensor) / SENSORS;
        tokio::join!(publishing, self.acknowledge(events, mine));
    }

    async fn publish(&self, sensor: u64, client: &AsyncClient) {
        let mut rng = fastrand::Rng::with_seed(self.plan.seed ^ sensor << 32);
        let mut tick = interval(Duration::from_nanos(1_000_000_000 * SENSORS / self.plan.rate));
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for index in (sensor..self.plan.messages).step_by(SENSORS as usize) {
            tick.tick().await;
            let id = FIRST_ID + index;
            let (t, rh) = (rng.f64() * 40.0, 30.0 + rng.f64() * 68.0);
            if (rh * 10.0).round() / 10.0 <= RH_MAX {
                self.expected.lock().unwrap_or_else(PoisonError::into_inner).push(id);
            }
            let payload = format!(r#"{{"device":"sensor-{sensor}","t":{t:.2},"rh":{rh:.1},"ts":{id}}}"#);
            let topic = format!("sensors/{sensor}/raw");
            if client.publish(topic, QoS::AtLeastOnce, false, payload).await.is_err() {
                return;
            }
        }
    }

    async fn acknowledge(&self, mut events: EventLoop, count: u64) {
        let mut acknowledged = 0;
        while acknowledged < count {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => {
                    acknowledged += 1;
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => {}
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}
