//! Every attack on the real daemon: it lives, says why each message or module failed, and serves the others.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use eyot_test_e2e::daemon::check;
use eyot_test_e2e::guest::{echo, save, with_manifest, Manifest};
use eyot_test_e2e::site::{balances, Site};
use eyot_test_hostile::attacks::{all, Attack, End};
use eyot_wire::manifest::Limits;
use serde_json::Value;

/// What the daemon may take beside the linear memories of its functions.
const OWN_BYTES: u64 = 64 << 20;

fn manifest(attack: &Attack) -> Manifest {
    let mut manifest = Manifest::new(&attack.name);
    manifest.triggers = vec![format!("in/{}", attack.name)];
    manifest.limits.clone_from(&attack.limits);
    manifest
}

fn write(dir: &Path, attack: &Attack) -> PathBuf {
    save(dir, &attack.name, &with_manifest(&attack.wasm, &manifest(attack).text()))
}

/// What the kernel calls the most memory the process ever had.
fn peak_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn function<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["functions"].as_array().unwrap().iter().find(|function| function["name"] == name).unwrap()
}

#[test]
fn attacks_that_run_harm_themselves_alone() {
    let attacks: Vec<Attack> = all().into_iter().filter(Attack::runs).collect();
    let mut beside = Manifest::new("beside");
    beside.triggers = vec!["in/beside/+".into()];
    let mut site = Site::new("hostile").function(|dir| beside.module(dir, &echo("out/")));
    let paths: Vec<PathBuf> = attacks.iter().map(|attack| write(site.dir(), attack)).collect();
    site.config.functions.extend(paths);
    let mut daemon = site.start();
    let mut client = site.client("attacker");
    client.subscribe("out/in/beside/#");
    client.subscribe("eyot/hostile/dead/#");
    for (number, attack) in attacks.iter().enumerate() {
        client.publish(&format!("in/{}", attack.name), "payload");
        client.publish(&format!("in/beside/{number}"), "unharmed");
    }

    let failing = attacks.iter().filter(|attack| attack.end != End::Nothing).count();
    let (mut letters, mut served) = (BTreeMap::new(), Vec::new());
    while letters.len() < failing || served.len() < attacks.len() {
        let (topic, payload) = client.await_message("a dead letter or an output of the function beside", |publish| {
            Some((String::from_utf8_lossy(&publish.topic).into_owned(), publish.payload.clone()))
        });
        if let Some(name) = topic.strip_prefix("eyot/hostile/dead/") {
            letters.insert(name.to_owned(), serde_json::from_slice::<Value>(&payload).unwrap());
        } else {
            assert_eq!(&payload[..], b"unharmed", "{topic}");
            served.push(topic);
        }
    }
    let expected: Vec<String> = (0..attacks.len()).map(|number| format!("out/in/beside/{number}")).collect();
    served.sort_by_key(|topic| expected.iter().position(|other| other == topic));
    assert_eq!(served, expected, "each message of the function beside is served, once");

    let status = site.await_status("all messages to be counted", |status| {
        attacks.iter().all(|attack| function(status, &attack.name)["invocations"] == 1)
    });
    for attack in &attacks {
        let failures = &function(&status, &attack.name)["failures"];
        let End::Fails(word, text) = attack.end else {
            assert_eq!(failures, 0, "{}: {:?}", attack.name, letters.get(&attack.name));
            continue;
        };
        let letter = &letters[&attack.name];
        assert_eq!((failures, &letter["reason"]), (&Value::from(1), &Value::from(word)), "{letter}");
        assert!(letter["detail"].as_str().unwrap().contains(text), "{letter}");
        assert_eq!(letter["payload_base64"], "cGF5bG9hZA==", "{letter}");
    }
    assert!(balances(&status), "{status}");
    assert!(daemon.is_running());
    let memories: u64 = attacks.iter().map(|attack| memory_bytes(&attack.limits)).sum();
    let peak = peak_bytes(daemon.pid());
    assert!(peak <= OWN_BYTES + memories, "{peak} bytes at most, {memories} of them in linear memories");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

/// Linear memory that a function with these limits may have, and its snapshot.
fn memory_bytes(limits: &str) -> u64 {
    if limits.contains("16MiB") {
        16 << 20
    } else {
        2 * Limits::default().memory_bytes
    }
}

#[test]
fn modules_that_are_refused_are_refused_with_their_reasons() {
    let attacks: Vec<Attack> = all().into_iter().filter(|attack| !attack.runs()).collect();
    let site = Site::new("refused");
    let mut config = site.config.clone();
    config.functions = attacks.iter().map(|attack| write(site.dir(), attack)).collect();
    let ended = check(site.dir(), &config.text());
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    for attack in &attacks {
        let file = format!("/{}.wasm ", attack.name);
        let lines: Vec<&str> = ended.log.lines().filter(|line| line.contains(&file)).collect();
        let End::Refused(reason) = attack.end else { continue };
        // What is too large is not read, so its size is not known to be what the module itself would say.
        let reason = if attack.name == "100-mb" { "at most 8388608" } else { reason };
        assert!(lines.len() == 1 && lines[0].contains(reason), "{}: \"{reason}\" is not in {lines:?}", attack.name);
    }
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
}
