//! `[metrics] listen` under clients that mean harm: neither messages nor other scrapes wait for them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::port::free_port;
use eyot_test_e2e::site::Site;
use eyot_test_e2e::wait::{wait_for, STEP};

const CONNECTIONS: usize = 1_000;
/// A queue that is full does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(50);

fn scrape(addr: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    page.starts_with("HTTP/1.1 200").then_some(page)
}

#[test]
fn whoever_holds_connections_or_sends_endless_heads_stops_nothing() {
    let mut site = Site::new("scraped").function(|dir| Manifest::new("echo").module(dir, &echo("out/")));
    let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
    site.config.more = format!("\n[metrics]\nlisten = \"{addr}\"\n");
    let mut daemon = site.start();
    assert!(scrape(addr).unwrap().contains("eyot_messages_received_total"));

    // A head that never ends is cut off.
    let mut endless = TcpStream::connect(addr).unwrap();
    endless.set_write_timeout(Some(STEP)).unwrap();
    let mut line = b"GET /metrics HTTP/1.1\r\nx: ".to_vec();
    line.resize(64 << 10, b'y');
    assert!((0..1_000).any(|_| endless.write_all(&line).is_err()), "64 MB of a head were taken");
    assert!(scrape(addr).is_some());

    // As many as get in, each with half a request.
    let half = |_| {
        let mut stream = TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT).ok()?;
        stream.write_all(b"GET /met").ok()?;
        Some(stream)
    };
    let held: Vec<TcpStream> = (0..CONNECTIONS).map_while(half).collect();
    assert!(held.len() > 100, "{} connections", held.len());
    let files = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    assert!(files < 64, "{files} files are open for {} connections", held.len());
    let mut client = site.client("sensor");
    client.subscribe("out/#");
    client.publish("in/x", "meanwhile");
    assert_eq!(client.await_topic("out/in/x"), "meanwhile");
    wait_for("a scrape meanwhile", STEP, || scrape(addr));
    drop(held);
    assert!(daemon.is_running());
}
