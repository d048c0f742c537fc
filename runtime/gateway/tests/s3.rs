//! S3 uplinks against a server over a directory, which checks signatures.

#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::server::{Answer, Server};
use common::uplink::{limits, lines, part, Port, GATEWAY, NAME};
use common::TempDir;
use eyot_gateway::config::Secret;
use eyot_gateway::mqtt::transport::Endpoint;
use eyot_gateway::uplink::body::Compress;
use eyot_gateway::uplink::s3::{Options, S3Store};
use eyot_gateway::uplink::{Place, Retry, Verdict};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const NONE: [u64; 0] = [];

/// A server whose buckets are the directories in `root`.
async fn serve(root: &Path, port: u16) -> (SocketAddr, JoinHandle<()>) {
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
    builder.set_auth(SimpleAuth::from_single("barn", "s3cret"));
    let service = builder.build().into_shared();
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let http = hyper::server::conn::http1::Builder::new();
            connections.spawn(http.serve_connection(TokioIo::new(tcp), service.clone()));
        }
    });
    (addr, task)
}

fn options(addr: SocketAddr) -> Options {
    Options {
        endpoint: Endpoint { host: addr.ip().to_string(), port: addr.port(), tls: None },
        bucket: "readings".to_owned(),
        prefix: "farm/north".to_owned(),
        region: "eu-north-1".to_owned(),
        access_key: "barn".to_owned(),
        secret_key: Secret::Value("s3cret".to_owned()),
        compress: Compress::Zstd,
        timeout: Duration::from_secs(5),
    }
}

/// Keys and decompressed texts of a bucket.
fn objects(root: &Path) -> BTreeMap<String, String> {
    let bucket = root.join("readings");
    let (mut found, mut dirs) = (BTreeMap::new(), vec![bucket.clone()]);
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
            } else {
                let key = path.strip_prefix(&bucket).unwrap().to_str().unwrap().to_owned();
                found.insert(key, unpacked(&path));
            }
        }
    }
    found
}

fn unpacked(path: &PathBuf) -> String {
    let mut text = String::new();
    let file = fs::File::open(path).unwrap();
    ruzstd::decoding::StreamingDecoder::new(file).unwrap().read_to_string(&mut text).unwrap();
    text
}

fn key(first: u64, last: u64) -> String {
    format!("farm/north/date=2025-11-24/gateway=barn-7/cloud-9-{first:020}-{last:020}.ndjson.zst")
}

fn bucket() -> TempDir {
    let root = TempDir::new();
    fs::create_dir(root.0.join("readings")).unwrap();
    root
}

#[tokio::test]
async fn a_batch_is_an_object_named_by_day_gateway_and_range() {
    let root = bucket();
    let (addr, _server) = serve(&root.0, 0).await;
    let mut port = Port::start(Place::S3(options(addr)), limits(100));
    port.up().await;
    assert_eq!(port.deliver(1..=230).await, NONE);
    port.finish().await;
    let expected = [(1, 100), (101, 200), (201, 230)].map(|(a, b)| (key(a, b), lines(a..=b)));
    assert_eq!(objects(&root.0), BTreeMap::from(expected));
}

#[tokio::test]
async fn a_batch_that_is_tried_again_overwrites_itself_and_only_a_crash_makes_ranges_overlap() {
    let root = bucket();
    let (addr, _server) = serve(&root.0, 0).await;
    let open = || async {
        let mut store = S3Store::new(options(addr), GATEWAY, NAME);
        store.open().await.unwrap();
        store
    };
    let mut store = open().await;
    assert_eq!(store.put(&part(1..=10)).await, Ok(Verdict::Stored));
    assert_eq!(store.put(&part(1..=10)).await, Ok(Verdict::Stored));
    assert_eq!(objects(&root.0), BTreeMap::from([(key(1, 10), lines(1..=10))]));
    // After a crash the core begins with what it has no answer to, and batches are cut where they are full.
    let mut store = open().await;
    assert_eq!(store.put(&part(5..=30)).await, Ok(Verdict::Stored));
    let found = objects(&root.0);
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), [key(1, 10), key(5, 30)]);
    let mut seqs = BTreeMap::new();
    for line in found.values().flat_map(|text| text.lines()) {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let identity = (record["gateway"].to_string(), record["epoch"].as_u64(), record["seq"].as_u64());
        let before = seqs.insert(identity, line.to_owned());
        assert!(before.is_none_or(|before| before == line), "a repetition is the same to the byte");
    }
    assert_eq!(seqs.len(), 30);
}

#[tokio::test]
async fn a_server_that_goes_away_is_waited_for() {
    let root = bucket();
    let (addr, server) = serve(&root.0, 0).await;
    let mut port = Port::start(Place::S3(options(addr)), limits(50));
    port.up().await;
    assert_eq!(port.deliver(1..=50).await, NONE);
    server.abort();
    let _ = server.await;
    port.send(51..=100);
    assert!(matches!(port.next().await, eyot_gateway::mqtt::link::LinkEvent::Down { .. }));
    let (_, _server) = serve(&root.0, addr.port()).await;
    port.up().await;
    // The batch that was on its way has arrived meanwhile, and is only answered.
    assert_eq!(port.deliver(51..=150).await, NONE);
    port.finish().await;
    let text: String = objects(&root.0).into_values().collect();
    assert_eq!(text, lines(1..=150));
}

#[tokio::test]
async fn faults_of_the_server_are_tried_again_in_its_own_time() {
    let busy = [Answer::Status(503, &[("retry-after", "2")]), Answer::Cut, Answer::Cut, Answer::Status(429, &[])];
    let server = Server::start(busy).await;
    let mut store = S3Store::new(options(server.addr), GATEWAY, NAME);
    store.open().await.unwrap();
    let failure = store.put(&part(1..=1)).await.unwrap_err();
    assert_eq!(failure.retry, Retry::After(Duration::from_secs(2)), "{failure}");
    let failure = store.put(&part(1..=1)).await.unwrap_err();
    assert!(failure.retry == Retry::Soon && failure.reason.contains("broke"), "{failure}");
    let failure = store.put(&part(1..=1)).await.unwrap_err();
    assert!(failure.retry == Retry::Soon && failure.reason.contains("429"), "{failure}");
    let got = server.rest();
    let line = format!("PUT /readings/{}", key(1, 1).replace('=', "%3D"));
    assert!(got.iter().all(|got| got.line == line), "{got:?}");
    assert!(got[0].header("authorization").contains("Credential=barn/"));
}

#[tokio::test]
async fn what_is_configured_wrongly_is_said_and_drops_nothing() {
    let root = bucket();
    let (addr, _server) = serve(&root.0, 0).await;
    let dir = TempDir::new();
    let secret = dir.write("secret", "wrong\n");
    let wrong_secret = Options { secret_key: Secret::File(secret), ..options(addr) };
    // This server makes a bucket that is not there; others do not.
    let strict = Server::start([Answer::Status(404, &[])]).await;
    for (options, words) in [(wrong_secret.clone(), "403"), (options(strict.addr), "404")] {
        let mut store = S3Store::new(options, GATEWAY, NAME);
        store.open().await.unwrap();
        let failure = store.put(&part(1..=1)).await.unwrap_err();
        assert_eq!(failure.retry, Retry::Slowly, "{failure}");
        assert!(failure.reason.contains(words) && failure.reason.contains("check"), "{failure}");
    }
    // The secret is renewed where it lies, and read with the next connection.
    let mut store = S3Store::new(wrong_secret, GATEWAY, NAME);
    dir.write("secret", "s3cret\n");
    store.open().await.unwrap();
    assert_eq!(store.put(&part(1..=1)).await, Ok(Verdict::Stored));
}
