//! A module of a megabyte over a link that loses one segment in five and is cut every two seconds, by mosquitto_pub alone.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use eyot_test_e2e::proxy::{Proxy, State};
use eyot_test_e2e::wait::STEP;

use crate::push::{echoes, function_topic, padded, sha256, site, stored};

const MODULE_BYTES: usize = 1 << 20;
/// What such a link carries between two cuts, several times over.
const PART_BYTES: usize = 32 << 10;
const BETWEEN_CUTS: Duration = Duration::from_secs(2);

/// Set when it goes, by a failure too.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Cuts every link every two seconds until `is_done`; how often it did.
fn cut(links: &[&Proxy], is_done: &AtomicBool) -> u32 {
    let mut cuts = 0;
    while !is_done.load(Ordering::Relaxed) {
        links.iter().for_each(|link| link.set(State::Lossy));
        thread::sleep(BETWEEN_CUTS);
        links.iter().for_each(|link| link.set(State::Cut));
        thread::sleep(Duration::from_millis(100));
        cuts += 1;
    }
    links.iter().for_each(|link| link.set(State::Open));
    cuts
}

/// As the README says it, with what a shell would do about a command that failed.
fn mosquitto_pub(port: u16, topic: &str, file: &Path) {
    let begun = Instant::now();
    loop {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-q", "1", "-h", "127.0.0.1", "-p", &port.to_string(), "-t", topic, "-f"]).arg(file);
        if command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success() {
            return;
        }
        assert!(begun.elapsed() < STEP, "{topic} does not get through");
    }
}

#[test]
fn a_megabyte_arrives_over_a_link_that_loses_and_is_cut() {
    let mut site = site("weak");
    let (authors, gateways) = (Proxy::new(site.broker.port()), Proxy::new(site.broker.port()));
    site.config.broker_url = gateways.url();
    let _daemon = site.start();
    let mut client = site.client("author");
    client.subscribe("out/#");
    client.subscribe("eyot/weak/#");
    let module = padded(site.dir(), "1.0.0", MODULE_BYTES);
    let topic = format!("eyot/weak/push/{}", sha256(&module));
    let is_done = AtomicBool::new(false);
    let cuts = thread::scope(|scope| {
        let done = Done(&is_done);
        let cutter = scope.spawn(|| cut(&[&authors, &gateways], &is_done));
        for (number, part) in module.chunks(PART_BYTES).enumerate() {
            let file = site.dir().join("part");
            fs::write(&file, part).unwrap();
            mosquitto_pub(authors.port(), &format!("{topic}/{number}"), &file);
        }
        function_topic(&mut client, "weak", "active", "1.0.0");
        drop(done);
        cutter.join().unwrap()
    });
    assert!(cuts > 2, "the link was hardly cut");
    echoes(&mut client, "1.0.0");
    assert!(stored(&site, "parts").is_empty());
}
