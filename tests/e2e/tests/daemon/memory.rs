//! How much memory an uplink's backlog takes, whatever the other end does.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;

use eyot_test_e2e::config::Uplink;
use eyot_test_e2e::daemon::Eyotd;
use eyot_test_e2e::guest::{echo, Manifest};
use eyot_test_e2e::site::{balances, Site};

/// With what the allocator keeps of memory given back. With larger batches and text compressed as a whole it was 40 MB.
const RSS_MAX_KIB: u64 = 20 << 10;
const MESSAGES: u64 = 10_000;
const PAYLOAD_BYTES: usize = 400;

/// An HTTP server that hangs up at first, and then takes everything, with this answer each time.
struct Server {
    addr: SocketAddr,
    open: Arc<AtomicBool>,
}

impl Server {
    fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let open = Arc::new(AtomicBool::new(false));
        let (is_open, answer) = (Arc::clone(&open), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = Arc::clone(&answer);
                if is_open.load(Ordering::Relaxed) {
                    thread::spawn(move || while take(&stream, &answer).is_some() {});
                }
            }
        });
        Self { addr, open }
    }
}

/// Takes one request and answers it.
fn take(mut stream: &TcpStream, answer: &[u8]) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line).ok()? {
            0 => return None,
            1 | 2 => break,
            _ => {}
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    stream.write_all(answer).ok()
}

/// Most memory the daemon has had so far.
fn peak_kib(daemon: &Eyotd) -> u64 {
    let kernel = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = kernel.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A backlog gathers while `server` hangs up, and is delivered when it does not.
#[track_caller]
fn stays_small(id: &str, server: &Server, url: String, more: &str) {
    let mut site = Site::new(id).function(|dir| Manifest::new("echo").module(dir, &echo("cloud/")));
    site.config.uplinks = vec![Uplink { more: more.to_owned(), ..Uplink::cloud(url) }];
    let daemon = site.start();
    let mut sensor = site.client("sensor");
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..MESSAGES {
        // As hard to compress as text can be.
        let payload: String = std::iter::repeat_with(|| random.alphanumeric()).take(PAYLOAD_BYTES).collect();
        sensor.publish("in/x", payload);
    }
    site.await_status("all on disk", |status| status["ledger"]["received"] == MESSAGES);
    server.open.store(true, Ordering::Relaxed);
    let status = site.await_status("everything delivered", |status| status["ledger"]["pending"] == 0);
    assert!(balances(&status) && status["ledger"]["dropped"] == 0, "{status}");
    let peak = peak_kib(&daemon);
    println!("{id}: {peak} KiB");
    assert!(cfg!(debug_assertions) || peak < RSS_MAX_KIB, "{peak} KiB; at most {RSS_MAX_KIB}");
}

fn http(server: &Server) -> String {
    format!("http://{}/in", server.addr)
}

#[test]
fn a_backlog_for_an_object_store_stays_small() {
    let server = Server::start(b"HTTP/1.1 200 OK\r\netag: \"x\"\r\ncontent-length: 0\r\n\r\n".to_vec());
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "s3cret").unwrap();
    let more = format!(
        "linger = \"1s\"\ncompress = \"gzip\"\naccess_key = \"barn\"\nsecret_key_file = {secret:?}\nendpoint = \"http://{}\"\n",
        server.addr
    );
    stays_small("store", &server, "s3://readings/farm".to_owned(), &more);
}

#[test]
fn answers_with_endless_texts_are_not_kept() {
    // The status counts; the text breaks off with the connection.
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n".to_vec();
    answer.resize(32 << 20, b'x');
    let server = Server::start(answer);
    stays_small("text", &server, http(&server), "");
}

#[test]
fn answers_with_many_long_heads_are_not_kept() {
    let heads: String = (0..90).map(|n| format!("x-{n}: {}\r\n", "y".repeat(4_000))).collect();
    let server = Server::start(format!("HTTP/1.1 200 OK\r\n{heads}content-length: 0\r\n\r\n").into_bytes());
    stays_small("heads", &server, http(&server), "compress = \"gzip\"\n");
}
