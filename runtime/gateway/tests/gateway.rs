//! Whole gateways: from a sensor's publish to the cloud, through stops, kills and cuts.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use common::function::{echo, module, spinner};
use common::server::{Answer, Server};
use common::{free_port, options, plain, Client, Mosquitto, TempDir, PATIENCE};
use eyot_gateway::config::Config;
use eyot_gateway::mqtt::Version;
use eyot_gateway::{Gateway, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Configuration with this broker URL, an uplink if there is one, and the echo function.
fn config(dir: &TempDir, broker: &str, cloud: Option<SocketAddr>) -> Config {
    config_to(dir, broker, cloud.map(|addr| format!("mqtt://{addr}")))
}

/// As [`config`], with the URL of the uplink.
fn config_to(dir: &TempDir, broker: &str, cloud: Option<String>) -> Config {
    let function = echo(dir);
    let uplink = cloud.map_or_else(String::new, |url| {
        format!("[[uplink]]\nname = \"cloud\"\nurl = \"{url}\"\ntopics = [\"cloud/#\"]\n")
    });
    let text = format!(
        "[gateway]\nid = \"barn-7\"\ndata_dir = \"data\"\n[broker]\nurl = \"{broker}\"\n{uplink}\
         [spool]\ncommit_window = \"1ms\"\n[[function]]\npath = \"{}\"\n",
        function.display()
    );
    Config::parse(&dir.0.join("gateway.toml"), &text).unwrap()
}

async fn client(addr: SocketAddr, id: &str, filters: &[&str]) -> Client {
    let mut client = Client::start(plain(addr), options(Version::V5, id, filters), 10_000);
    client.up().await;
    client
}

/// A blocking call of the gateway, off the test's own thread, where clients live.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn start(config: Config) -> Gateway {
    blocking(move || Gateway::start(config).unwrap()).await
}

/// Waits until the gateway says that it is online, or not.
async fn status(watcher: &mut Client, online: bool) -> serde_json::Value {
    loop {
        let message = watcher.message().await;
        watcher.ack(watcher.conn, message.packet_id);
        let status: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        if status["online"] == online {
            return status;
        }
    }
}

#[tokio::test]
async fn a_reading_goes_from_the_sensor_to_the_cloud_and_the_gateway_says_goodbye() {
    let dir = TempDir::new();
    let cloud = Mosquitto::any();
    let mut receiver = client(cloud.addr(), "receiver", &["cloud/#"]).await;
    let gateway = start(config(&dir, "embedded://127.0.0.1:0", Some(cloud.addr()))).await;
    let local = gateway.broker_addr().unwrap();
    let mut watcher = client(local, "watcher", &["eyot/barn-7/status"]).await;
    let online = status(&mut watcher, true).await;
    assert_eq!((online["gateway"].as_str(), online["functions"][0]["name"].as_str()), (Some("barn-7"), Some("echo")));

    let mut sensor = client(local, "sensor", &[]).await;
    for token in 1..=50 {
        sensor.publish(token, "sensors/7/raw", &format!("{{\"n\":{token}}}"));
        assert_eq!(sensor.published().await, (token, true));
    }
    for n in 1..=50 {
        let message = receiver.message().await;
        assert_eq!((message.topic, message.payload), ("cloud/out".into(), format!("{{\"n\":{n}}}").into()));
        receiver.ack(receiver.conn, message.packet_id);
    }
    let mut far_watcher = client(cloud.addr(), "watcher", &["eyot/barn-7/status"]).await;
    status(&mut far_watcher, true).await;
    assert!(blocking(move || gateway.stop()).await, "drained in time");
    let offline = status(&mut far_watcher, false).await;
    assert_eq!(offline["gateway"], "barn-7");
}

/// Publishes `count` numbered readings with a client of its own, in both directions of time: whatever happens meanwhile.
async fn readings(broker: SocketAddr, count: u64) -> tokio::task::JoinHandle<()> {
    let mut sensor = client(broker, "sensor", &[]).await;
    tokio::spawn(async move {
        for token in 1..=count {
            sensor.publish(token, "sensors/7/raw", &token.to_string());
            assert_eq!(sensor.published().await, (token, true));
        }
    })
}

async fn all_arrive(receiver: &mut Client, seen: &mut BTreeSet<u64>, count: u64) {
    while (seen.len() as u64) < count {
        let message = receiver.message().await;
        receiver.ack(receiver.conn, message.packet_id);
        seen.insert(std::str::from_utf8(&message.payload).unwrap().parse().unwrap());
    }
    assert_eq!(seen.iter().copied().collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
}

/// Connects the moment the port opens, on a thread that does nothing else, and publishes numbers at QoS 1.
fn hasty(broker: SocketAddr, numbers: RangeInclusive<u8>) -> std::thread::JoinHandle<()> {
    let mut packets = b"\x10\x11\0\x04MQTT\x04\x02\0\x3c\0\x05hasty".to_vec();
    let mut answers = vec![0x20, 2, 0, 0];
    for n in numbers {
        packets.extend(b"\x32\x14\0\x0dsensors/7/raw\0");
        packets.push(n);
        packets.extend(format!("{n:03}").as_bytes());
        answers.extend([0x40, 2, 0, n]);
    }
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            loop {
                let socket = TcpSocket::new_v4().unwrap();
                // From another address than the broker's: a port that tries long enough reaches itself.
                socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
                let Ok(mut stream) = socket.connect(broker).await else { continue };
                let mut answer = vec![0; answers.len()];
                if stream.write_all(&packets).await.is_ok() && stream.read_exact(&mut answer).await.is_ok() {
                    return assert_eq!(answer, answers);
                }
            }
        });
    })
}

#[tokio::test]
async fn an_embedded_broker_keeps_what_is_published_before_the_intake_is_there() {
    let dir = TempDir::new();
    let cloud = Mosquitto::any();
    let mut receiver = client(cloud.addr(), "receiver", &["cloud/#"]).await;
    let mut seen = BTreeSet::new();
    // The sensor is not quicker each time.
    for round in 0..10 {
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let sensor = hasty(addr, round * 20 + 1..=round * 20 + 20);
        let gateway = start(config(&dir, &format!("embedded://{addr}"), Some(cloud.addr()))).await;
        blocking(|| sensor.join().unwrap()).await;
        all_arrive(&mut receiver, &mut seen, u64::from(round) * 20 + 20).await;
        assert!(blocking(move || gateway.stop()).await);
    }
}

#[tokio::test]
async fn kills_lose_nothing_that_the_broker_keeps() {
    const COUNT: u64 = 3000;
    let dir = TempDir::new();
    let keep = "max_inflight_messages 200\nmax_queued_messages 0";
    let (broker, cloud) = (Mosquitto::start(free_port(), keep), Mosquitto::start(free_port(), keep));
    let mut receiver = client(cloud.addr(), "receiver", &["cloud/#"]).await;
    let url = format!("mqtt://{}", broker.addr());
    let mut gateway = start(config(&dir, &url, Some(cloud.addr()))).await;
    let mut watcher = client(broker.addr(), "watcher", &["eyot/barn-7/status"]).await;
    status(&mut watcher, true).await;

    let sensor = readings(broker.addr(), COUNT).await;
    let mut seen = BTreeSet::new();
    for round in 1..=5 {
        all_arrive_at_least(&mut receiver, &mut seen, round * 300).await;
        gateway = {
            let config = config(&dir, &url, Some(cloud.addr()));
            blocking(move || {
                gateway.kill();
                Gateway::start(config).unwrap()
            })
            .await
        };
    }
    sensor.await.unwrap();
    all_arrive(&mut receiver, &mut seen, COUNT).await;
    assert!(blocking(move || gateway.stop()).await);
}

async fn all_arrive_at_least(receiver: &mut Client, seen: &mut BTreeSet<u64>, count: usize) {
    while seen.len() < count {
        let message = receiver.message().await;
        receiver.ack(receiver.conn, message.packet_id);
        seen.insert(std::str::from_utf8(&message.payload).unwrap().parse().unwrap());
    }
}

#[tokio::test]
async fn a_cloud_that_goes_away_gets_the_backlog_when_it_is_back() {
    const COUNT: u64 = 500;
    let dir = TempDir::new();
    let (broker, port) = (Mosquitto::any(), free_port());
    let cloud_addr = SocketAddr::from(([127, 0, 0, 1], port));
    let gateway = start(config(&dir, &format!("mqtt://{}", broker.addr()), Some(cloud_addr))).await;
    let mut watcher = client(broker.addr(), "watcher", &["eyot/barn-7/status"]).await;
    status(&mut watcher, true).await;
    // Nobody is at home in the cloud while all of this is read.
    readings(broker.addr(), COUNT).await.await.unwrap();
    let cloud = Mosquitto::start(port, "max_queued_messages 0");
    let mut receiver = client(cloud.addr(), "receiver", &["cloud/#"]).await;
    // What was delivered before the receiver came is not repeated: go on from the first it sees.
    readings(broker.addr(), COUNT).await.await.unwrap();
    let mut last = 0;
    while last < COUNT {
        let message = receiver.message().await;
        receiver.ack(receiver.conn, message.packet_id);
        let n: u64 = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
        assert!(last == 0 || n == last + 1 || (n, last) == (1, COUNT), "in order: {last} then {n}");
        last = n;
    }
    assert!(blocking(move || gateway.stop()).await);
}

#[tokio::test]
async fn a_record_the_server_refuses_comes_to_the_local_broker_as_a_dead_letter() {
    let dir = TempDir::new();
    let server = Server::start([Answer::RefuseBodiesWith("\"n\":13}")]).await;
    let url = format!("http://{}/in", server.addr);
    let gateway = start(config_to(&dir, "embedded://127.0.0.1:0", Some(url))).await;
    let local = gateway.broker_addr().unwrap();
    let mut watcher = client(local, "watcher", &["eyot/barn-7/status"]).await;
    status(&mut watcher, true).await;
    let mut reader = client(local, "reader", &["eyot/barn-7/dead/#"]).await;
    let mut sensor = client(local, "sensor", &[]).await;
    for token in 1..=20 {
        sensor.publish(token, "sensors/7/raw", &format!("{{\"n\":{token}}}"));
        assert_eq!(sensor.published().await, (token, true));
    }
    let message = reader.message().await;
    assert_eq!(message.topic, "eyot/barn-7/dead/cloud");
    let letter: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    let words = ["uplink", "stream", "reason", "topic", "payload_base64"].map(|key| letter[key].as_str().unwrap());
    // {"n":13}
    assert_eq!(words, ["cloud", "cloud", "refused", "cloud/out", "eyJuIjoxM30="]);
    assert_eq!(letter["seq"], 13);
    assert!(blocking(move || gateway.stop()).await);
    let stored = server.rest().into_iter().filter(|got| got.status == Some(200));
    let text: String = stored.map(|got| String::from_utf8(got.body.to_vec()).unwrap()).collect();
    assert_eq!((text.lines().count(), text.contains("\"n\":13}")), (19, false), "{text}");
}

/// Ten seconds of each of many messages are more than a stop can wait for; the broker has them all.
#[tokio::test]
async fn a_stop_does_not_wait_for_messages_that_come_again() {
    let dir = TempDir::new();
    let broker = Mosquitto::start(free_port(), "max_inflight_messages 0\nmax_queued_messages 0");
    let url = format!("mqtt://{}", broker.addr());
    let spinning = || {
        let mut config = config(&dir, &url, None);
        config.functions[0].path = spinner(&dir);
        config.run.workers = 1;
        config
    };
    let mut watcher = client(broker.addr(), "watcher", &["eyot/barn-7/status"]).await;
    let gateway = start(spinning()).await;
    status(&mut watcher, true).await;
    for topic in ["spin/a", "spin/b", "spin/c"] {
        broker.publish_lines(topic, 1, &"x\n".repeat(10));
    }
    taken(&gateway, 30);
    let begun = Instant::now();
    assert!(blocking(move || gateway.stop()).await, "in good order");
    let took = begun.elapsed();
    assert!((2..6).contains(&took.as_secs()), "{took:?}");
    let gateway = start(spinning()).await;
    taken(&gateway, 30);
    gateway.kill();
}

/// Waits until so many messages are in flight or in the log, and not all in the log.
fn taken(gateway: &Gateway, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status: serde_json::Value = serde_json::from_str(&gateway.status().unwrap()).unwrap();
        let [in_flight, received] = [&status["in_flight"], &status["ledger"]["received"]].map(|n| n.as_u64().unwrap());
        if in_flight > 0 && in_flight + received >= count {
            return;
        }
        assert!(Instant::now() < deadline, "{status}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_gateway_that_cannot_start_says_what_to_do() {
    let dir = TempDir::new();
    let running = start(config(&dir, "embedded://127.0.0.1:0", None)).await;
    let addr = running.broker_addr().unwrap();
    let refused = |config: Config| Gateway::start(config).map(|_| ()).unwrap_err();

    let taken = refused(config(&TempDir::new(), &format!("embedded://{addr}"), None));
    assert!(matches!(taken, StartError::Listen { .. }) && taken.to_string().contains("choose another"), "{taken}");

    let in_use = refused(config(&dir, "embedded://127.0.0.1:0", None));
    assert!(
        matches!(in_use, StartError::InUse(_)) && in_use.to_string().ends_with("choose another data_dir"),
        "{in_use}"
    );

    let elsewhere = TempDir::new();
    let mut broken = config(&elsewhere, "embedded://127.0.0.1:0", None);
    broken.functions[0].path = module(&elsewhere, "bad.wasm", "name = 1");
    let broken = refused(broken);
    assert!(matches!(broken, StartError::Functions(_)) && broken.to_string().contains("bad.wasm"), "{broken}");

    running.kill();
    let again = start(config(&dir, &format!("embedded://{addr}"), None)).await;
    assert!(blocking(move || again.stop()).await, "a killed gateway leaves port and directory free");
}
