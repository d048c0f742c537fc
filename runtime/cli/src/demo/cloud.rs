//! The cloud: a subscriber that notes what arrives, and under which stamp.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde::Deserialize;
use tokio::runtime::Runtime;

/// What arrived.
#[derive(Default)]
struct Arrivals {
    ready: bool,
    total: u64,
    ids: BTreeSet<u64>,
    stamps: BTreeSet<(u64, u64)>,
}

/// What arrived, summed up.
pub struct Arrived {
    /// Results, repetitions included.
    pub total: u64,
    /// Readings with a result, by time stamp.
    pub ids: BTreeSet<u64>,
    /// Different stamps `(epoch, seq)`.
    pub stamps: usize,
}

/// The running subscriber.
#[derive(Default)]
pub struct Cloud {
    arrivals: Mutex<Arrivals>,
    subscribed: Condvar,
}

#[derive(Deserialize)]
struct Reading {
    ts: u64,
}

impl Cloud {
    /// Subscribes to all results.
    pub fn listen(runtime: &Runtime, broker: SocketAddr) -> Arc<Self> {
        let cloud = Arc::new(Self::default());
        runtime.spawn(Arc::clone(&cloud).collect(broker));
        cloud
    }

    fn lock(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until the subscription stands: what arrives earlier has no receiver.
    ///
    /// # Errors
    /// It does not come about in time.
    pub fn wait_until_ready(&self, timeout: Duration) -> io::Result<()> {
        let waited = self.subscribed.wait_timeout_while(self.lock(), timeout, |arrivals| !arrivals.ready);
        let (arrivals, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if arrivals.ready {
            Ok(())
        } else {
            Err(io::ErrorKind::TimedOut.into())
        }
    }

    /// Results by now, repetitions included.
    pub fn count(&self) -> u64 {
        self.lock().total
    }

    /// Readings with a result by now.
    pub fn distinct(&self) -> u64 {
        self.lock().ids.len() as u64
    }

    /// All that arrived by now.
    pub fn arrived(&self) -> Arrived {
        let arrivals = self.lock();
        Arrived { total: arrivals.total, ids: arrivals.ids.clone(), stamps: arrivals.stamps.len() }
    }

    async fn collect(self: Arc<Self>, broker: SocketAddr) {
        let mut options = MqttOptions::new("cloud", broker.ip().to_string(), broker.port());
        options.set_keep_alive(Duration::from_secs(30)).set_outgoing_inflight_upper_limit(10);
        let (client, mut events) = AsyncClient::new(options, 10);
        if client.subscribe("processed/#", QoS::AtLeastOnce).await.is_err() {
            return;
        }
        // The demo's own broker is in this process: the connection ends only when the demo does.
        while let Ok(event) = events.poll().await {
            match event {
                Event::Incoming(Packet::SubAck(_)) => {
                    self.lock().ready = true;
                    self.subscribed.notify_all();
                }
                Event::Incoming(Packet::Publish(publish)) => self.note(&publish),
                _ => {}
            }
        }
    }

    fn note(&self, publish: &Publish) {
        let mut arrivals = self.lock();
        arrivals.total += 1;
        if let Ok(reading) = serde_json::from_slice::<Reading>(&publish.payload) {
            arrivals.ids.insert(reading.ts);
        }
        let property = |name: &str| {
            let all = &publish.properties.as_ref()?.user_properties;
            all.iter().find(|(key, _)| key == name)?.1.parse().ok()
        };
        if let (Some(epoch), Some(seq)) = (property("eyot-epoch"), property("eyot-seq")) {
            arrivals.stamps.insert((epoch, seq));
        }
    }
}
