//! Links against real brokers: mosquitto, and the embedded one.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use common::{free_port, options, plain, Client, Mosquitto, Next, PATIENCE};
use eyot_gateway::broker::Embedded;
use eyot_gateway::mqtt::link::{Command, LinkEvent, PublishAnswer};
use eyot_gateway::mqtt::session::Options;
use eyot_gateway::mqtt::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// From one link through the broker to another, acknowledged at both ends.
async fn there_and_acknowledged(addr: SocketAddr, from: Version, to: Version) {
    let mut receiver = Client::start(plain(addr), options(to, "receiver", &["cloud/+/t"]), 100);
    receiver.up().await;
    let mut sender = Client::start(plain(addr), options(from, "sender", &[]), 100);
    sender.up().await;
    for token in 1..=20 {
        sender.publish(token, "cloud/7/t", &format!("reading {token}"));
        assert_eq!(sender.published().await, (token, true), "{from:?} to {to:?}");
        let message = receiver.message().await;
        assert_eq!((&message.topic[..], message.qos), (&b"cloud/7/t"[..], 1));
        assert_eq!(message.payload, format!("reading {token}"));
        receiver.ack(receiver.conn, message.packet_id);
    }
    for client in [sender, receiver] {
        client.commands.try_send(Command::Finish).unwrap();
        tokio::time::timeout(PATIENCE, client.task).await.unwrap().unwrap();
    }
}

const PAIRS: [(Version, Version); 4] =
    [(Version::V5, Version::V5), (Version::V4, Version::V5), (Version::V5, Version::V4), (Version::V4, Version::V4)];

#[tokio::test]
async fn messages_pass_mosquitto_in_both_versions() {
    let broker = Mosquitto::any();
    for (from, to) in PAIRS {
        there_and_acknowledged(broker.addr(), from, to).await;
    }
}

#[tokio::test]
async fn the_embedded_broker_serves_both_versions_on_one_port() {
    let broker = Embedded::start(([127, 0, 0, 1], 0).into(), None).unwrap();
    for (from, to) in PAIRS {
        there_and_acknowledged(broker.local_addr, from, to).await;
    }
}

#[tokio::test]
async fn the_embedded_broker_stops_and_tells_a_taken_port() {
    let broker = Embedded::start(([127, 0, 0, 1], 0).into(), None).unwrap();
    let addr = broker.local_addr;
    let taken = Embedded::start(addr, None).map(|_| ()).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    let mut client = Client::start(plain(addr), options(Version::V5, "c", &["a"]), 100);
    client.up().await;
    broker.stop();
    assert!(matches!(client.next().await, Next::Event(LinkEvent::Down { conn }) if conn == client.conn));
    let again = Embedded::start(addr, None).unwrap();
    client.up().await;
    drop(again);
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_and_old_acknowledgements_do_not_count() {
    let broker = Mosquitto::any();
    for version in [Version::V5, Version::V4] {
        let client_id = format!("keeper-{version:?}");
        let mut keeper_options = options(version, &client_id, &["s/#"]);
        keeper_options.clean_start = false;
        let mut keeper = Client::start(plain(broker.addr()), keeper_options, 100);
        keeper.up().await;
        let first_conn = keeper.conn;
        broker.publish_lines("s/1", 1, "one\n");
        let message = keeper.message().await;
        assert!(!message.dup);

        keeper.reset.store(true, Ordering::Relaxed);
        // Any command makes the link take its turn; this one is for nobody.
        keeper.ack(0, 1);
        assert!(matches!(keeper.next().await, Next::Event(LinkEvent::Down { conn }) if conn == first_conn));
        keeper.up().await;
        assert!(keeper.conn > first_conn);
        let again = keeper.message().await;
        assert!(again.dup && again.payload == "one");
        keeper.ack(first_conn, again.packet_id);
        // Once this is answered, the acknowledgement before it was looked at.
        keeper.publish(7, "elsewhere", "");
        assert_eq!(keeper.published().await, (7, true));

        // The broker still waits for it: the acknowledgement named the old connection.
        keeper.reset.store(true, Ordering::Relaxed);
        keeper.ack(0, 1);
        assert!(matches!(keeper.next().await, Next::Event(LinkEvent::Down { .. })));
        keeper.up().await;
        let again = keeper.message().await;
        assert!(again.dup && again.payload == "one");
        keeper.ack(keeper.conn, again.packet_id);

        // Now it is done with: what comes next is the next.
        broker.publish_lines("s/1", 1, "two\n");
        assert_eq!(keeper.message().await.payload, "two");
        keeper.task.abort();
    }
}

/// Mosquitto closes on a topic with a control character. The part of the core is played here: what was not answered is sent
/// first on each connection.
#[tokio::test]
async fn an_output_that_the_broker_closes_on_is_refused_and_the_others_go_through() {
    let broker = Mosquitto::any();
    let mut receiver = Client::start(plain(broker.addr()), options(Version::V5, "receiver", &["t/#"]), 100);
    receiver.up().await;
    let mut sender = Client::start(plain(broker.addr()), options(Version::V5, "sender", &[]), 100);
    let topics = ["t/1", "t/2", "t/\u{1}", "t/4", "t/5"];
    let (mut answers, mut windows) = (Vec::new(), Vec::new());
    while answers.len() < topics.len() {
        match sender.next().await {
            Next::Event(LinkEvent::Up { inflight_max, .. }) => {
                windows.push(inflight_max);
                let first = answers.len();
                for (token, topic) in (1..).zip(topics).skip(first).take(usize::from(inflight_max)) {
                    sender.publish(token, topic, "");
                }
            }
            Next::Event(LinkEvent::Published { answers: more, .. }) => {
                answers.extend(more.iter().map(|answer| (answer.token, answer.accepted)));
                let next = answers.len();
                if let (Some(1), Some(topic)) = (windows.last(), topics.get(next)) {
                    sender.publish(next as u64 + 1, topic, "");
                }
            }
            Next::Event(LinkEvent::Down { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answers, [(1, true), (2, true), (3, false), (4, true), (5, true)]);
    assert!(windows.contains(&1) && windows.last() != Some(&1), "{windows:?}");
    let mut arrived = std::collections::BTreeSet::new();
    while arrived.len() < 4 {
        let message = receiver.message().await;
        receiver.ack(receiver.conn, message.packet_id);
        arrived.insert(message.topic);
    }
    for client in [sender, receiver] {
        client.task.abort();
    }
}

#[tokio::test]
async fn an_absent_broker_is_waited_for() {
    let port = free_port();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let mut client = Client::start(plain(addr), options(Version::V5, "early", &[]), 100);
    let refused = TcpStream::connect(addr).await;
    assert!(refused.is_err(), "nobody listens yet");
    let _broker = Mosquitto::start(port, "");
    client.up().await;
}

/// Plays a broker: reads until the bytes end with `end`, then answers.
async fn script(stream: &mut TcpStream, end: &[u8], answer: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let count = tokio::time::timeout(PATIENCE, stream.read_buf(&mut read)).await.unwrap().unwrap();
        assert!(count > 0, "closed after {read:02x?}");
    }
    stream.write_all(answer).await.unwrap();
    read
}

#[tokio::test]
async fn whoever_leaves_waits_for_the_answer_and_disconnects() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut leaving = Client::start(plain(listener.local_addr().unwrap()), with_will(Version::V4, "c"), 100);
    let (mut stream, _) = listener.accept().await.unwrap();
    script(&mut stream, b"{\"online\":false}", &[0x20, 2, 0, 0]).await;
    leaving.up().await;
    leaving.commands.try_send(Command::Finish).unwrap();
    drop(leaving.commands);
    let publish = script(&mut stream, b"{\"online\":false}", b"").await;
    assert_eq!(publish[0], 0x33, "retained, at QoS 1");
    stream.write_all(&[0x40, 2, 0, 1]).await.unwrap();
    script(&mut stream, &[0xe0, 0], b"").await;
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "and closes");
    leaving.task.await.unwrap();
}

fn with_will(version: Version, client_id: &str) -> Options {
    let will = Some(("eyot/barn-7/status".to_owned(), Bytes::from_static(b"{\"online\":false}")));
    Options { will, ..options(version, client_id, &[]) }
}

#[tokio::test]
async fn the_will_speaks_for_the_vanished_and_the_leaving_speak_for_themselves() {
    let broker = Mosquitto::any();
    for version in [Version::V5, Version::V4] {
        for vanish in [true, false] {
            let mut gone = Client::start(plain(broker.addr()), with_will(version, "gone"), 100);
            gone.up().await;
            if vanish {
                gone.task.abort();
            } else {
                gone.commands.try_send(Command::Finish).unwrap();
                gone.task.await.unwrap();
            }
            let mut watcher = Client::start(plain(broker.addr()), options(version, "watcher", &["eyot/+/status"]), 100);
            watcher.up().await;
            let status = watcher.message().await;
            assert_eq!((&status.payload[..], status.qos), (&b"{\"online\":false}"[..], 1));
            // Forget what is retained, for the next round.
            broker.publish_lines("eyot/barn-7/status", 0, "");
            watcher.task.abort();
        }
    }
}

/// What the broker acknowledges may be what makes room.
#[tokio::test]
async fn an_answer_does_not_wait_for_the_room_that_the_message_behind_it_needs() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = Client::start(plain(listener.local_addr().unwrap()), options(Version::V4, "c", &[]), 1);
    let (mut stream, _) = listener.accept().await.unwrap();
    script(&mut stream, &[0, 1, b'c'], &[0x20, 2, 0, 0]).await;
    client.up().await;
    // This one has all the room there is.
    stream.write_all(&[0x32, 5, 0, 1, b's', 0, 1]).await.unwrap();
    client.publish(7, "t", "");
    script(&mut stream, &[0, 1, b't', 0, 1], &[0x40, 2, 0, 1, 0x32, 5, 0, 1, b's', 0, 2]).await;
    let answers = match client.event().await {
        LinkEvent::Published { answers, .. } => answers,
        other => panic!("not an answer but {other:?}"),
    };
    assert_eq!(answers, [PublishAnswer { token: 7, accepted: true }]);
    assert_eq!([client.message().await.packet_id, client.message().await.packet_id], [1, 2]);
    client.task.abort();
}

#[tokio::test]
async fn a_full_queue_holds_back_qos_1_and_counts_what_it_drops_of_qos_0() {
    const SENT: usize = 3000;
    let broker = Mosquitto::start(free_port(), "max_inflight_messages 0\nmax_queued_messages 0");
    for qos in [1, 0] {
        let mut client = Client::start(plain(broker.addr()), options(Version::V5, "slow", &["s"]), 1);
        client.up().await;
        let lines: String = (0..SENT).map(|n| format!("{n}\n")).collect();
        broker.publish_lines("s", qos, &lines);
        let (mut received, mut dropped) = (0, 0);
        while received + dropped < SENT {
            match client.next().await {
                Next::Message(conn, message) => {
                    if qos == 1 {
                        assert_eq!(message.payload, format!("{received}"), "in order, without gaps");
                        client.ack(conn, message.packet_id);
                    }
                    received += 1;
                }
                Next::Event(LinkEvent::Dropped { messages }) => dropped += usize::try_from(messages).unwrap(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(received + dropped, SENT);
        assert_eq!(dropped > 0, qos == 0, "{dropped} of QoS {qos} dropped");
        client.task.abort();
    }
}
