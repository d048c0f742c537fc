//! What the embedded broker keeps for a client that is not there, not yet or not any more, and what it still does for it
//! before it ends.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{options, plain, Client, Next};
use eyot_gateway::broker::{Embedded, Session, HANDOVER_TIMEOUT};
use eyot_gateway::mqtt::link::LinkEvent;
use eyot_gateway::mqtt::Version;

/// Publishes that wait for their acknowledgement.
const WINDOW: u64 = 80;

fn broker(session: Option<Session>) -> Embedded {
    Embedded::start(([127, 0, 0, 1], 0).into(), session).unwrap()
}

/// A client that is called what rumqttd would refuse, and keeps its session.
async fn keeper(addr: SocketAddr, version: Version) -> Client {
    let mut keeping = options(version, "site/7", &["sensors/+/raw", "alarms/#"]);
    keeping.clean_start = false;
    let mut client = Client::start(plain(addr), keeping, 10_000);
    client.up().await;
    client
}

fn number(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

/// Publishes the numbers from 1 to `count`, as fast as they are acknowledged.
async fn publish(addr: SocketAddr, count: u64) {
    let mut sensor = Client::start(plain(addr), options(Version::V5, "sensor", &[]), 10_000);
    sensor.up().await;
    for token in 1..=count + WINDOW {
        if token <= count {
            sensor.publish(token, &format!("sensors/{}/raw", token % 20), &token.to_string());
        }
        if token > WINDOW {
            assert_eq!(sensor.published().await, (token - WINDOW, true));
        }
    }
    sensor.task.abort();
}

fn session() -> Session {
    let filters = vec!["sensors/+/raw".to_owned(), "alarms/#".to_owned()];
    Session { client_id: "site/7".to_owned(), delivery_id: "site/7-local".to_owned(), filters }
}

#[tokio::test]
async fn a_session_collects_before_its_client_comes() {
    for version in [Version::V5, Version::V4] {
        let broker = broker(Some(session()));
        publish(broker.local_addr, 300).await;
        let mut client = keeper(broker.local_addr, version).await;
        for n in 1..=300 {
            let message = client.message().await;
            assert_eq!((number(&message.payload), message.qos), (n, 1), "{version:?}");
            client.ack(client.conn, message.packet_id);
        }
        let mut sensor = Client::start(plain(broker.local_addr), options(version, "bell", &[]), 100);
        sensor.up().await;
        sensor.publish(1, "alarms/1", "301");
        assert_eq!(number(&client.message().await.payload), 301, "the subscription is the client's own");
        client.task.abort();
        sensor.task.abort();
    }
}

/// Takes some messages and acknowledges fewer, in order; all of them, and says so, if `last` is among them.
async fn some(client: &mut Client, random: &mut fastrand::Rng, last: u64, done: &mut BTreeSet<u64>) -> bool {
    let (takes, keeps) = (random.usize(1..400), random.usize(0..100));
    let (mut open, mut over) = (VecDeque::new(), false);
    for _ in 0..takes {
        match client.next().await {
            Next::Message(_, message) => {
                let n = number(&message.payload);
                over |= n == last;
                open.push_back((message.packet_id, n));
            }
            // Acknowledgements of a connection that is gone are nobody's.
            Next::Event(LinkEvent::Down { .. }) => open.clear(),
            Next::Event(_) => {}
        }
        while open.len() > keeps || over && !open.is_empty() {
            let Some((packet_id, n)) = open.pop_front() else { break };
            client.ack(client.conn, packet_id);
            done.insert(n);
        }
        if over {
            break;
        }
    }
    over
}

#[tokio::test]
async fn what_a_vanished_client_had_not_acknowledged_comes_again() {
    const COUNT: u64 = 3000;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for version in [Version::V5, Version::V4] {
        let broker = broker(None);
        let mut client = keeper(broker.local_addr, version).await;
        let sensor = tokio::spawn(publish(broker.local_addr, COUNT));
        let mut done = BTreeSet::new();
        // rumqttd keeps them in one line: nothing comes after the last.
        while !some(&mut client, &mut random, COUNT, &mut done).await {
            // Some are back before they are gone, some before the broker noticed, some later.
            let early = random.bool();
            if !early {
                client.task.abort();
                tokio::time::sleep(Duration::from_millis(random.u64(..30))).await;
            }
            let next = keeper(broker.local_addr, version).await;
            client.task.abort();
            client = next;
        }
        sensor.await.unwrap();
        let missing: Vec<_> = (1..=COUNT).filter(|n| !done.contains(n)).collect();
        assert!(missing.is_empty(), "{version:?}: {missing:?}");
        client.task.abort();
    }
}

/// Publishes as fast as it is acknowledged until `end` is there; returns what was, and leaves some that was not.
async fn publish_until(addr: SocketAddr, mut end: tokio::sync::oneshot::Receiver<()>) -> u64 {
    let mut sensor = Client::start(plain(addr), options(Version::V5, "sensor", &[]), 10_000);
    sensor.up().await;
    let send =
        |sensor: &Client, token| sensor.publish(token, &format!("sensors/{}/raw", token % 20), &token.to_string());
    (1..=WINDOW).for_each(|token| send(&sensor, token));
    let mut acknowledged = 0;
    loop {
        tokio::select! {
            biased;
            answer = sensor.published() => {
                acknowledged += 1;
                assert_eq!(answer, (acknowledged, true));
                send(&sensor, acknowledged + WINDOW);
            }
            _ = &mut end => break,
        }
    }
    sensor.task.abort();
    acknowledged
}

#[tokio::test]
async fn what_was_acknowledged_is_handed_over_before_the_end() {
    for version in [Version::V5, Version::V4] {
        let broker = Arc::new(broker(Some(session())));
        let addr = broker.local_addr;
        let mut client = keeper(addr, version).await;
        let (end, ended) = tokio::sync::oneshot::channel();
        let sensor = tokio::spawn(publish_until(addr, ended));
        let mut taken = 0;
        let mut handing_over: Option<tokio::task::JoinHandle<bool>> = None;
        loop {
            tokio::select! {
                message = client.message() => {
                    taken += 1;
                    assert_eq!(number(&message.payload), taken);
                    client.ack(client.conn, message.packet_id);
                }
                done = async { handing_over.as_mut().unwrap().await }, if handing_over.is_some() => {
                    assert!(done.unwrap(), "{version:?}: something is left");
                    break;
                }
            }
            if taken == 500 {
                let broker = broker.clone();
                handing_over = Some(tokio::task::spawn_blocking(move || broker.hand_over()));
            }
        }
        end.send(()).unwrap();
        assert_eq!(sensor.await.unwrap(), taken, "{version:?}");
        client.task.abort();
    }
}

#[tokio::test]
async fn a_hand_over_to_one_who_takes_nothing_ends_all_the_same() {
    let broker = Arc::new(broker(Some(session())));
    let mut client = keeper(broker.local_addr, Version::V5).await;
    publish(broker.local_addr, 300).await;
    let began = Instant::now();
    let handing_over = tokio::task::spawn_blocking(move || broker.hand_over());
    client.message().await;
    assert!(!handing_over.await.unwrap());
    assert!(began.elapsed() < 2 * HANDOVER_TIMEOUT);
    client.task.abort();
}
