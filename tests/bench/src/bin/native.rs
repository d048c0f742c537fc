//! The peer: the same work as a native program, as a careful developer would write it for one purpose.
//! `native <broker port> <qos>`. It keeps nothing: what is in flight when it dies is gone.
#![allow(clippy::expect_used, reason = "the program that started this one reads why it ended")]

use std::env;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, Publish, QoS};
use serde::{Deserialize, Serialize};

/// Publishes in flight towards the broker, and messages between the two halves of the program.
const INFLIGHT: u16 = 1_000;
const QUEUE: usize = 100_000;
const RH_MAX: f64 = 95.0;

#[derive(Deserialize, Serialize)]
struct Reading<'a> {
    device: &'a str,
    t: f64,
    rh: f64,
    ts: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<u16> = env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let [port, qos] = args[..] else {
        eprintln!("usage: native <broker port> <qos 0 or 1>");
        std::process::exit(2);
    };
    let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    let mut options = MqttOptions::new("native", "127.0.0.1", port);
    options.set_inflight(INFLIGHT).set_clean_session(false);
    let (client, mut events) = AsyncClient::new(options, QUEUE);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    client.subscribe("sensors/+/raw", qos).await.expect("the queue is empty");
    serve(&client, &mut events, qos).await;
}

async fn serve(client: &AsyncClient, events: &mut EventLoop, qos: QoS) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(message))) => {
                if let Some((topic, payload)) = convert(&message) {
                    client.try_publish(topic, qos, false, payload).expect("the queue has room for all in flight");
                }
            }
            Ok(_) => {}
            Err(error) => {
                eprintln!("native: the broker at hand cannot be used: {error}");
                std::process::exit(1);
            }
        }
    }
}

fn convert(message: &Publish) -> Option<(String, Vec<u8>)> {
    let device = message.topic.strip_prefix("sensors/")?.strip_suffix("/raw")?;
    let mut reading: Reading<'_> = serde_json::from_slice(&message.payload).ok()?;
    if reading.rh > RH_MAX {
        return None;
    }
    reading.t = reading.t * 1.8 + 32.0;
    Some((format!("processed/{device}"), serde_json::to_vec(&reading).ok()?))
}
