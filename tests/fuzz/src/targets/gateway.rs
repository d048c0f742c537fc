//! What the gateway reads besides MQTT: its configuration, answers of HTTP servers, payloads that go into envelopes.

use std::collections::BTreeMap;
use std::path::Path;

use eyot_gateway::config::{Config, PROBLEMS_MAX, PROBLEM_MAX_CHARS};
use eyot_gateway::envelope::wrap;
use eyot_gateway::mqtt::Stamp;
use eyot_gateway::uplink::reply::{retry_after, RETRY_AFTER_MAX};
use serde_json::value::RawValue;

/// A file is read, or every problem has a line of the file and a short reason.
pub fn config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    // Of what it names there is nothing, so that nothing on this machine is read.
    let file = Path::new("/eyot-fuzz/gateway.toml");
    let result = Config::parse(file, text);
    let lines = text.lines().count() + 1;
    let problems = match &result {
        Ok(config) => &config.warnings,
        Err(error) => &error.problems,
    };
    assert!(result.is_ok() || !problems.is_empty(), "an error has a problem");
    assert!(problems.len() <= PROBLEMS_MAX);
    for problem in problems {
        assert!((1..=lines).contains(&problem.line), "{problem:?}, of {lines} lines");
        let told = problem.in_file(file);
        assert!(!told.contains('\n') && told.chars().count() <= PROBLEM_MAX_CHARS + 1000, "{told:?}");
    }
    result.is_ok()
}

/// Most keys there are.
const FULL: &str = r#"[gateway]
id = "barn-7"
data_dir = "/var/lib/eyot"
status_interval = "30s"
groups = ["barns"]
[broker]
url = "mqtt://127.0.0.1:1883"
protocol = 5
username = "u"
receive_max = 100
[[uplink]]
name = "cloud"
url = "mqtt://[::1]:8883"
topics = ["cloud/#"]
down = ["orders/#"]
rate = "100/s"
ttl = "1h"
max_backlog = "1MiB"
when_full = "block"
order = "live-first"
inflight = 20
envelope = "json"
[[uplink.route]]
name = "alarms"
topics = ["alarm/+"]
priority = "high"
[[uplink]]
name = "web"
url = "http://cloud.example/in?x=1"
topics = ["web/#"]
format = "json"
batch_max = 10
batch_bytes = "64KiB"
linger = "2s"
[[uplink]]
name = "disk"
url = "file:///var/log/out.ndjson"
topics = ["disk/#"]
rotate_bytes = "1MiB"
[spool]
max_bytes = "64MiB"
when_full = "drop-oldest"
commit_window = "10ms"
wear_budget = "2GiB/day"
[run]
workers = 2
fuel_budget = "200_000_000/s"
[metrics]
listen = "127.0.0.1:9100"
[deploy]
staging_max = "16MiB"
parts_ttl = "24h"
[trust]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEvK4mPjw7bFrrmfuyr9Hb7GYq6sLkhRbyFrzDhCbPzX ada@lab"]
revoked = ["9a3703c6545e6a2a3725ae77"]
allow_unsigned = false
[[trust.key]]
key = "4bcae263e3c3b6c5aeb99fbb2afd1dbec662ab2c2e48516f216bcc38426cfcd7"
expires = "2027-01-01"
roles = ["push"]
functions = ["lab-*"]
[[function]]
path = "celsius.wasm"
"#;

pub fn config_seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("full.toml", FULL.into()),
        ("least.toml", b"[gateway]\ndata_dir = \"/d\"\n[broker]\nurl = \"embedded://0.0.0.0:1883\"\n".to_vec()),
    ]
}

/// A wait that a server asks for is bounded.
pub fn reply(bytes: &[u8]) -> bool {
    let wait = retry_after(&String::from_utf8_lossy(bytes));
    assert!(wait.is_none_or(|wait| wait <= RETRY_AFTER_MAX));
    wait.is_some()
}

pub fn reply_seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("seconds.txt", b"120".to_vec()),
        ("date.txt", b"Wed, 21 Oct 2015 07:28:00 GMT".to_vec()),
        ("old-date.txt", b"Sunday, 06-Nov-94 08:49:37 GMT".to_vec()),
    ]
}

/// Whatever a function emits, its envelope is JSON on one line that holds it.
pub fn envelope(bytes: &[u8]) -> bool {
    let (topic, payload) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    let stamp = Stamp { epoch: 1 << 52, seq: 7 };
    let wrapped = wrap("barn-7", stamp, topic, payload);
    assert!(!wrapped.contains(&b'\n') || payload.contains(&b'\n'), "{wrapped:?}");
    // Not into numbers: JSON has some that no type of ours holds.
    let Ok(document) = serde_json::from_slice::<BTreeMap<&str, &RawValue>>(&wrapped) else { panic!("{wrapped:?}") };
    let read = document.get("topic").and_then(|topic| serde_json::from_str::<String>(topic.get()).ok());
    assert_eq!(read.as_deref(), Some(&*String::from_utf8_lossy(topic)));
    let is_json = document.contains_key("payload");
    if is_json {
        assert_eq!(document.get("payload").map(|payload| payload.get().as_bytes()), Some(payload.trim_ascii()));
    }
    assert_ne!(is_json, document.contains_key("payload_base64"), "{wrapped:?}");
    is_json
}

pub fn envelope_seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("object.json", b"cloud/\"q\"\n{\"t\": 1.50, \"a\": [1e400, \"\\u00e9\", null, {}]}".to_vec()),
        ("number.json", b"cloud\n12345678901234567890123".to_vec()),
    ]
}
