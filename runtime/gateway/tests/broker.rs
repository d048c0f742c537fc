//! The embedded broker outlives what clients do to it: rumqttd panicked on each of these.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use eyot_gateway::broker::{Embedded, CONNECTIONS_MAX};

fn start() -> Embedded {
    Embedded::start("127.0.0.1:0".parse().unwrap(), None).unwrap()
}

fn connect(client_id: &str) -> Vec<u8> {
    let mut packet = vec![0x10, 12 + client_id.len() as u8];
    packet.extend(b"\0\x04MQTT\x04\x02\0\x3c\0");
    packet.push(client_id.len() as u8);
    packet.extend(client_id.as_bytes());
    packet
}

/// Sends `packets`; none if the broker closes the connection without an answer to CONNECT.
fn client(addr: SocketAddr, packets: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(packets).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).ok()?;
    assert_eq!(connack, *b"\x20\x02\0\0");
    Some(stream)
}

/// Waits until the broker has closed the connection.
fn is_closed(mut stream: TcpStream) -> bool {
    matches!(stream.read(&mut [0; 16]), Ok(0))
}

#[test]
fn a_client_id_may_hold_any_character() {
    let broker = start();
    for _ in 0..3 {
        assert!(client(broker.local_addr, &connect("site/7#$+")).is_some());
    }
    assert!(client(broker.local_addr, &connect("other")).is_some());
}

#[test]
fn a_packet_that_only_a_broker_sends_costs_the_client_its_connection() {
    let broker = start();
    for kind in [0x00, 0x20, 0x90, 0xb0, 0xd0, 0xf0] {
        let mut packets = connect("bad");
        packets.extend([kind, 2, 0, 1]);
        if let Some(stream) = client(broker.local_addr, &packets) {
            assert!(is_closed(stream), "{kind:02x}");
        }
    }
    assert!(client(broker.local_addr, &connect("good")).is_some());
}

#[test]
fn one_client_too_many_may_try_again() {
    let broker = start();
    let mut clients: Vec<_> =
        (0..CONNECTIONS_MAX).map(|n| client(broker.local_addr, &connect(&format!("c{n}"))).unwrap()).collect();
    for _ in 0..3 {
        assert!(client(broker.local_addr, &connect("late")).is_none());
    }
    let mut leaving = clients.pop().unwrap();
    leaving.write_all(b"\xe0\0").unwrap();
    assert!(is_closed(leaving));
    assert!(client(broker.local_addr, &connect("late")).is_some());
}

#[test]
fn clients_that_are_gone_before_the_answer_may_come_back() {
    let broker = start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for _ in 0..500 {
            let stream = tokio::net::TcpStream::connect(broker.local_addr).await.unwrap();
            stream.set_zero_linger().unwrap();
            assert!(stream.try_write(&connect("flaky")).is_ok());
        }
    });
    assert!(client(broker.local_addr, &connect("flaky")).is_some());
    assert!(client(broker.local_addr, &connect("good")).is_some());
}
