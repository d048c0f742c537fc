//! `[metrics] listen`, as a scraper sees it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::net::SocketAddr;

use common::function::echo;
use common::{options, plain, Client, TempDir};
use eyot_gateway::config::Config;
use eyot_gateway::mqtt::Version;
use eyot_gateway::{Gateway, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn config(dir: &TempDir, listen: SocketAddr) -> Config {
    let text = format!(
        "[gateway]\nid = \"barn-7\"\ndata_dir = \"data\"\n[broker]\nurl = \"embedded://127.0.0.1:0\"\n\
         [[function]]\npath = \"{}\"\n",
        echo(dir).display()
    );
    let config = Config::parse(&dir.0.join("gateway.toml"), &text).unwrap();
    // Port 0 is for tests alone.
    Config { metrics: Some(listen), ..config }
}

async fn client(addr: SocketAddr, id: &str, filters: &[&str]) -> Client {
    let mut client = Client::start(plain(addr), options(Version::V5, id, filters), 100);
    client.up().await;
    client
}

async fn request(addr: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(format!("{head} HTTP/1.1\r\nHost: gateway\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The value of a sample, by its whole name with labels.
fn sample(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test]
async fn a_scrape_shows_the_ledger_of_that_moment() {
    let dir = TempDir::new();
    let config = config(&dir, SocketAddr::from(([127, 0, 0, 1], 0)));
    let gateway = tokio::task::spawn_blocking(|| Gateway::start(config).unwrap()).await.unwrap();
    let metrics = gateway.metrics_addr().unwrap();
    let broker = gateway.broker_addr().unwrap();
    let mut receiver = client(broker, "receiver", &["cloud/#", "eyot/barn-7/status"]).await;
    // The status is published by a gateway that has subscribed.
    assert_eq!(receiver.message().await.topic, "eyot/barn-7/status");
    let mut sensor = client(broker, "sensor", &[]).await;
    sensor.publish(1, "sensors/7/raw", "1");
    assert_eq!(sensor.published().await, (1, true));
    // Whoever gets the output knows that its message is committed.
    while receiver.message().await.topic != "cloud/out" {}

    let page = request(metrics, "GET /metrics").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("application/openmetrics-text"), "{page}");
    assert!(page.trim_end().ends_with("# EOF"), "{page}");
    let value = |name: &str| sample(&page, name).unwrap_or_else(|| panic!("no {name} in {page}"));
    let received = value("eyot_messages_received_total");
    let accounted = value("eyot_messages_delivered_total") + value("eyot_messages_pending");
    let dropped = page.lines().filter(|line| line.starts_with("eyot_messages_dropped_total{"));
    let dropped: f64 = dropped.map(|line| line.split(' ').next_back().unwrap().parse::<f64>().unwrap()).sum();
    assert_eq!(received, accounted + dropped, "{page}");
    assert_eq!(value("eyot_function_invocations_total{function=\"echo\"}"), received);
    assert_eq!(value("eyot_subscribed"), 1.0);
    assert_eq!((value("eyot_ledger_balanced"), value("eyot_spool_state{state=\"ok\"}")), (1.0, 1.0));
    assert!(value("eyot_outputs_received_total{stream=\"local\"}") >= 1.0 && value("eyot_spool_bytes") > 0.0);
    assert!(page.contains(r#"eyot_build{gateway="barn-7",version=""#), "{page}");

    assert!(request(metrics, "GET /").await.starts_with("HTTP/1.1 404"));
    assert!(request(metrics, "POST /metrics").await.starts_with("HTTP/1.1 405"));
    tokio::task::spawn_blocking(|| gateway.kill()).await.unwrap();
    assert!(TcpStream::connect(metrics).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = config(&TempDir::new(), taken.local_addr().unwrap());
    let error = Gateway::start(config).map(|_| ()).unwrap_err();
    assert!(matches!(error, StartError::Metrics { .. }), "{error}");
    assert!(error.to_string().contains("[metrics] listen"), "{error}");
}
