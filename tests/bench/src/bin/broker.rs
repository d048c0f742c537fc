//! rumqttd with bounded memory: `broker <v4 port> <v5 port>`.
#![allow(clippy::expect_used, reason = "the program that started this one reads why it ended")]

use std::collections::HashMap;
use std::env;
use std::net::{Ipv4Addr, SocketAddr};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Its log of messages lies in memory, one for each filter: two of these at most.
const SEGMENT_BYTES: usize = 4 << 20;
const SEGMENTS: usize = 2;

fn main() {
    let ports: Vec<u16> = env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let [v4, v5] = ports[..] else {
        eprintln!("usage: broker <port for MQTT 3.1.1> <port for MQTT 5>");
        std::process::exit(2);
    };
    let router = RouterConfig {
        max_connections: 64,
        max_outgoing_packet_count: 1_000,
        max_segment_size: SEGMENT_BYTES,
        max_segment_count: SEGMENTS,
        ..RouterConfig::default()
    };
    let config = Config {
        router,
        v4: Some(HashMap::from([server("v4", v4)])),
        v5: Some(HashMap::from([server("v5", v5)])),
        ..Config::default()
    };
    Broker::new(config).start().expect("the broker runs");
}

fn server(name: &str, port: u16) -> (String, ServerSettings) {
    let settings = ServerSettings {
        name: name.to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: 1 << 20,
            max_inflight_count: 1_000,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    (name.to_owned(), settings)
}
