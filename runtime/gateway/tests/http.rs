//! HTTP uplinks against a server with faults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::Duration;

use common::certs::{Authority, Validity};
use common::server::{Answer, Got, Server, A_WHILE};
use common::uplink::{limits, line, lines, part, Port, GATEWAY, NAME};
use common::TempDir;
use eyot_gateway::config::Secret;
use eyot_gateway::mqtt::link::LinkEvent;
use eyot_gateway::mqtt::transport::{tls, Endpoint, TlsFiles};
use eyot_gateway::uplink::body::{Compress, Format};
use eyot_gateway::uplink::http::{HttpStore, Options};
use eyot_gateway::uplink::{Place, Retry, Verdict};

const NONE: [u64; 0] = [];

fn options(server: &Server) -> Options {
    Options {
        endpoint: Endpoint { host: "127.0.0.1".to_owned(), port: server.addr.port(), tls: None },
        path: "/in?source=barn".to_owned(),
        format: Format::Ndjson,
        compress: Compress::None,
        token: None,
        timeout: Duration::from_secs(5),
    }
}

fn unpacked(compress: Compress, body: &[u8]) -> String {
    let mut plain: Box<dyn Read + '_> = match compress {
        Compress::None => Box::new(body),
        Compress::Gzip => Box::new(flate2::read::GzDecoder::new(body)),
        Compress::Zstd => Box::new(ruzstd::decoding::StreamingDecoder::new(body).unwrap()),
    };
    let mut text = String::new();
    plain.read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn a_batch_is_one_request_that_says_what_it_is() {
    for (format, compress, kind, coding) in [
        (Format::Ndjson, Compress::None, "application/x-ndjson", ""),
        (Format::Ndjson, Compress::Zstd, "application/x-ndjson", "zstd"),
        (Format::Json, Compress::Gzip, "application/json", "gzip"),
    ] {
        let server = Server::start([]).await;
        let token = Some(Secret::Value("s3cret".to_owned()));
        let mut port = Port::start(Place::Http(Options { format, compress, token, ..options(&server) }), limits(50));
        port.up().await;
        assert_eq!(port.deliver(1..=120).await, NONE);
        let (mut first, mut texts) = (1, Vec::new());
        for size in [50, 50, 20] {
            let got = server.next().await;
            let last = first + size - 1;
            assert_eq!(got.line, "POST /in?source=barn");
            assert_eq!(got.header("host"), server.addr.to_string());
            assert_eq!((got.header("content-type"), got.header("content-encoding")), (kind, coding));
            assert_eq!(got.header("authorization"), "Bearer s3cret");
            assert_eq!(got.header("idempotency-key"), format!("barn-7-9-cloud-{first}-{last}"));
            texts.push(unpacked(compress, &got.body));
            first = last + 1;
        }
        if format == Format::Ndjson {
            assert_eq!(texts, [lines(1..=50), lines(51..=100), lines(101..=120)]);
        } else {
            let array: Vec<serde_json::Value> = serde_json::from_str(&texts[0]).unwrap();
            assert_eq!((array.len(), array[49]["seq"].as_u64()), (50, Some(50)));
        }
        port.finish().await;
        assert!(server.rest().is_empty());
    }
}

/// What a server that remembers keys has stored, in order.
fn stored(requests: &[Got]) -> String {
    let (mut bodies, mut kept, mut text) = (BTreeMap::new(), BTreeSet::new(), String::new());
    for got in requests {
        let key = got.header("idempotency-key").to_owned();
        let body = std::str::from_utf8(&got.body).unwrap();
        let before = bodies.insert(key.clone(), body);
        assert!(before.is_none_or(|before| before == body), "a key stands for the same bytes at every try");
        // Behind a connection that was cut, this server had stored it.
        if got.status.is_none_or(|status| status == 200) && kept.insert(key) {
            text.push_str(body);
        }
    }
    text
}

#[tokio::test]
async fn faults_cost_repetitions_under_the_same_key_and_nothing_else() {
    let faults = [
        Answer::Status(503, &[]),
        Answer::Cut,
        Answer::Status(429, &[("retry-after", "0")]),
        Answer::Status(200, &[]),
        Answer::Cut,
        Answer::Cut,
        Answer::Status(500, &[]),
        Answer::Status(200, &[("connection", "close")]),
        Answer::Status(408, &[]),
    ];
    let server = Server::start(faults).await;
    let mut port = Port::start(Place::Http(options(&server)), limits(100));
    port.up().await;
    assert_eq!(port.deliver(1..=500).await, NONE);
    port.finish().await;
    let requests = server.rest();
    assert_eq!(stored(&requests), lines(1..=500), "each once and in order");
    assert!(requests.len() >= 5 + 7, "{}", requests.len());
}

#[tokio::test]
async fn a_time_to_come_again_is_kept() {
    let server = Server::start([Answer::Status(429, &[("retry-after", "2")])]).await;
    let mut port = Port::start(Place::Http(options(&server)), limits(10));
    port.up().await;
    assert_eq!(port.deliver(1..=10).await, NONE);
    let (first, second) = (server.next().await, server.next().await);
    assert!(second.at - first.at >= Duration::from_secs(2), "{:?}", second.at - first.at);
    assert_eq!(first.header("idempotency-key"), second.header("idempotency-key"));
    port.finish().await;
}

#[tokio::test]
async fn one_bad_record_does_not_take_its_batch_along() {
    let server = Server::start([Answer::RefuseBodiesWith("\"n\":13}")]).await;
    let mut port = Port::start(Place::Http(options(&server)), limits(100));
    port.up().await;
    assert_eq!(port.deliver(1..=100).await, [13]);
    port.finish().await;
    let accepted = server.rest().into_iter().filter(|got| got.status == Some(200));
    let text: String = accepted.map(|got| String::from_utf8(got.body.to_vec()).unwrap()).collect();
    assert_eq!(text, lines(1..=12) + &lines(14..=100));
}

#[tokio::test]
async fn who_is_not_let_in_waits_and_drops_nothing() {
    let server = Server::start([Answer::Status(401, &[])]).await;
    let mut port = Port::start(Place::Http(options(&server)), limits(10));
    port.up().await;
    port.send(1..=10);
    let conn = port.conn;
    assert!(matches!(port.next().await, LinkEvent::Down { conn: down } if down == conn));
    tokio::time::sleep(A_WHILE).await;
    assert!(port.is_quiet(), "no answer, and no second try at once");
    assert_eq!(server.rest().len(), 1);
    port.finish().await;
}

#[tokio::test]
async fn a_renewed_token_is_read_when_the_old_one_is_not_accepted() {
    let (dir, server) = (TempDir::new(), Server::start([]).await);
    let file = dir.write("token", "old\n");
    let token = Some(Secret::File(file));
    let mut store = HttpStore::new(Options { token, ..options(&server) }, GATEWAY, NAME);
    assert_eq!(store.put(&part(1..=2)).await, Ok(Verdict::Stored));
    dir.write("token", "new\n");
    server.then(Answer::Status(401, &[]));
    let failure = store.put(&part(3..=4)).await.unwrap_err();
    assert_eq!((failure.retry, failure.detail.as_str()), (Retry::Slowly, "{\"error\":\"why\"}"));
    assert!(failure.reason.contains("401") && failure.reason.contains("credentials"), "{failure}");
    assert_eq!(store.put(&part(3..=4)).await, Ok(Verdict::Stored));
    let tokens: Vec<_> = server.rest().iter().map(|got| got.header("authorization").to_owned()).collect();
    assert_eq!(tokens, ["Bearer old", "Bearer old", "Bearer new"]);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_on() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port(), tls: None };
    let server = Server::start([]).await;
    let timeout = Duration::from_millis(100);
    let mut store = HttpStore::new(Options { endpoint, timeout, ..options(&server) }, GATEWAY, NAME);
    let failure = store.put(&part(1..=1)).await.unwrap_err();
    assert_eq!(failure.retry, Retry::Soon);
    assert!(failure.reason.contains("no answer from 127.0.0.1"), "{failure}");
}

/// Posts one record over TLS; the error if it did not come to that.
async fn over_tls(server: &Server, host: &str, files: &TlsFiles) -> Result<Verdict, String> {
    let endpoint = Endpoint { host: host.to_owned(), port: server.addr.port(), tls: Some(tls(files).unwrap()) };
    let mut store = HttpStore::new(Options { endpoint, ..options(server) }, GATEWAY, NAME);
    store.put(&part(1..=1)).await.map_err(|failure| failure.reason)
}

#[tokio::test]
async fn both_ends_of_https_prove_themselves() {
    let (home, stranger) = (Authority::new("home"), Authority::new("stranger"));
    let server = Server::secure(home.server(Validity::Now)).await;
    let files = |trusts: &Authority, (cert, key)| TlsFiles { ca: Some(trusts.ca()), cert: Some(cert), key: Some(key) };
    let good = files(&home, home.issue("barn-7", Validity::Now));
    assert_eq!(over_tls(&server, "localhost", &good).await, Ok(Verdict::Stored));
    assert_eq!(server.next().await.body, line(1));

    for (host, files, words) in [
        ("127.0.0.1", good.clone(), "not valid for name"),
        ("localhost", files(&stranger, home.issue("barn-7", Validity::Now)), "UnknownIssuer"),
        ("localhost", TlsFiles { cert: None, key: None, ..good.clone() }, "CertificateRequired"),
        ("localhost", files(&home, home.issue("barn-7", Validity::Expired)), "CertificateExpired"),
        ("localhost", files(&home, stranger.issue("barn-7", Validity::Now)), "received fatal alert"),
    ] {
        let error = over_tls(&server, host, &files).await.unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
    let expired = Server::secure(home.server(Validity::Expired)).await;
    let error = over_tls(&expired, "localhost", &good).await.unwrap_err();
    assert!(error.contains("certificate expired"), "{error}");
    assert!(server.rest().is_empty() && expired.rest().is_empty());
}
